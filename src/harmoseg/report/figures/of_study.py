"""Which figures a study has, with titles and captions that say what is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from harmoseg.report.figures.comparisons import (
    Styles,
    difference_plot,
    paired_plot,
    training_curves,
)
from harmoseg.report.figures.forest import forest_plot
from harmoseg.report.figures.ladders import (
    condition_figure,
    find_families,
    find_ladders,
    ladder_figure,
    weight_figure,
)
from harmoseg.report.figures.overlays import (
    Predictions,
    choose_cases,
    class_figure,
    overlay_figure,
    predict_again,
)
from harmoseg.report.figures.reliability import reliability_figure
from harmoseg.report.figures.rings import ring_figure
from harmoseg.report.figures.style import method_styles
from harmoseg.study.results import Study, TaskResults
from harmoseg.study.tables import HEADLINE, Difference

PredictionsOf = Callable[[TaskResults, str, Sequence[int]], Predictions]
"""Gives, for a task, one of its stores and the numbers of cases, where predictions come from."""

_INTERVAL = "95 % interval over seeds and patients"
_HOLLOW = "A hollow marker has no interval, which needs two seeds and two patients."


@dataclass(frozen=True)
class NamedFigure:
    """A figure with a name that is safe for a file, a title, and a caption that explains it."""

    name: str
    title: str
    caption: str
    figure: Figure


def study_figures(
    study: Study,
    differences: Sequence[Difference],
    *,
    predictions: PredictionsOf = predict_again,
) -> list[NamedFigure]:
    """Draw every figure that a study has data for, the most telling one first.

    `differences` are those of the study, in the order in which they are to be shown; those of
    measures other than the headline's are passed over. A method looks alike in all figures.
    """
    styles = method_styles(
        list(dict.fromkeys(method for task in study.tasks for method in task.methods))
    )
    chosen = [item for item in differences if item.metric == HEADLINE]
    figures = list(_overview(chosen))
    for task in study.tasks:
        of_task = [item for item in chosen if item.task == task.name]
        figures += list(_of_task(task, of_task, styles, predictions))
    return _with_own_names(figures)


def _overview(chosen: Sequence[Difference]) -> Iterator[NamedFigure]:
    if not chosen:
        return
    stores = {(item.task, item.store) for item in chosen}
    yield NamedFigure(
        "gains",
        "What every method gains over its controls",
        f"A row is a method minus its control in points of {HEADLINE}, paired by case and seed; "
        "where 'no control' is written, more than a term may differ. "
        f"{len(chosen)} comparisons on {len(stores)} test sets. Dot: mean; line: {_INTERVAL}. "
        "Filled: the interval lies on one side of 0; hollow: it holds 0, and no difference is "
        "shown; a diamond has no interval. An arrow: the interval goes on beyond the axis, as the "
        "numbers say. The intervals are not widened for the number of comparisons.",
        forest_plot(chosen),
    )


def _of_task(
    task: TaskResults,
    differences: Sequence[Difference],
    styles: Styles,
    predictions: PredictionsOf,
) -> Iterator[NamedFigure]:
    for store in task.stores:
        of_store = [item for item in differences if item.store == store]
        where = _where(task, store)
        if of_store:
            yield from _of_cases(task, store, of_store)
        yield NamedFigure(
            f"{task.name}-rings-{store}",
            f"Agreement by spatial frequency, {where}",
            "Correlation of prediction and truth in octave rings of the spectrum at training "
            "resolution, each drawn at its mean frequency; shaded: frequency 0, which compares "
            f"areas alone. Dots: mean of {_cases(task, store)} over {_seeds(task)}; lines: "
            f"{_INTERVAL}. Cases without power in a ring are left out of it. Gains: paired "
            f"differences. Methods stand side by side; a line that leaves the picture goes on. "
            f"{_HOLLOW}",
            ring_figure(task, store, of_store, styles),
        )
        yield from _of_damage(task, store, styles)
        yield from _pictures(task, store, predictions)
    yield NamedFigure(
        f"{task.name}-reliability",
        f"Reliability, trained on {task.name}",
        "Above: of the pixels whose probability falls into a bin, the share that is right, pooled "
        f"over all test pixels of {_seeds(task)}; on the diagonal confidence is true. Below: how "
        "often each confidence comes. ECE: mean distance to the diagonal in points, weighted by "
        "pixels. Bins with few pixels scatter.",
        reliability_figure(task, styles),
    )
    families = find_families(task.methods)
    if families:
        yield NamedFigure(
            f"{task.name}-weights",
            f"Weight of the term, trained on {task.name}",
            f"Mean {HEADLINE} of {_seeds(task)} against the weight of the term; lines: "
            f"{_INTERVAL}. At 0, and as a band: the same network and reduction without the term. "
            "Overlapping intervals do not mean that there is no difference: that is told by the "
            f"paired differences. {_HOLLOW}",
            weight_figure(task, families, styles),
        )
    yield NamedFigure(
        f"{task.name}-training",
        f"Training on {task.name}",
        f"Thin lines are seeds ({_seeds(task)}), thick lines their mean, as far as every seed of "
        "the method trained. Losses of different methods are different quantities.",
        training_curves(task, styles),
    )


def _of_cases(
    task: TaskResults, store: str, differences: Sequence[Difference]
) -> Iterator[NamedFigure]:
    where = _where(task, store)
    yield NamedFigure(
        f"{task.name}-pairs-{store}",
        f"Method against what it is compared with, case by case, {where}",
        f"A dot is one of {_cases(task, store)}, mean over the seeds that both methods have. Above "
        "the diagonal the method scores higher; ▲, ▼ "
        "and = count the cases that score higher, lower and "
        "equal. Where most cases are near 100 both axes are "
        "stretched towards it. Cases that are undefined under some run are left out.",
        paired_plot(task, differences),
    )
    yield NamedFigure(
        f"{task.name}-differences-{store}",
        f"Differences, case by case, {where}",
        f"A dot is one of {_cases(task, store)}, mean over the seeds that both methods have; to "
        f"the right of 0 the method scores higher. Diamond and line: mean and {_INTERVAL}. The "
        "height of a dot within its row has no meaning.",
        difference_plot(task, differences),
    )


def _of_damage(task: TaskResults, store: str, styles: Styles) -> Iterator[NamedFigure]:
    ladders, single = find_ladders(task.conditions)
    what = f"mean {HEADLINE} of {_cases(task, store)} over {_seeds(task)}; lines: {_INTERVAL}"
    if ladders:
        yield NamedFigure(
            f"{task.name}-ladders-{store}",
            f"Corrupted images, {_where(task, store)}",
            f"Dots: {what}. The mildest level first; levels are evenly spaced whatever their size. "
            f"Methods stand side by side. {_HOLLOW}",
            ladder_figure(task, store, ladders, styles),
        )
    if single:
        yield NamedFigure(
            f"{task.name}-conditions-{store}",
            f"Clean and corrupted images, {_where(task, store)}",
            f"Dots: {what}. A condition is named with its level. {_HOLLOW}",
            condition_figure(task, store, single, styles),
        )


def _pictures(task: TaskResults, store: str, predictions: PredictionsOf) -> Iterator[NamedFigure]:
    chosen = choose_cases(task, store)
    if not chosen:
        return
    source = predictions(task, store, [item.number for item in chosen])
    seeds = ", ".join(sorted({str(task.seeds_of(method)[0]) for method in task.methods}))
    caption = (
        f"Cases by their mean {HEADLINE} over all methods and seeds, out of {_cases(task, store)}: "
        "chosen by score, not by what they show. Predictions and scores are those of each "
        f"method's first finished seed ({seeds}). Of a volume the plane with the most foreground "
        "is shown; the score is that of the whole volume. "
    )
    if task.stores[store].info.card.mode == "binary":
        figure = overlay_figure(task, store, chosen, source)
        caption += "Red, solid: truth; green, dashed: prediction."
    else:
        figure = class_figure(task, store, chosen, source)
        caption += (
            "White boxes: regions of error, but for those along outlines and those below a "
            "two-thousandth of the plane; the eight largest."
        )
    title = f"Best, median and worst cases, {_where(task, store)}"
    yield NamedFigure(f"{task.name}-cases-{store}", title, caption, figure)


def _where(task: TaskResults, store: str) -> str:
    return f"on {store}" if store == task.name else f"trained on {task.name}, tested on {store}"


def _cases(task: TaskResults, store: str) -> str:
    count = len(task.cases(store))
    patients = len(set(task.groups(store)))
    return f"{count} cases" if count == patients else f"{count} cases of {patients} patients"


def _seeds(task: TaskResults) -> str:
    """Say how many seeds there are: one number, or from which to which."""
    counts = sorted({len(task.seeds_of(method)) for method in task.methods})
    if counts == [1]:
        return "1 seed"
    if len(counts) == 1:
        return f"{counts[0]} seeds"
    return f"{counts[0]} to {counts[-1]} seeds, where some are missing,"


def _with_own_names(figures: Sequence[NamedFigure]) -> list[NamedFigure]:
    """Make names of letters and digits, each its own: what a store is called is free text."""
    taken: dict[str, int] = {}
    named = []
    for item in figures:
        name = re.sub(r"[^a-z0-9]+", "-", item.name.lower()).strip("-")
        taken[name] = taken.get(name, 0) + 1
        name = name if taken[name] == 1 else f"{name}-{taken[name]}"
        named.append(NamedFigure(name, item.title, item.caption, item.figure))
    return named
