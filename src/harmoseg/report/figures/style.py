"""One style for all figures: fonts, colours, how a method is drawn, and how a figure is saved."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from harmoseg.files import make_folder, write_bytes
from harmoseg.statistics.intervals import Estimate

# Okabe and Ito's palette: told apart with any colour vision.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MINUS = "\N{MINUS SIGN}"
MAPS = "viridis"
"""Colours of maps: perceptually uniform, and in order when printed in grey."""
GAIN, LOSS, UNDECIDED = PALETTE[0], PALETTE[5], "#7F7F7F"
WIDTH = 7.0
"""Width of a figure over a page, in inches; its text is 8 to 9 pt there."""
COLUMNS = 3
"""Panels beside one another in a figure over a page."""
TEXT_SIZE, TITLE_SIZE = 8.0, 9.0
_DPI = 130
_PAD = 0.05
"""Inches around a saved figure."""
# On white the palette's yellow is hardly seen as a line: grey takes its place.
_METHOD_COLOURS = (*PALETTE[:6], PALETTE[7], "#8C8C8C")
# Seven markers and eight colours: no pair comes twice among 56 methods.
_MARKERS = ("o", "s", "^", "D", "v", "p", "<")
Line = Literal["solid", "dashed", "dashdot", "dotted"]
_LINES: tuple[Line, ...] = ("solid", "dashed", "dashdot", "dotted")

_STYLE: dict[Any, Any] = {
    "font.size": TEXT_SIZE,
    "axes.titlesize": TITLE_SIZE,
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT_SIZE,
    "xtick.labelsize": TEXT_SIZE,
    "ytick.labelsize": TEXT_SIZE,
    "legend.fontsize": TEXT_SIZE,
    "figure.titlesize": TITLE_SIZE,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "savefig.facecolor": "white",
    # Names of methods, stores and cases are text: "$" in them does not begin a formula.
    "text.parse_math": False,
    # Text stays text, to be searched and set in the reader's font.
    "svg.fonttype": "none",
    # Without it the marks inside of an SVG file are named at random.
    "svg.hashsalt": "harmoseg",
}


@dataclass(frozen=True)
class MethodStyle:
    """Colour, marker and line of a method in every figure of a study."""

    colour: str
    marker: str
    line: Line


Styles = Mapping[str, MethodStyle]


@dataclass(frozen=True, eq=False)
class Dots:
    """Cases in a panel of a figure: `places` (n, 2) in data coordinates, and a name for each."""

    axes: Axes
    places: NDArray[np.float64]
    cases: Sequence[str]
    method: str


@contextmanager
def in_style() -> Iterator[None]:
    """Draw in the style of all figures; a block, or a decorator of a function."""
    with mpl.rc_context(_STYLE):
        yield


def method_styles(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """Return the colour, marker and line of every method of a study, by its place."""
    return {
        method: MethodStyle(
            _METHOD_COLOURS[i % len(_METHOD_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            # Where the colours begin again, the lines do not begin with them.
            _LINES[(i + i // len(_METHOD_COLOURS)) % len(_LINES)],
        )
        for i, method in enumerate(methods)
    }


def save_figure(figure: Figure, path: Path, *, dpi: int = _DPI) -> bytes:
    """Write a figure as `path` with ``.png`` and with ``.svg`` appended; return the PNG's bytes.

    `dpi` is that of the PNG. The files hold no date and no version: equal figures, equal bytes.
    """
    make_folder(path.resolve().parent)
    picture = to_png(figure, dpi=dpi)
    with in_style():
        drawing = _saved(figure, "svg", {"Date": None, "Creator": None}, dpi)
    write_bytes(path.with_name(f"{path.name}.png"), picture)
    write_bytes(path.with_name(f"{path.name}.svg"), drawing)
    return picture


def to_png(figure: Figure, *, dpi: int = _DPI) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    with in_style():
        return _saved(figure, "png", {"Software": None}, dpi)


def _saved(figure: Figure, kind: str, metadata: dict[str, None], dpi: int) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format=kind, dpi=dpi, metadata=metadata, bbox_inches="tight", pad_inches=_PAD
    )
    return buffer.getvalue()


def place_dots(figure: Figure, dots: Sequence[Dots]) -> dict[str, Any]:
    """Return where the dots of a saved figure are in its picture, as shares of width and height.

    ``dots`` has (from the left, from the top, place in ``cases``, place in ``methods``).
    """
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    box = figure.get_tightbbox(renderer).padded(_PAD)
    cases = list(dict.fromkeys(name for item in dots for name in item.cases))
    methods = list(dict.fromkeys(item.method for item in dots))
    index = {name: i for i, name in enumerate(cases)}
    found = []
    for item in dots:
        inches = item.axes.transData.transform(item.places) / figure.dpi
        x = (inches[:, 0] - box.x0) / box.width
        y = 1 - (inches[:, 1] - box.y0) / box.height
        found += [
            [round(float(a), 4), round(float(b), 4), index[name], methods.index(item.method)]
            for a, b, name in zip(x, y, item.cases, strict=True)
        ]
    return {"cases": cases, "methods": methods, "dots": found}


@functools.cache
def text_width(text: str, *, size: float = TEXT_SIZE) -> float:
    """Measure a line of text, in inches."""
    if not text.strip():
        return 0.0
    with in_style():  # for "$"
        return float(TextPath((0, 0), text, size=size).get_extents().x1) / 72


def shortened(text: str, length: int) -> str:
    """Cut the middle out of a text that is longer than `length` characters."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"


def wrapped(method: str, length: int) -> str:
    """Break the name of a method into lines, before ``+`` and ``@`` where it is too long."""
    lines = [""]
    for part in method.replace("+", "\0+").replace("@", "\0@").split("\0"):
        if len(lines[-1]) + len(part) > length and lines[-1]:
            lines.append("")
        lines[-1] += shortened(part, length)
    return "\n".join(lines)


def signed(value: float) -> str:
    """Write a difference on an axis: with its sign, a true minus, and 0 without one."""
    return f"{value:+g}".replace("-", MINUS) if value else "0"


def dodge(place: int, count: int) -> float:
    """Return where one of `count` things stands beside the others, between -1/2 and 1/2."""
    return (place + 0.5) / count - 0.5


def panels(
    count: int,
    height: float,
    *,
    columns: int = COLUMNS,
    narrowest: float = 0.0,
    extra: float = 0.0,
    **how: Any,
) -> tuple[Figure, list[Axes]]:
    """Make a figure of `count` panels `height` inches high, so many `columns` at most."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    width = max(narrowest, 0.3 + (WIDTH - 0.3) / COLUMNS * columns)
    figure = Figure(figsize=(width, height * rows + extra), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **how).ravel()
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, list(grid[:count])


def show_image(axes: Axes, image: NDArray[Any], **how: Any) -> None:
    """Draw an image (H, W, C) of values from 0 to 255; one channel is grey."""
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, **how)


def label_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Set the title and the labels of both axes."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def method_handle(method: str, style: MethodStyle, *, lines: bool = True) -> Line2D:
    """Make the entry of a method in a legend."""
    return Line2D(
        [],
        [],
        color=style.colour,
        marker=style.marker,
        linestyle=style.line if lines else "none",
        label=shortened(method, 48),
    )


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put a legend under all axes, in as many columns as the figure's width has room for."""
    widest = max(text_width(str(handle.get_label())) for handle in handles) + 0.55
    columns = max(1, min(len(handles), int((figure.get_figwidth() - 0.2) / widest)))
    figure.legend(
        handles=list(handles), loc="outside lower center", ncols=columns, handlelength=3.2
    )


def draw_interval(
    axes: Axes,
    place: float,
    estimate: Estimate,
    style: MethodStyle,
    *,
    upright: bool = True,
    bounds: tuple[float, float] | None = None,
) -> None:
    """Draw a mean with its interval at a place on the x axis, or on the y axis if not `upright`.

    Without an interval the marker is hollow; without a mean there is nothing. `bounds` are the
    smallest and largest value possible: an interval is cut off there, and nothing true with it.
    """
    low, high = interval_of(estimate, bounds)
    both = ([place, place], [low, high])
    axes.plot(*(both if upright else both[::-1]), color=style.colour, linewidth=1.1)
    point = ([place], [estimate.mean])
    axes.plot(
        *(point if upright else point[::-1]),
        marker=style.marker,
        color=style.colour,
        linestyle="none",
        markerfacecolor=style.colour if low == low else "white",
    )


def draw_curve(
    axes: Axes,
    places: NDArray[np.float64],
    estimates: Sequence[Estimate],
    style: MethodStyle,
    bounds: tuple[float, float],
    joined: NDArray[np.bool_] | slice = slice(None),
) -> None:
    """Draw means with their intervals at places on the x axis; a line connects those `joined`."""
    means = np.asarray([estimate.mean for estimate in estimates])
    line: dict[str, Any] = {"color": style.colour, "linestyle": style.line, "linewidth": 1.0}
    axes.plot(places[joined], means[joined], **line)
    for place, estimate in zip(places.tolist(), estimates, strict=True):
        draw_interval(axes, place, estimate, style, bounds=bounds)


def interval_of(
    estimate: Estimate, bounds: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Return the interval of an estimate within `bounds`, NaN and NaN where there is none."""
    if estimate.low is None or estimate.high is None:
        return float("nan"), float("nan")
    if bounds is None:
        return estimate.low, estimate.high
    return max(bounds[0], estimate.low), min(bounds[1], estimate.high)


def focus(axes: Axes, estimates: Sequence[Estimate], bounds: tuple[float, float]) -> None:
    """Limit the y axis to all means, and all intervals but those far wider than most.

    From two seeds a single interval can be so wide that everything else becomes a line.
    """
    means = np.asarray([x.mean for x in estimates if math.isfinite(x.mean)])
    if not len(means):
        return
    ends = np.asarray([interval_of(x, bounds) for x in estimates if math.isfinite(x.mean)])
    reach = np.abs(ends - means[:, None]).max(axis=1)
    known = reach[np.isfinite(reach)]
    usual = 2.0 * float(np.quantile(known, 0.75)) if len(known) else 0.0
    reach = np.minimum(np.nan_to_num(reach), usual)
    low, high = float((means - reach).min()), float((means + reach).max())
    margin = 0.05 * (high - low) or 0.05
    axes.set_ylim(max(low - margin, bounds[0] - margin), min(high + margin, bounds[1] + margin))
