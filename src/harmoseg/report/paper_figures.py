"""The paper's figures of spectra and of class activation maps, drawn from plain values.

Fig. 2: `power_share_figure`; Fig. 3: `spatial_spectral_figure`; Fig. 8: `spectral_map_figure`;
Fig. 9: `cam_figure`. Maps are in perceptually uniform colours, lines and bars in a palette that is
told apart with any colour vision and, by markers and hatches, without colours too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from numpy.typing import NDArray
from torch.nn import functional

from harmoseg.explain.changes import Change, Effect, Kind, Mask, change_mask
from harmoseg.explain.maps import MapCorrelation, spectral_map
from harmoseg.explain.power import PowerShares
from harmoseg.explain.slices import ShownSlice
from harmoseg.report.style import PALETTE, shortened, wrapped
from harmoseg.spectrum import log_magnitude

_TITLE, _TICK = 10, 8
_WIDTH = 7.2
"""Inches: a page between its margins."""
_NARROW = 14
"""Characters beside or over a small picture: of longer names the middle is left out."""
_MAPS = "viridis"
_CAMS = "magma"
_CAM_OPACITY = (0.15, 0.8)
"""At 0 and at the maximum: the image is seen where a map says nothing."""

_HALO: list[patheffects.AbstractPathEffect] = [
    patheffects.withStroke(linewidth=2.4, foreground="black")
]
"""Around outlines, which so are seen on bright and on dark."""

Values = NDArray[np.floating]
Style = Literal["solid", "dashed"]


@dataclass(frozen=True, eq=False)
class SpectralRow:
    """One case of Fig. 8.

    `truth` is its spectral map (H, W), `maps` those of the methods' masks by their names, and
    `correlations` how each of them fits. `masks` may give the label maps (H, W) behind them, by
    the same names and ``truth``; they are drawn small in the corners.
    """

    name: str
    truth: Values
    maps: Mapping[str, Values]
    correlations: Mapping[str, MapCorrelation]
    masks: Mapping[str, NDArray[np.uint8]] | None = None


@dataclass(frozen=True, eq=False)
class CamRow:
    """One case and class of Fig. 9.

    `image` is (H, W, C) bytes, `truth` (H, W) the mask of the class, `cams` (h, w) in [0, 1] and
    `predicted` (H, W) masks by their columns' titles. `aspect` is the height of the source over
    its width.
    """

    name: str
    image: NDArray[np.uint8]
    truth: Mask
    cams: Mapping[str, Values]
    predicted: Mapping[str, Mask]
    aspect: float = 1.0


def power_share_figure(
    kinds: Sequence[PowerShares], example: ShownSlice, *, title: str = ""
) -> Figure:
    """Draw Fig. 2: where images and masks have their power, over an example of both.

    Left, the share of each octave, right, the share above a frequency: means, with the quartiles
    over the planes. The zero frequency is left out of both, and its share of all power told in the
    legend.
    """
    figure = Figure(figsize=(_WIDTH, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.75, 3), squeeze=False)[:, 0]
    _draw_example(np.ravel(above.subplots(1, 4)), example)
    left, right = np.ravel(below.subplots(1, 2))
    known = [kind for kind in kinds if len(kind.shares)]
    styles = (("solid", ""), ("dashed", ""), ("dotted", "///"))
    for place, kind in enumerate(known):
        colour, (line, hatch) = PALETTE[_kind_colour(place)], styles[place % len(styles)]
        edges, octaves = kind.octaves()
        low, middle, high = _spread(octaves)
        width = 0.8 / len(known)
        at = np.arange(len(edges)) + (place - (len(known) - 1) / 2) * width
        left.bar(
            at,
            middle,
            width,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            yerr=np.clip([middle - low, high - middle], 0, None),
            error_kw={"elinewidth": 0.8, "ecolor": "0.25"},
        )
        # Above the last edge there is nothing left, which has no logarithm.
        low, middle, high = _spread(1 - kind.cumulative[:, :-1])
        upper = kind.upper[:-1]
        zero = 100 * kind.zero.mean()
        label = f"{kind.kind} (n = {len(kind.zero)}; zero frequency: {zero:.0f} %)"
        right.fill_between(upper, low, high, color=colour, alpha=0.18, linewidth=0)
        right.plot(upper, middle, color=colour, linestyle=line, linewidth=1.8, label=label)
    if known:
        _wavelength_ticks(left, known[0].octaves()[0])
        _frequency_axis(right, known[0].upper)
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    right.set_yscale("log")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    _plain(left, "Share of each octave")
    _plain(right, "Share above a frequency")
    left.set_xlabel("wavelength (px), from coarse to fine", fontsize=_TICK)
    left.set_ylabel("power without the zero frequency", fontsize=_TICK)
    right.set_xlabel("radial frequency (cycles per px)", fontsize=_TICK)
    if known:
        below.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=_TICK)
    if title:
        figure.suptitle(title, fontsize=_TITLE, parse_math=False)
    return figure


_KIND_TITLES: Mapping[Kind, str] = {
    "shift": "Shifted to the right",
    "dilate": "Dilated",
    "erode": "Eroded",
    "blob": "With a false blob",
    "smooth": "Smoothed",
}
_KIND_MARKS: Mapping[Kind, str] = {
    "shift": "o",
    "dilate": "^",
    "erode": "v",
    "blob": "s",
    "smooth": "D",
}


def spatial_spectral_figure(
    edges: Values, effects: Sequence[Effect], example: Mask, *, title: str = ""
) -> Figure:
    """Draw Fig. 3: what small changes of masks do in space and, octave by octave, in the spectrum.

    A panel per kind of change, a line per amount, named with its spatial change, 1 - Dice; small,
    the `example` mask with the outline of one of them. In the last panel the mean over octaves
    against the spatial change; over all frequencies at once the two are equal (the diagonal).
    """
    kinds = list(dict.fromkeys(effect.change.kind for effect in effects))
    rows = -(-(len(kinds) + 1) // 3)
    figure = Figure(figsize=(_WIDTH, 2.75 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes in grid[len(kinds) + 1 :]:
        axes.set_axis_off()
    top = max([1.1, *(float(effect.rings.max()) for effect in effects if effect.masks)])
    for axes, kind in zip(grid, kinds, strict=False):
        _plain(axes, _KIND_TITLES[kind])
        axes.set_ylim(0, 1.1 * top)
        shown = [effect for effect in effects if effect.change.kind == kind and effect.masks]
        _draw_changes(axes, edges, shown, example)
    _draw_space_and_spectrum(grid[len(kinds)], [effect for effect in effects if effect.masks])
    most = max((effect.masks for effect in effects), default=0)
    figure.supxlabel(
        f"in the legends: amount of the change, then 1 - Dice; means of {most} masks",
        fontsize=_TICK,
    )
    if title:
        figure.suptitle(title, fontsize=_TITLE, parse_math=False)
    return figure


def spectral_map_figure(rows: Sequence[SpectralRow], *, title: str = "") -> Figure:
    """Draw Fig. 8: the truth's spectral map, then every method's with its correlation.

    A row per case, in one range of colours, so that its panels compare.
    """
    methods = list(rows[0].maps)
    cell = min(1.75, _WIDTH / (1 + len(methods)))
    size = (cell * (1 + len(methods)) + 0.9, (cell + 0.33) * len(rows) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), 1 + len(methods), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        top = max(float(np.max(item)) for item in (row.truth, *row.maps.values())) or 1.0
        colours = ScalarMappable(Normalize(0, top), _MAPS)
        for axes, (name, values) in zip(
            line, {"truth": row.truth, **row.maps}.items(), strict=True
        ):
            # An even side has its zero half a pixel behind the middle.
            height, width = values.shape
            x, y = -(width // 2) - 0.5, -(height // 2) - 0.5
            extent = (x / width, (x + width) / width, (y + height) / height, y / height)
            axes.imshow(values, cmap=_MAPS, norm=colours.norm, extent=extent, aspect="equal")
            axes.set(xticks=[], yticks=[])
            if row.masks is not None:
                _draw_small(axes, row.masks[name])
            if name != "truth":
                axes.set_xlabel(_told(row.correlations[name]), fontsize=_TICK, labelpad=2)
        _name_row(line[0], row.name)
        bar = figure.colorbar(colours, ax=line.tolist(), fraction=0.04, pad=0.01, aspect=14)
        bar.ax.tick_params(labelsize=6, length=2)
        bar.outline.set_visible(False)
    _head_columns(grid[0], ["truth", *methods])
    grid[-1, 0].set_xticks([-0.5, 0, 0.5], ["-0.5", "0", "0.5"], fontsize=6)
    grid[-1, 0].tick_params(length=2, pad=1)
    several = any(len(c.per_class) > 1 for row in rows for c in row.correlations.values())
    note = "log(1 + |P|) over cycles per px; r: correlation with the truth's map"
    # Broken, since a figure of two columns is narrow.
    figure.supxlabel(
        note.replace("; ", "\n") + (",\nboth averaged over classes" if several else ""),
        fontsize=_TICK,
    )
    if title:
        figure.suptitle(title, fontsize=_TITLE, parse_math=False)
    return figure


def cam_figure(rows: Sequence[CamRow], *, title: str = "") -> Figure:
    """Draw Fig. 9: the image with the truth's outline, then every column's CAM over the image.

    Every map is from 0 to its own maximum: colours say where, not how much.
    """
    columns = list(rows[0].cams)
    cell = min(1.75, _WIDTH / (1 + len(columns)))
    heights = [max(0.3, row.aspect) for row in rows]
    size = (cell * (1 + len(columns)) + 0.3, cell * sum(heights) + 0.1 * len(rows) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    places = figure.add_gridspec(
        len(rows) + 1, 1 + len(columns), height_ratios=[*heights, 0.45 / cell]
    )
    grid = [
        [figure.add_subplot(places[i, j]) for j in range(1 + len(columns))]
        for i in range(len(rows))
    ]
    for line, row in zip(grid, rows, strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        extent = (0.0, 1.0, row.aspect, 0.0)
        shown = row.image[..., 0] if row.image.shape[-1] == 1 else row.image
        line[0].imshow(shown, cmap="gray", vmin=0, vmax=255, extent=extent)
        _outline(line[0], row.truth, row.aspect, "solid")
        grey = row.image.mean(-1)
        for axes, name in zip(line[1:], columns, strict=True):
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
            _draw_cam(axes, row.cams[name], row.image.shape[:2], extent)
            _outline(axes, row.predicted[name], row.aspect, "dashed")
        _name_row(line[0], row.name)
    _head_columns(grid[0], ["image", *columns])
    _draw_cam_key(figure.add_subplot(places[-1, 0]), figure.add_subplot(places[-1, 1:]))
    if title:
        figure.suptitle(title, fontsize=_TITLE, parse_math=False)
    return figure


def _draw_example(places: NDArray[np.object_], example: ShownSlice) -> None:
    image = example.image
    mask = example.truth == max(1, example.largest_class)
    grey = image.mean(-1)
    spectra = [_spectrum_of(grey), spectral_map(mask.astype(np.uint8))]
    pictures = (
        (image[..., 0] if image.shape[-1] == 1 else image, "gray", "An image"),
        (spectra[0], _MAPS, "its spectrum"),
        (mask, "gray", "a mask of it"),
        (spectra[1], _MAPS, "its spectrum"),
    )
    for axes, (values, colours, words) in zip(places, pictures, strict=True):
        axes.imshow(values, cmap=colours)
        axes.set(xticks=[], yticks=[])
        axes.set_title(words, fontsize=_TITLE, loc="left")
        axes.spines[:].set_visible(False)
        if colours == _MAPS:
            axes.set_xlabel("log(1 + |P|)", fontsize=_TICK, labelpad=2)


def _spectrum_of(plane: Values) -> Values:
    return np.asarray(log_magnitude(torch.from_numpy(plane / 255)).numpy())


def _draw_changes(axes: Axes, edges: Values, shown: Sequence[Effect], example: Mask) -> None:
    axes.axhline(1, color="0.6", linewidth=0.8, linestyle="dashed", zorder=0)
    for effect in shown:
        amount = effect.change.amount
        axes.plot(
            np.arange(len(edges)),
            effect.rings,
            # An amount has one colour in all panels.
            color=colormaps[_MAPS](min(0.88, 0.22 * np.log2(amount))),
            marker="o",
            markersize=2.5,
            linewidth=1.3,
            label=f"{amount} px: {_digits(effect.spatial)}",
        )
    _wavelength_ticks(axes, edges)
    axes.set_xlabel("wavelength (px)", fontsize=_TICK)
    axes.set_ylabel("1 - ring correlation", fontsize=_TICK)
    if shown:
        axes.legend(frameon=False, fontsize=7, loc="upper left", handlelength=1, borderaxespad=0)
        _draw_change(axes, example, shown[-1].change)


def _draw_change(axes: Axes, example: Mask, change: Change) -> None:
    """Draw a mask with the outline of what a change makes of it, small, beside the curves."""
    changed = change_mask(example, change)
    if changed is None:
        return
    small = axes.inset_axes((0.03, 0.24, 0.27, 0.27))
    small.imshow(np.where(example, 0.72, 0.94), cmap="gray", vmin=0, vmax=1, aspect="auto")
    small.contour(changed, levels=[0.5], colors=[PALETTE[5]], linewidths=0.8)
    small.set(xticks=[], yticks=[])
    small.spines[:].set(color="0.6", linewidth=0.6)
    small.set_title(f"{change.amount} px", fontsize=6, pad=1.5)


def _draw_space_and_spectrum(axes: Axes, effects: Sequence[Effect]) -> None:
    kinds = list(dict.fromkeys(effect.change.kind for effect in effects))
    for place, kind in enumerate(kinds):
        shown = [effect for effect in effects if effect.change.kind == kind]
        axes.plot(
            [effect.spatial for effect in shown],
            [effect.rings.mean() for effect in shown],
            color=PALETTE[place % len(PALETTE)],
            marker=_KIND_MARKS[kind],
            markersize=4,
            linewidth=1,
            label=kind,
        )
    axes.set(xscale="log", yscale="log")
    smallest = min((e.spatial for e in effects if e.spatial > 0), default=0.1)
    ends = (smallest / 1.5, 1.5)
    axes.plot(ends, ends, color="0.5", linewidth=0.8, linestyle="dashed", label="all frequencies")
    axes.set(xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("spatial change, 1 - Dice", fontsize=_TICK)
    axes.set_ylabel("1 - correlation, mean of octaves", fontsize=_TICK)
    axes.legend(frameon=False, fontsize=7, loc="lower right", handlelength=1.5, borderaxespad=0)
    _plain(axes, "Space against spectrum")


def _draw_cam(
    axes: Axes, cam: Values, shape: tuple[int, ...], extent: tuple[float, float, float, float]
) -> None:
    """Draw a map (h, w) over an image of `shape`, the more opaque the higher."""
    # Resized before and not while drawing: matplotlib would not resize the opacities alike.
    values = torch.from_numpy(np.asarray(cam, np.float32))[None, None]
    resized = functional.interpolate(values, size=shape, mode="bilinear")[0, 0].numpy()
    axes.imshow(resized, cmap=_CAMS, vmin=0, vmax=1, alpha=_opacity(resized), extent=extent)


def _opacity(values: Values) -> Values:
    low, high = _CAM_OPACITY
    return np.asarray(low + (high - low) * np.clip(values, 0, 1))


def _draw_cam_key(outlines: Axes, colours: Axes) -> None:
    """Draw what outlines and colours mean; the colours over the grey of a middling image."""
    outlines.set_axis_off()
    styles: tuple[tuple[str, Style], ...] = (("truth", "solid"), ("prediction", "dashed"))
    handles = [
        Line2D([], [], color="white", linestyle=style, label=label, path_effects=_HALO)
        for label, style in styles
    ]
    outlines.legend(handles=handles, loc="center", frameon=False, fontsize=_TICK)
    colours.set_axis_off()
    bar = colours.inset_axes((0.1, 0.55, 0.8, 0.35))
    steps = np.linspace(0, 1, 256)[None]
    extent = (0, 1, 0, 1)
    bar.imshow(np.full((1, 1), 0.5), cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    bar.imshow(steps, cmap=_CAMS, alpha=_opacity(steps), extent=extent, aspect="auto")
    bar.set_yticks([])
    bar.tick_params(labelsize=_TICK)
    bar.spines[:].set_visible(False)
    bar.set_xlabel("Grad-CAM, share of its maximum", fontsize=_TICK, labelpad=1)


def _draw_small(axes: Axes, label: NDArray[np.uint8]) -> None:
    """Draw a label map in the lower left corner."""
    small = axes.inset_axes((0.02, 0.02, 0.28, 0.28))
    greys = np.where(label > 0, 0.4 + 0.6 * label / max(1, int(label.max())), 0)
    small.imshow(greys, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    small.set(xticks=[], yticks=[])
    small.spines[:].set(color="white", linewidth=0.6)


def _outline(axes: Axes, mask: Mask, aspect: float, style: Style) -> None:
    if not mask.any():
        return
    height, width = mask.shape
    # A frame of background closes outlines at the image's border.
    framed = np.pad(mask.astype(np.float64), 1)
    x, y = (np.arange(width + 2) - 0.5) / width, (np.arange(height + 2) - 0.5) / height * aspect
    drawn = axes.contour(
        x, y, framed, levels=[0.5], colors=["white"], linestyles=[style], linewidths=1.2
    )
    drawn.set_path_effects(_HALO)
    axes.set(xlim=(0, 1), ylim=(aspect, 0))


def _told(correlation: MapCorrelation) -> str:
    text = "r undefined" if np.isnan(correlation.mean) else f"r = {correlation.mean:.3f}"
    count = len(correlation.per_class)
    if correlation.defined == count or not correlation.defined:
        return text
    return f"{text} ({correlation.defined} of {count} classes)"


def _spread(values: Values) -> tuple[Values, Values, Values]:
    """Give lower quartile, mean and upper quartile of every column."""
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    return low, values.mean(0), high


def _kind_colour(place: int) -> int:
    # Images and tapered images in neighbouring hues, masks in another.
    return (0, 4, 5)[place % 3]


def _wavelength_ticks(axes: Axes, edges: Values) -> None:
    """Name octave rings by the longest wavelength that they hold; that of the mean is infinite."""
    names = ["\N{INFINITY}" if edge == 0 else f"{1 / edge:.3g}" for edge in edges]
    axes.set_xticks(range(len(edges)), names)
    axes.tick_params(axis="x", labelsize=7)


def _digits(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else f"{value:.1g}"


def _frequency_axis(axes: Axes, upper: Values) -> None:
    axes.set_xscale("log")
    ticks = [value for value in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if upper[0] <= value <= upper[-1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(upper[0], upper[-1])


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=_TITLE, loc="left")
    axes.tick_params(labelsize=_TICK)
    axes.spines[["top", "right"]].set_visible(False)


def _head_columns(line: Sequence[Axes] | NDArray[np.object_], names: Sequence[str]) -> None:
    many = len(names) >= 5
    for axes, name in zip(line, names, strict=True):
        lines = (wrapped(part, _NARROW) if many else part for part in name.split("\n"))
        size = _TICK if many else _TITLE
        axes.set_title("\n".join(lines), fontsize=size, parse_math=False)


def _name_row(axes: Axes, name: str) -> None:
    lines = (shortened(line, _NARROW) for line in name.split("\n"))
    axes.set_ylabel("\n".join(lines), fontsize=7, parse_math=False)
