"""Figures of single cases under single networks: spectral maps and class activation maps.

The paper's Fig. 8, `spectral_map_figure`, and Fig. 9, `cam_figure`. Maps are in perceptually
uniform colours, outlines are told apart without colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@in_style()
def spectral_map_figure(
    shown: Sequence[ShownSlice], explained: Mapping[str, Sequence[Explanation]], *, title: str = ""
) -> Figure:
    """Draw Fig. 8: the truth's spectral map, then that of every network with its correlation.

    `explained` has what networks, by their names, made of the slices `shown`. A row per slice, in
    one range of colours, so that its panels compare; label maps are drawn small in the corners.
    """
    cell = min(1.75, WIDTH / (1 + len(explained)))
    size = (cell * (1 + len(explained)) + 0.9, (cell + 0.33) * len(shown) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(shown), 1 + len(explained), squeeze=False)
    for i, (line, item) in enumerate(zip(grid, shown, strict=True)):
        parts = [found[i] for found in explained.values()]
        maps = [spectral_map(item.truth), *(part.spectral for part in parts)]
        masks = [item.truth, *(part.predicted for part in parts)]
        top = max(float(np.max(values)) for values in maps) or 1.0
        colours = ScalarMappable(Normalize(0, top), MAPS)
        for axes, values, mask in zip(line, maps, masks, strict=True):
            # An even side has its zero half a pixel behind the middle.
            height, width = values.shape
            x, y = -(width // 2) - 0.5, -(height // 2) - 0.5
            extent = (x / width, (x + width) / width, (y + height) / height, y / height)
            axes.imshow(values, cmap=MAPS, norm=colours.norm, extent=extent, aspect="equal")
            axes.set(xticks=[], yticks=[])
            _draw_small(axes, mask)
        for axes, part in zip(line[1:], parts, strict=True):
            axes.set_xlabel(_told(part.correlation), labelpad=2)
        _name_row(line[0], f"{item.case}\nplane {item.plane}" if item.plane else item.case, cell)
        bar = figure.colorbar(colours, ax=line.tolist(), fraction=0.04, pad=0.01, aspect=14)
        bar.ax.tick_params(labelsize=6, length=2)
        bar.outline.set_visible(False)
    _head_columns(grid[0], ["truth", *explained])
    grid[-1, 0].set_xticks([-0.5, 0, 0.5], ["-0.5", "0", "0.5"], fontsize=6)
    grid[-1, 0].tick_params(length=2, pad=1)
    # Broken, since a figure of two columns is narrow.
    note = "log(1 + |P|) over cycles per px\nr: correlation with the truth's map"
    if any(len(part.correlation.per_class) > 1 for found in explained.values() for part in found):
        note += ",\nboth averaged over classes"
    figure.supxlabel(note, fontsize=TEXT_SIZE)
    if title:
        figure.suptitle(title)
    return figure


@in_style()
def cam_figure(
    shown: Sequence[ShownSlice],
    explained: Mapping[str, Sequence[Explanation]],
    classes: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draw Fig. 9: the image with the truth's outline, then the CAM of every network and layer.

    `explained` has what networks, by their names, made of the slices `shown`; `classes` are those
    of the data. Every map is from 0 to its own maximum: colours say where, not how much.
    """
    columns = [(name, layer) for name, found in explained.items() for layer in found[0].cams]
    cell = min(1.75, WIDTH / (1 + len(columns)))
    heights = [max(0.3, item.aspect) for item in shown]
    size = (cell * (1 + len(columns)) + 0.3, cell * sum(heights) + 0.1 * len(shown) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    places = figure.add_gridspec(
        len(shown) + 1, 1 + len(columns), height_ratios=[*heights, 0.45 / cell]
    )
    grid = [
        [figure.add_subplot(places[i, j]) for j in range(1 + len(columns))]
        for i in range(len(shown))
    ]
    for i, (line, item) in enumerate(zip(grid, shown, strict=True)):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        target = next(iter(explained.values()))[i].target
        extent = (0.0, 1.0, item.aspect, 0.0)
        show_image(line[0], item.image, extent=extent)
        _outline(line[0], item.truth == target, item.aspect, "solid")
        grey = item.image.mean(-1, keepdims=True)
        for axes, (name, layer) in zip(line[1:], columns, strict=True):
            part = explained[name][i]
            show_image(axes, grey, extent=extent)
            _draw_cam(axes, part.cams[layer], item.truth.shape, extent)
            _outline(axes, part.predicted == target, item.aspect, "dashed")
        where = f"plane {item.plane}, {classes[target]}" if item.plane else classes[target]
        _name_row(line[0], f"{item.case}\n{where}", cell * item.aspect)
    _head_columns(grid[0], ["image", *map("\n".join, columns)])
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
