"""The first screen of a report: question, answer, all gains, three cases, what to be wary of."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Sequence
from urllib.parse import quote

import numpy as np
from PIL import Image
from scipy import ndimage

from harmoseg.colours import colour_codes, distinct_colours, paint_labels
from harmoseg.metrics.measures import Measure
from harmoseg.report.figures.cases import (
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    case_differences,
    window,
)
from harmoseg.report.figures.forest import format_difference, reach
from harmoseg.report.figures.style import MINUS
from harmoseg.report.gallery import Gallery, GalleryCase, GalleryPart, Label
from harmoseg.report.page import Gain, Opening, Question, ShownCase, picture_address
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import Where
from harmoseg.statistics.comparison import Comparison, Difference
from harmoseg.statistics.printing import (
    FOR_THESE_NETWORKS,
    format_count,
    format_number,
    format_seed_range,
)

_MOST_PLACES = 6
_MOST_QUESTIONS = {1: 9, 2: 9}
_STACKED_QUESTIONS = 6
"""With more than two test sets the numbers stand below the drawings, and fewer lines fit."""
_MOST_WARY = 3
_LONGEST = 130
_SIDE = 240
_OPAQUE = 0.45


def make_opening(
    result: Comparison,
    gallery: Gallery | None,
    warnings: Sequence[str],
    made: str,
    linked: Collection[tuple[str, str]] = (),
) -> Opening:
    """Return the first screen of a comparison.

    `warnings` come in the order of their weight: the first three are shown, shortened to their
    first sentence. `made` is the line on how it was made. `linked` are the cases, by test set and
    name, that the browser of cases has.
    """
    about = f"{made}. {_extent(result)}" if made else _extent(result)
    wary = [_shortened(text) for text in warnings[:_MOST_WARY]]
    items = result.headline
    if not items:
        return Opening("", result.sentences[0], wary=wary, made=about)
    shown, more = _questions(items)
    places = list(dict.fromkeys(item.block.place for item in shown))
    limit = reach(items)
    margin = result.margins.get(result.primary.name, 0.0)
    lines: dict[tuple[str, str, str], dict[str, Gain]] = {}
    for item in shown:
        line = lines.setdefault((item.method, item.reference, item.shown_kind), {})
        line[item.block.place] = _gain(item, limit)
    questions = [
        Question(*line, [gains.get(place) for place in places]) for line, gains in lines.items()
    ]
    ends = ("worse", "better")
    cases, about_cases = _cases(result, gallery, linked)
    return Opening(
        _question(result, items),
        _answer(items),
        [place or "all cases" for place in places],
        ends if result.primary.sign > 0 else (ends[1], ends[0]),
        f"{limit:.2g}" if limit < 10 else f"{limit:.0f}",
        min(100.0, 100 * margin / limit),
        questions,
        more,
        cases,
        about_cases,
        wary,
        about,
    )


def describe_unit(measure: Measure) -> str:
    """Return a measure with its unit, as ``DSC in points``."""
    return f"{measure.title} in {measure.unit}" if measure.unit else measure.title


def case_link(place: str, case: str) -> str:
    """Return the address within the page that opens a case."""
    return f"#case={quote(place, safe='')}/{quote(case, safe='')}"


def _question(result: Comparison, items: Sequence[Difference]) -> str:
    controlled = all(item.kind != "no control" for item in items)
    against = "its control" if controlled else "what it is compared with"
    margin = result.margins.get(result.primary.name)
    unit = f" {result.primary.unit}".rstrip()
    unit = " point" if unit == " points" and margin == 1 else unit
    equal = f" A difference within {margin:g}{unit} counts as none." if margin else ""
    fixed = any(item.estimate.fixed_networks for item in items)
    over = "patients alone" if fixed else "seeds and patients"
    return (
        f"Is a method better than {against} in {describe_unit(result.primary)}, the primary "
        f"measure?{equal} Paired by case and seed; 95 % intervals over {over}."
    )


def _answer(items: Sequence[Difference]) -> str:
    words = Counter(item.word for item in items)
    fixed = any(item.estimate.fixed_networks for item in items)
    end = f", {FOR_THESE_NETWORKS}" if fixed else ""
    if len(items) == 1:
        (item,) = items
        told = {
            "better": f"{item.method} is better than {item.reference}",
            "worse": f"{item.method} is worse than {item.reference}",
            "equivalent": f"{item.method} and {item.reference} are equivalent",
            "open": f"Open: no difference between {item.method} and {item.reference} is shown",
        }[item.word]
        return f"{told}{end}."
    if words["open"] == len(items):
        return f"No difference is shown: all {len(items)} comparisons are open{end}."
    named = [
        f"{words[word]} {word}" for word in ("better", "worse", "equivalent", "open") if words[word]
    ]
    text = f"Of {len(items)} comparisons {', '.join(named)}{end}."
    if words["better"] or words["worse"]:
        text += " Where nothing differs, one interval in twenty shows a difference by chance."
    return text


def _questions(items: Sequence[Difference]) -> tuple[list[Difference], str]:
    """Choose the comparisons that fit; return them with a sentence on those that do not.

    Lines where something is shown come before lines that are open throughout.
    """
    places = list(dict.fromkeys(item.block.place for item in items))
    kept = places[:_MOST_PLACES]
    most = _MOST_QUESTIONS.get(len(kept), _STACKED_QUESTIONS)
    pairs = list(dict.fromkeys((item.method, item.reference) for item in items))
    told = {(item.method, item.reference) for item in items if item.word != "open"}
    first = sorted(pairs, key=lambda pair: pair not in told)[:most]
    shown = [x for x in items if x.block.place in kept and (x.method, x.reference) in first]
    rest = [item for item in items if item not in shown]
    if not rest:
        return shown, ""
    words = Counter(item.word for item in rest)
    told_words = ", ".join(f"{count} {word}" for word, count in words.items())
    return shown, f"{format_count(len(rest), 'further comparison')} below: {told_words}."


def _gain(item: Difference, limit: float) -> Gain:
    estimate = item.estimate
    text = format_difference(item)
    if not np.isfinite(estimate.mean):
        return Gain("open", text)

    def place(value: float) -> float:
        return round(50 + 50 * max(-1.0, min(1.0, value / limit)), 2)

    if estimate.low is None or estimate.high is None:
        return Gain(item.word, text, place(estimate.mean))
    low, high = estimate.low, estimate.high
    cut = (low < -limit, high > limit)
    return Gain(item.word, text, place(estimate.mean), place(low), place(high), cut)


def _extent(result: Comparison) -> str:
    """Return how much was compared, and what the secondary measures show."""
    sets = "; ".join(
        f"{block.place or 'test set'} {format_count(len(block.cases), 'case')}"
        for block in result.blocks[:_MOST_PLACES]
    )
    text = (
        f"{format_count(len(result.methods), 'method')}, seeds per method: "
        f"{format_seed_range(result.blocks)}; {sets}."
    )
    others = [x for x in result.find(where=Where()) if not x.primary and x.turned]
    if others:
        words = Counter(item.word for item in others)
        text += (
            f" {format_count(len({x.measure.name for x in others}), 'secondary measure')}: of "
            f"{len(others)} differences {words['better']} better, {words['worse']} worse; not "
            "declared beforehand, not corrected for their number."
        )
    return text


def _shortened(text: str) -> str:
    """Return the first sentence, cut at a word where it is long."""
    first = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text, maxsplit=1)[0]
    if len(first) <= _LONGEST:
        return first
    return first[:_LONGEST].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def _cases(
    result: Comparison, gallery: Gallery | None, linked: Collection[tuple[str, str]]
) -> tuple[list[ShownCase], str]:
    """Choose a typical case, that of the best gain and that of the worst loss, with pictures."""
    items = [item for item in result.headline if item.estimate.cases]
    references = {(x.block.place, x.reference) for x in items}
    # A method that only controls another is not what is asked about.
    asked = [x for x in items if (x.block.place, x.method) not in references] or items
    gallery = gallery or Gallery()
    parts = [gallery.part(item.block.trained_on, item.block.tested_on) for item in asked]
    for part, item in sorted(zip(parts, asked, strict=True), key=lambda pair: pair[0] is None):
        ours, theirs = item.block.paired_seeds(item.method, item.reference)
        runs = (item.reference, theirs[0]), (item.method, ours[0])
        with_labels = {
            case.name: case
            for case in (part.cases if part else ())
            if all(run in case.labels for run in runs)
        }
        gaps = item.measure.sign * case_differences(item)
        known = [
            i
            for i, name in enumerate(item.block.cases)
            if np.isfinite(gaps[i]) and (not with_labels or name in with_labels)
        ]
        if len(known) < _MOST_WARY:
            continue
        best, worst = (int(known[f(gaps[known])]) for f in (np.argmax, np.argmin))
        rest = [i for i in known if i not in (best, worst)]
        middle = float(np.median(gaps[known]))
        typical = min(rest, key=lambda i: abs(gaps[i] - middle))
        shown = [
            _case(item, i, why, with_labels.get(item.block.cases[i]), part, runs, linked)
            for why, i in (("Typical", typical), ("Best gain", best), ("Worst loss", worst))
        ]
        where = f" on {item.block.place}" if item.block.place else ""
        about = f"{item.method} against {item.reference}{where}"
        if part is not None and with_labels:
            if len(part.classes) == 1:
                about += "; green: prediction; red line: truth"
            about += f"; seed {', '.join(sorted({seed for _, seed in runs}))}"
        return shown, f"{about}. Gains are means over the paired seeds."
    return [], ""


def _case(
    item: Difference,
    i: int,
    why: str,
    case: GalleryCase | None,
    part: GalleryPart | None,
    runs: Sequence[tuple[str, str]],
    linked: Collection[tuple[str, str]],
) -> ShownCase:
    place, name = item.block.place, item.block.cases[i]
    decimals = item.measure.decimals
    gap = case_differences(item)[i]
    unit = f" {item.measure.unit}".rstrip()
    scores = [
        (method, item.block.values(method, item.measure, condition=CLEAN, seeds=[seed])[0, i])
        for method, seed in runs
    ]
    detail = f"{format_number(gap, decimals)}{unit}".replace("-", MINUS)
    link = case_link(place, name) if (place, name) in linked else ""
    if case is None or part is None:
        told = ", ".join(f"{method} {score:.{decimals}f}" for method, score in scores)
        first = "; first seed" if len(item.block.seeds[item.method]) > 1 else ""
        return ShownCase(why, name, f"{detail} ({told}{first})", link=link)
    found = [case.labels[run] for run in runs]
    is_single = len(part.classes) == 1
    colours = part.colours or distinct_colours(len(part.classes))
    cut = slice(None), slice(None)
    if not is_single:  # organs are small beside a plane
        rows, columns = window(case.truth, *found)
        cut = slice(round(rows[0]), round(rows[1])), slice(round(columns[0]), round(columns[1]))
    paint = functools.partial(_paint, case, cut, outlined=is_single)
    pictures = [
        ("Image", case.note, paint(None, ())),
        ("Truth", "", paint(case.truth, [TRUTH_COLOUR] if is_single else colours)),
        *(
            (
                method,
                f"{score:.{decimals}f}",
                paint(label, [PREDICTION_COLOUR] if is_single else colours),
            )
            for (method, score), label in zip(scores, found, strict=True)
        ),
    ]
    return ShownCase(why, name, detail, pictures, link)


def _paint(
    case: GalleryCase,
    cut: tuple[slice, slice],
    label: Label | None,
    colours: Sequence[str],
    *,
    outlined: bool,
) -> str:
    """Paint a case in the proportions of its source, as the address of a JPEG picture.

    A label map lies over it in the colours of its classes; the truth may be `outlined` too.
    """
    height, width = case.truth[cut].shape
    shape = height / width * case.aspect * case.truth.shape[1] / case.truth.shape[0]
    longest = max(1.0, shape)
    size = round(_SIDE / longest), round(_SIDE * shape / longest)

    def enlarged(mask: Label) -> Label:
        found = Image.fromarray(np.ascontiguousarray(mask[cut]))
        return np.asarray(found.resize(size, Image.Resampling.NEAREST))

    image = case.image[cut]
    plain = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    smooth = plain.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    pixels = np.array(smooth, np.float32)
    if label is not None:
        shown = enlarged(label)
        marked = shown > 0
        paint = paint_labels(shown, colours)[marked].astype(np.float32)
        pixels[marked] = (1 - _OPAQUE) * pixels[marked] + _OPAQUE * paint
        if outlined:
            mask = enlarged(case.truth) > 0
            line = mask & ~ndimage.binary_erosion(mask, iterations=2)
            pixels[line] = colour_codes([TRUTH_COLOUR])[0]
    return picture_address(pixels.astype(np.uint8), "jpeg", quality=82)
