"""Which figures a comparison has, with titles and captions that say what is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from harmoseg.report.figures.cases import (
    choose_cases,
    class_figure,
    difference_plot,
    overlay_figure,
    paired_plot,
)
from harmoseg.report.figures.curves import reliability_figure, ring_figure, training_curves
from harmoseg.report.figures.forest import forest_plot, pooled_plot
from harmoseg.report.figures.ladders import (
    condition_figure,
    find_families,
    find_ladders,
    ladder_figure,
    weight_figure,
)
from harmoseg.report.figures.style import Dots, Styles, method_styles
from harmoseg.report.gallery import Gallery
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import Block, Where
from harmoseg.statistics.comparison import Comparison, Difference
from harmoseg.statistics.curves import ring_curves
from harmoseg.statistics.heterogeneity import pool_all
from harmoseg.statistics.printing import format_count

_INTERVAL = (
    "95 % interval over seeds and patients (with one training per method over patients alone, for "
    "these networks)"
)
_HOLLOW = "A hollow marker has no interval: too few seeds or patients."
_FOREST = ("NSD", "HD95", "ECE")
"""Families of secondary measures that have a forest of their own."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure with a name that is safe for a file, a title, and a caption that explains it.

    `section` is the part of the report that it belongs to. `dots` are the cases in it, of the test
    set `place`; `is_photo` says that it shows images.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    section: str = "Figures"
    dots: Sequence[Dots] = ()
    place: str = ""
    is_photo: bool = False


DIFFERENCES, CASES, RINGS = "Differences", "Case by case", "Fine detail"
CONDITIONS, CALIBRATION, TRAINING = "Corrupted images", "Calibration", "Training"
CENTRES = "Centres"


def comparison_figures(
    comparison: Comparison, gallery: Gallery | None = None, logs: pd.DataFrame | None = None
) -> list[NamedFigure]:
    """Draw every figure that there is data for, the most telling one first.

    `logs` are training logs; see `harmoseg.report.figures.curves`. A method looks alike in all
    figures.
    """
    styles = method_styles(list(comparison.methods))
    figures = [
        *_forests(comparison),
        *_over_datasets(comparison),
        *_of_centres(comparison),
    ]
    for trained_on in dict.fromkeys(block.trained_on for block in comparison.blocks):
        blocks = [block for block in comparison.blocks if block.trained_on == trained_on]
        for block in blocks:
            figures += _of_block(comparison, block, gallery or Gallery(), styles)
        figures += _of_training(comparison, blocks, logs, styles)
    return with_own_names(figures)


def _forests(comparison: Comparison) -> Iterator[NamedFigure]:
    main = comparison.headline
    if not main:
        return
    places = {id(item.block) for item in main}
    title = comparison.primary.title
    yield NamedFigure(
        "gains",
        "What every method gains over its controls",
        f"A row is a method minus its control in {_unit(main[0])} of {title}, paired by case and "
        "seed; where 'no control' is written, more than a term may differ. "
        f"{format_count(len(main), 'comparison')} on {format_count(len(places), 'test set')}. Dot: "
        f"mean; line: {_INTERVAL}. Filled: better, worse or equivalent; hollow: open, no "
        "difference is shown; a diamond has no interval. An arrow: the interval goes on beyond the "
        "axis, as the numbers say. The intervals are not widened for the number of comparisons.",
        forest_plot(main),
        DIFFERENCES,
    )
    for family in _FOREST:
        found = [x for x in comparison.find(where=Where()) if x.measure.family == family]
        found = [x for x in found if x.measure == found[0].measure and not x.primary]
        if any(x.estimate.cases for x in found):
            yield NamedFigure(
                f"gains-{found[0].measure.name}",
                f"The same in {found[0].measure.title}",
                f"Secondary measure, as above, in {_unit(found[0])}: it was not declared "
                "beforehand and is not corrected for the number of measures.",
                forest_plot(found),
                DIFFERENCES,
            )


def _over_datasets(comparison: Comparison) -> Iterator[NamedFigure]:
    for number, item in enumerate(pool_all(comparison)):
        yield NamedFigure(
            f"pooled-{number}",
            f"Over all datasets: {item.method} minus {item.reference}",
            f"{item.sentence} Rows: the paired difference on every dataset, line: {_INTERVAL}. "
            "Dotted: the 95 % prediction interval, where the true difference on another dataset "
            "of this kind is expected.",
            pooled_plot(item),
            DIFFERENCES,
        )


def _of_centres(comparison: Comparison) -> Iterator[NamedFigure]:
    found = [
        item
        for block in comparison.blocks
        for centre in block.centres
        for item in comparison.find(
            measure=comparison.primary, block=block, where=Where(subset=centre)
        )
    ]
    if found:
        yield NamedFigure(
            "gains-by-centre",
            "The same by centre",
            f"As above, for every centre, in {_unit(found[0])} of {comparison.primary.title}. A "
            "centre with one patient has no interval. The intervals are not widened for the number "
            "of centres.",
            forest_plot(found),
            CENTRES,
        )


def _of_block(
    comparison: Comparison, block: Block, gallery: Gallery, styles: Styles
) -> Iterator[NamedFigure]:
    where = _where(block)
    found = [item for item in comparison.headline if item.block is block]
    if found:
        yield from _of_cases(block, found)
    curves = ring_curves(comparison.scores, block)
    if curves is not None:
        yield NamedFigure(
            f"{block.trained_on}-rings-{block.tested_on}",
            f"Agreement by spatial frequency, {where}",
            "Correlation of prediction and truth in octave rings of the spectrum at training "
            "resolution, each drawn at its mean frequency; shaded: frequency 0, which compares "
            f"areas alone. Dots: mean of {_cases(block)} over {_seeds([block])}; lines: "
            f"{_INTERVAL}. Cases without power in a ring are left out of it. Gains: paired "
            "differences. Methods stand side by side; a line that leaves the picture goes on. "
            f"{_HOLLOW}",
            ring_figure(curves, found, styles),
            RINGS,
        )
    yield from _of_conditions(comparison, block, styles)
    yield from _pictures(comparison, block, gallery)


def _of_cases(block: Block, differences: Sequence[Difference]) -> Iterator[NamedFigure]:
    where, measure = _where(block), differences[0].measure
    stretched = (
        " Where most cases are near 100 both axes are stretched towards it."
        if measure.is_share
        else ""
    )
    figure, dots = paired_plot(differences)
    yield NamedFigure(
        f"{block.trained_on}-pairs-{block.tested_on}",
        f"Method against what it is compared with, case by case, {where}",
        f"A dot is one of {_cases(block)}, mean over the paired seeds. Above the diagonal the "
        "method has the larger value; ▲, ▼ and = count the cases that are larger, smaller and "
        f"equal; blue is better.{stretched} Cases that are undefined under some run are left out.",
        figure,
        CASES,
        dots,
        block.place,
    )
    figure, dots = difference_plot(differences)
    yield NamedFigure(
        f"{block.trained_on}-differences-{block.tested_on}",
        f"Differences, case by case, {where}",
        f"A dot is one of {_cases(block)}, mean over the paired seeds; to the right of 0 the "
        f"method has the larger value. Diamond and line: mean and {_INTERVAL}. The height of a "
        "dot within its row has no meaning.",
        figure,
        CASES,
        dots,
        block.place,
    )


def _of_conditions(comparison: Comparison, block: Block, styles: Styles) -> Iterator[NamedFigure]:
    conditions = [name for name in block.conditions if name != CLEAN]
    ladders, single = find_ladders(conditions)
    title = comparison.primary.title
    what = f"mean {title} of {_cases(block)} over {_seeds([block])}; lines: {_INTERVAL}"
    if ladders:
        yield NamedFigure(
            f"{block.trained_on}-ladders-{block.tested_on}",
            f"Corrupted images, {_where(block)}",
            f"Dots: {what}. The mildest level first; levels are evenly spaced whatever their size. "
            f"Methods stand side by side. {_HOLLOW}",
            ladder_figure(comparison, block, ladders, styles),
            CONDITIONS,
        )
    if single:
        yield NamedFigure(
            f"{block.trained_on}-conditions-{block.tested_on}",
            f"Clean and corrupted images, {_where(block)}",
            f"Dots: {what}. A condition is named with its level. {_HOLLOW}",
            condition_figure(comparison, block, single, styles),
            CONDITIONS,
        )


def _pictures(comparison: Comparison, block: Block, gallery: Gallery) -> Iterator[NamedFigure]:
    part = gallery.part(block.trained_on, block.tested_on)
    if part is None:
        return
    measure = comparison.primary
    chosen = choose_cases(block, part, measure)
    if not chosen:
        return
    seeds = ", ".join(sorted({block.seeds[method][0] for method in block.methods}))
    caption = (
        f"Cases by their mean {measure.title} over all methods and seeds, out of "
        f"{len(part.cases)} with pictures: chosen by score, not by what they show. Predictions and "
        f"scores are those of each method's first seed ({seeds}). Of a volume the plane with the "
        "most foreground is shown; the score is that of the whole volume. "
    )
    if len(part.classes) == 1:
        figure = overlay_figure(block, chosen, measure)
        caption += "Red, solid: truth; green, dashed: prediction."
    else:
        figure = class_figure(block, chosen, measure, part)
        caption += (
            "White boxes: regions of error, but for those along outlines and those below a "
            "two-thousandth of the plane; the eight largest."
        )
    title = f"Best, median and worst cases, {_where(block)}"
    yield NamedFigure(
        f"{block.trained_on}-cases-{block.tested_on}", title, caption, figure, CASES, is_photo=True
    )


def _of_training(
    comparison: Comparison, blocks: Sequence[Block], logs: pd.DataFrame | None, styles: Styles
) -> Iterator[NamedFigure]:
    trained_on = blocks[0].trained_on
    named = f", trained on {trained_on}" if trained_on else ""
    if comparison.scores.bins is not None:
        yield NamedFigure(
            f"{trained_on}-reliability",
            f"Reliability{named}",
            "Above: of the pixels whose probability falls into a bin, the share that is right, "
            f"pooled over all test pixels of {_seeds(blocks)}; on the diagonal confidence is true. "
            "Below: how often each confidence comes. ECE: mean distance to the diagonal in points, "
            "weighted by pixels. Bins with few pixels scatter.",
            reliability_figure(comparison.scores, blocks, styles),
            CALIBRATION,
        )
    families = find_families(blocks[0].methods)
    if families:
        yield NamedFigure(
            f"{trained_on}-weights",
            f"Weight of the term{named}",
            f"Mean {comparison.primary.title} of {_seeds(blocks)} against the weight of the term; "
            f"lines: {_INTERVAL}. At 0, and as a band: the same network and reduction without the "
            "term. Overlapping intervals do not mean that there is no difference: the paired "
            f"differences show that. {_HOLLOW}",
            weight_figure(comparison, blocks, families, styles),
            DIFFERENCES,
        )
    mine = None if logs is None else logs[logs["trained_on"] == trained_on]
    if mine is not None and len(mine):
        methods = [method for method in blocks[0].methods if (mine["method"] == method).any()]
        yield NamedFigure(
            f"{trained_on}-training",
            f"Training on {trained_on}",
            f"Thin lines are seeds ({_seeds(blocks)}), thick lines their mean, as far as every "
            "seed of the method trained. Losses of different methods are different quantities.",
            training_curves(mine, methods, styles),
            TRAINING,
        )


def _unit(item: Difference) -> str:
    return item.measure.unit or "its unit"


def _where(block: Block) -> str:
    if block.trained_on in ("", block.tested_on):
        return f"on {block.tested_on}" if block.tested_on else "all cases"
    return f"trained on {block.trained_on}, tested on {block.tested_on}"


def _cases(block: Block) -> str:
    count, patients = len(block.cases), len(set(block.groups))
    return f"{count} cases" if count == patients else f"{count} cases of {patients} patients"


def _seeds(blocks: Sequence[Block]) -> str:
    """Format the number of seeds, or its range."""
    counts = sorted({len(seeds) for block in blocks for seeds in block.seeds.values()})
    if len(counts) == 1:
        return format_count(counts[0], "seed")
    return f"{counts[0]} to {counts[-1]} seeds, where some are missing,"


def with_own_names(figures: Sequence[NamedFigure]) -> list[NamedFigure]:
    """Make names of letters and digits, each its own: names of test sets are free text."""
    taken: dict[str, int] = {}
    named = []
    for item in figures:
        name = re.sub(r"[^a-z0-9]+", "-", item.name.lower()).strip("-")
        taken[name] = taken.get(name, 0) + 1
        name = name if taken[name] == 1 else f"{name}-{taken[name]}"
        named.append(replace(item, name=name))
    return named
