"""Pictures of single cases: image, truth in red, prediction in green, as in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from harmoseg.evaluation.predicting import Prediction, predict_cases
from harmoseg.store.reading import Store
from harmoseg.study.compare import Study
from harmoseg.study.tables import HEADLINE
from harmoseg.training.run import open_run

TRUTH_COLOUR = "#FF2A2A"
PREDICTION_COLOUR = "#2BE82B"
_PER_GROUP = 2


@dataclass(frozen=True)
class ChosenCase:
    """A case to be shown: why, its number in the store, its mean score in points."""

    why: str
    number: int
    score: float


def choose_cases(study: Study, store: str) -> list[ChosenCase]:
    """Choose the best, median and worst cases by their score over all methods and seeds."""
    numbers = study.stores[store].cases_of("test")
    scores = np.stack([study.scores(method, store, HEADLINE) for method in study.methods])
    means = scores.mean(axis=(0, 1))
    order = [int(i) for i in np.argsort(-means, kind="stable") if np.isfinite(means[i])]
    middle = max(0, (len(order) - _PER_GROUP) // 2)
    groups = {
        "best": order[:_PER_GROUP],
        "median": order[middle : middle + _PER_GROUP],
        "worst": order[-_PER_GROUP:],
    }
    chosen: dict[int, ChosenCase] = {}
    for why, positions in groups.items():
        for i in positions:
            # With fewer cases than places a case is shown once, under its first heading.
            chosen.setdefault(i, ChosenCase(why, numbers[i], float(means[i])))
    return list(chosen.values())


def overlay_figure(study: Study, store_name: str, chosen: Sequence[ChosenCase]) -> Figure:
    """Draw each chosen case in a row: the image, then the outlines of every method's seed 0."""
    store = study.stores[store_name]
    predictions = {
        method: _predict(study, method, store, [item.number for item in chosen])
        for method in study.methods
    }
    columns = 1 + len(study.methods)
    figure = Figure(figsize=(2.7 * columns, 2.7 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for axes_row, item in zip(grid, chosen, strict=True):
        case = store.cases[item.number]
        truth = store.native_label(item.number)
        plane = fullest_plane(truth)
        for axes in axes_row:
            show_plane(axes, store, item.number, plane)
        name = case.case if len(case.case) <= 28 else f"{case.case[:25]}..."
        # A name is text: "$" in it does not begin a formula.
        axes_row[0].set_title(f"{item.why}: {name}", fontsize=8, loc="left", parse_math=False)
        for axes, method in zip(axes_row[1:], study.methods, strict=True):
            _outline(axes, truth[plane], TRUTH_COLOUR, "solid")
            predicted = predictions[method][item.number][plane]
            _outline(axes, predicted, PREDICTION_COLOUR, "dashed")
            axes.set_title(f"{method}, seed 0", fontsize=8, loc="left")
    figure.legend(
        handles=[
            Line2D([], [], color=TRUTH_COLOUR, label="truth"),
            Line2D([], [], color=PREDICTION_COLOUR, linestyle="dashed", label="prediction"),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure


def _predict(
    study: Study, method: str, store: Store, cases: list[int]
) -> dict[int, NDArray[np.uint8]]:
    run = next(item for item in study.runs if item.experiment.method == method)
    experiment, network = open_run(run.folder)
    asked = Prediction(experiment.mode, bf16=experiment.options.precision == "bf16")
    return dict(predict_cases(network, store, cases, asked))


def fullest_plane(label: NDArray[np.uint8]) -> int:
    """Choose the plane of (D, H, W) labels with the most foreground."""
    return int(np.count_nonzero(label, axis=(1, 2)).argmax())


def show_plane(axes: Axes, store: Store, number: int, plane: int) -> None:
    """Draw one plane of a case from its slices, over the extent of its source."""
    case = store.cases[number]
    for row in store.rows_of(number):
        place = store.slice(row)
        if place.plane != plane:
            continue
        image = store.images[row]
        # Over the source's extent, so that outlines at native resolution lie where they belong.
        axes.imshow(
            image[..., 0] if image.shape[-1] == 1 else image,
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=(place.left, place.left + place.width, place.top + place.height, place.top),
            interpolation="bicubic",
        )
    axes.set_xlim(0, case.width)
    axes.set_ylim(case.height, 0)
    axes.set_axis_off()


def _outline(axes: Axes, label: NDArray[np.uint8], colour: str, style: str) -> None:
    for value in np.unique(label[label > 0]):
        # A frame of background closes outlines at the image's border.
        mask = np.pad((label == value).astype(np.float64), 1)
        y, x = np.arange(mask.shape[0]) - 0.5, np.arange(mask.shape[1]) - 0.5
        axes.contour(x, y, mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.4)
    axes.set_xlim(0, label.shape[1])
    axes.set_ylim(label.shape[0], 0)
