"""Where images and masks have their power, and what changes of masks do in space and spectrum.

The paper's Fig. 2, `power_share_figure`, and Fig. 3, `spatial_spectral_figure`, from plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from numpy.typing import NDArray

from harmoseg.explain.slices import ShownSlice
from harmoseg.explain.spectra import (
    Change,
    Effect,
    Kind,
    Mask,
    PowerShares,
    change_mask,
    spectral_map,
)
from harmoseg.report.figures.style import MAPS, PALETTE, TEXT_SIZE, WIDTH, in_style, label_axes
from harmoseg.spectrum import log_magnitude

Values = NDArray[np.floating]

# Images and tapered images in neighbouring hues, masks in another.
_KIND_STYLES = (
    (PALETTE[0], "solid", ""),
    (PALETTE[4], "dashed", ""),
    (PALETTE[5], "dotted", "///"),
)
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


@in_style()
def power_share_figure(
    kinds: Sequence[PowerShares], example: ShownSlice, *, title: str = ""
) -> Figure:
    """Draw Fig. 2: where images and masks have their power, over an example of both.

    Left, the share of each octave, right, the share above a frequency: means, with the quartiles
    over the planes. The zero frequency is left out of both, and its share of all power told in the
    legend.
    """
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.75, 3), squeeze=False)[:, 0]
    _draw_example(np.ravel(above.subplots(1, 4)), example)
    left, right = np.ravel(below.subplots(1, 2))
    known = [kind for kind in kinds if len(kind.shares)]
    for place, kind in enumerate(known):
        colour, line, hatch = _KIND_STYLES[place % len(_KIND_STYLES)]
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
    wavelength = "wavelength (px), from coarse to fine"
    label_axes(left, "Share of each octave", wavelength, "power without the zero frequency")
    label_axes(right, "Share above a frequency", "radial frequency (cycles per px)", "")
    if known:
        below.legend(loc="outside lower center", ncols=1)
    # Also without a title: the layout leaves no room for the heads of the pictures otherwise.
    figure.suptitle(title or " ")
    return figure


@in_style()
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
    figure = Figure(figsize=(WIDTH, 2.75 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes in grid[len(kinds) + 1 :]:
        axes.set_axis_off()
    top = max([1.1, *(float(effect.rings.max()) for effect in effects if effect.masks)])
    for axes, kind in zip(grid, kinds, strict=False):
        axes.set_ylim(0, 1.1 * top)
        shown = [effect for effect in effects if effect.change.kind == kind and effect.masks]
        _draw_changes(axes, _KIND_TITLES[kind], edges, shown, example)
    _draw_space_and_spectrum(grid[len(kinds)], [effect for effect in effects if effect.masks])
    most = max((effect.masks for effect in effects), default=0)
    figure.supxlabel(
        f"in the legends: amount of the change, then 1 - Dice; means of {most} masks",
        fontsize=TEXT_SIZE,
    )
    if title:
        figure.suptitle(title)
    return figure


def _draw_example(places: NDArray[np.object_], example: ShownSlice) -> None:
    mask = example.truth == max(1, example.largest_class)
    spectrum = log_magnitude(torch.from_numpy(example.image.mean(-1) / 255)).numpy()
    pictures = (
        (example.image.squeeze(), "gray", "An image"),
        (spectrum, MAPS, "its spectrum"),
        (mask, "gray", "a mask of it"),
        (spectral_map(mask.astype(np.uint8)), MAPS, "its spectrum"),
    )
    for axes, (values, colours, words) in zip(places, pictures, strict=True):
        axes.imshow(values, cmap=colours)
        axes.set(xticks=[], yticks=[])
        axes.set_title(words)
        axes.spines[:].set_visible(False)
        if colours == MAPS:
            axes.set_xlabel("log(1 + |P|)", labelpad=2)


def _draw_changes(
    axes: Axes, title: str, edges: Values, shown: Sequence[Effect], example: Mask
) -> None:
    axes.axhline(1, color="0.6", linewidth=0.8, linestyle="dashed", zorder=0)
    for effect in shown:
        amount = effect.change.amount
        axes.plot(
            np.arange(len(edges)),
            effect.rings,
            # An amount has one colour in all panels.
            color=colormaps[MAPS](min(0.88, 0.22 * np.log2(amount))),
            marker="o",
            markersize=2.5,
            linewidth=1.3,
            label=f"{amount} px: {_digits(effect.spatial)}",
        )
    _wavelength_ticks(axes, edges)
    axes.tick_params(axis="x", labelsize=7)
    label_axes(axes, title, "wavelength (px)", "1 - ring correlation")
    if shown:
        axes.legend(fontsize=7, loc="upper left", handlelength=1, borderaxespad=0)
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
    across = "1 - correlation, mean of octaves"
    label_axes(axes, "Space against spectrum", "spatial change, 1 - Dice", across)
    axes.legend(fontsize=7, loc="lower right", handlelength=1.5, borderaxespad=0)


def _spread(values: Values) -> tuple[Values, Values, Values]:
    """Return lower quartile, mean and upper quartile of every column."""
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    return low, values.mean(0), high


def _wavelength_ticks(axes: Axes, edges: Values) -> None:
    """Name octave rings by the longest wavelength that they hold; that of the mean is infinite."""
    names = ["\N{INFINITY}" if edge == 0 else f"{1 / edge:.3g}" for edge in edges]
    axes.set_xticks(range(len(edges)), names)


def _digits(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else f"{value:.1g}"


def _frequency_axis(axes: Axes, upper: Values) -> None:
    axes.set_xscale("log")
    ticks = [value for value in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if upper[0] <= value <= upper[-1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(upper[0], upper[-1])
