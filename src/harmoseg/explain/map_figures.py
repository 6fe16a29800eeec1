"""Figures of single cases under single networks: spectral maps and class activation maps.

The paper's Fig. 8, `spectral_map_figure`, and Fig. 9, `cam_figure`. Maps are in perceptually
uniform colours, outlines are told apart without colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch.nn import functional

from harmoseg.explain.cam import Explanation
from harmoseg.explain.slices import ShownSlice
from harmoseg.explain.spectra import MapCorrelation, Mask, spectral_map
from harmoseg.report.figures.style import (
    MAPS,
    TEXT_SIZE,
    TITLE_SIZE,
    WIDTH,
    in_style,
    shortened,
    show_image,
    wrapped,
)
from harmoseg.store.card import Card

_NARROW = 14
"""Characters over a small picture: longer names are broken."""
_LONGEST = 20
_PER_INCH = 18
"""Characters of a name beside a picture: where it is longer, its middle is left out."""
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


def spectral_rows(
    shown: Sequence[ShownSlice], explained: Mapping[str, Sequence[Explanation]]
) -> list[SpectralRow]:
    """Make the rows of Fig. 8 from what networks, by their names, made of the slices shown."""
    rows = []
    for place, item in enumerate(shown):
        found = {name: parts[place] for name, parts in explained.items()}
        rows.append(
            SpectralRow(
                f"{item.case}\nplane {item.plane}" if item.plane else item.case,
                spectral_map(item.truth),
                {name: part.spectral for name, part in found.items()},
                {name: part.correlation for name, part in found.items()},
                {"truth": item.truth} | {name: part.predicted for name, part in found.items()},
            )
        )
    return rows


def cam_rows(
    shown: Sequence[ShownSlice], explained: Mapping[str, Sequence[Explanation]], card: Card
) -> list[CamRow]:
    """Make the rows of Fig. 9 from what networks made of the slices shown: a column per layer."""
    rows = []
    for place, item in enumerate(shown):
        parts = {name: found[place] for name, found in explained.items()}
        target = next(iter(parts.values())).target
        of = card.classes[target]
        columns = {
            f"{name}\n{layer}": (part, layer) for name, part in parts.items() for layer in part.cams
        }
        rows.append(
            CamRow(
                "\n".join([item.case, f"plane {item.plane}, {of}" if item.plane else of]),
                item.image,
                item.truth == target,
                {title: part.cams[layer] for title, (part, layer) in columns.items()},
                {title: part.predicted == target for title, (part, _) in columns.items()},
                item.aspect,
            )
        )
    return rows


@in_style()
def spectral_map_figure(rows: Sequence[SpectralRow], *, title: str = "") -> Figure:
    """Draw Fig. 8: the truth's spectral map, then every method's with its correlation.

    A row per case, in one range of colours, so that its panels compare.
    """
    methods = list(rows[0].maps)
    cell = min(1.75, WIDTH / (1 + len(methods)))
    size = (cell * (1 + len(methods)) + 0.9, (cell + 0.33) * len(rows) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), 1 + len(methods), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        top = max(float(np.max(item)) for item in (row.truth, *row.maps.values())) or 1.0
        colours = ScalarMappable(Normalize(0, top), MAPS)
        for axes, (name, values) in zip(
            line, {"truth": row.truth, **row.maps}.items(), strict=True
        ):
            # An even side has its zero half a pixel behind the middle.
            height, width = values.shape
            x, y = -(width // 2) - 0.5, -(height // 2) - 0.5
            extent = (x / width, (x + width) / width, (y + height) / height, y / height)
            axes.imshow(values, cmap=MAPS, norm=colours.norm, extent=extent, aspect="equal")
            axes.set(xticks=[], yticks=[])
            if row.masks is not None:
                _draw_small(axes, row.masks[name])
            if name != "truth":
                axes.set_xlabel(_told(row.correlations[name]), labelpad=2)
        _name_row(line[0], row.name, cell)
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
        fontsize=TEXT_SIZE,
    )
    if title:
        figure.suptitle(title)
    return figure


@in_style()
def cam_figure(rows: Sequence[CamRow], *, title: str = "") -> Figure:
    """Draw Fig. 9: the image with the truth's outline, then every column's CAM over the image.

    Every map is from 0 to its own maximum: colours say where, not how much.
    """
    columns = list(rows[0].cams)
    cell = min(1.75, WIDTH / (1 + len(columns)))
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
        show_image(line[0], row.image, extent=extent)
        _outline(line[0], row.truth, row.aspect, "solid")
        grey = row.image.mean(-1)
        for axes, name in zip(line[1:], columns, strict=True):
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
            _draw_cam(axes, row.cams[name], row.image.shape[:2], extent)
            _outline(axes, row.predicted[name], row.aspect, "dashed")
        _name_row(line[0], row.name, cell * row.aspect)
    _head_columns(grid[0], ["image", *columns])
    _draw_cam_key(figure.add_subplot(places[-1, 0]), figure.add_subplot(places[-1, 1:]))
    if title:
        figure.suptitle(title)
    return figure


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
    outlines.legend(handles=handles, loc="center")
    colours.set_axis_off()
    bar = colours.inset_axes((0.1, 0.55, 0.8, 0.35))
    steps = np.linspace(0, 1, 256)[None]
    extent = (0, 1, 0, 1)
    bar.imshow(np.full((1, 1), 0.5), cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    bar.imshow(steps, cmap=_CAMS, alpha=_opacity(steps), extent=extent, aspect="auto")
    bar.set_yticks([])
    bar.spines[:].set_visible(False)
    bar.set_xlabel("Grad-CAM, share of its maximum", labelpad=1)


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


def _head_columns(line: Sequence[Axes] | NDArray[np.object_], names: Sequence[str]) -> None:
    many = len(names) >= 5
    for axes, name in zip(line, names, strict=True):
        lines = (wrapped(part, _NARROW) if many else part for part in name.split("\n"))
        size = TEXT_SIZE if many else TITLE_SIZE
        axes.set_title("\n".join(lines), fontsize=size, loc="center")


def _name_row(axes: Axes, name: str, height: float) -> None:
    """Write the lines of a name up along a picture that is `height` inches high."""
    most = min(_LONGEST, max(_NARROW, int(_PER_INCH * height)))
    lines = (shortened(line, most) for line in name.split("\n"))
    axes.set_ylabel("\n".join(lines), fontsize=7)
