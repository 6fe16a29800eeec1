"""Cards in words, and side by side as a page for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence

from harmoseg.diagnostics.contract import ORDER
from harmoseg.diagnostics.gradients import BASIS, NAMES
from harmoseg.diagnostics.loss_card import LossCard, octave_names

FINER = {3: 16, 4: 8}
"""Octaves from which on power is summed, and the size of detail there in pixels."""
_DISGUISE = 0.97
"""Share of the gradient from which a loss is called another in disguise."""
_ALONE = 0.999
_EQUAL = 0.05
_WIDTH = 116
_FIRST = 38
_LEAST = 8


def describe(card: LossCard) -> list[str]:
    """Return a verdict, what failed checks mean, and what the gradient is made of."""
    return [*_verdict(card), *_likeness(card), *_spectrum(card), *_pull(card)]


def cards_to_text(cards: Sequence[LossCard]) -> str:
    """Return cards side by side as one page of plain text."""
    first = cards[0]
    lines = [f"What these losses do, for a {first.mode} problem; asked on {first.masks}.", ""]
    for group in _groups(cards):
        lines += _tables(group)
    lines.append("In words")
    for card in cards:
        lines.append(f"  {card.name}")
        for sentence in card.sentences:
            lines += textwrap.wrap(
                sentence, _WIDTH, initial_indent="    - ", subsequent_indent="      "
            )
    return "\n".join(lines)


def _groups(cards: Sequence[LossCard]) -> list[list[LossCard]]:
    """Split cards into groups that fit the width of a page."""
    groups: list[list[LossCard]] = [[]]
    beside = {name for card in cards if card.spectrum for name in card.spectrum.beside}
    whole = _WIDTH - _FIRST - (2 + _LEAST) * len(beside - {card.name for card in cards})
    room = whole
    for card in cards:
        needed = 2 + max(_LEAST, len(short_name(card)))
        if groups[-1] and needed > room:
            groups.append([])
            room = whole
        groups[-1].append(card)
        room -= needed
    return groups


def _tables(cards: Sequence[LossCard]) -> list[str]:
    names = [short_name(card) for card in cards]
    lines = _header("Is it safe to train with?", names)
    checks = list(dict.fromkeys(check.name for card in cards for check in card.checks))
    for name in checks:
        lines.append(_row(name, [_status(card, name) for card in cards], names))
    lines += ["", *_header("Loss of a prediction (lower is better)", names)]
    for name in (
        "truth, logit 4",
        "blurred, logit 4",
        "shifted, logit 4",
        "noise",
        "inverse, logit 4",
    ):
        lines.append(_row(name, [_number(card.values.get(name)) for card in cards], names))
    lines += ["", *_spectrum_rows(cards, names)]
    lines += ["", *_header("Another loss in disguise?", names)]
    lines.append(
        _row(
            "explained by BCE, Dice, squared Dice",
            _each(cards, lambda c: _percent(c.likeness.explained)),
            names,
        )
    )
    for key, name in NAMES.items():
        cosines = _each(cards, lambda c, key=key: f"{c.likeness.cosines[key]:.2f}")
        lines.append(_row(f"cosine to {name}", cosines, names))
    lines += ["", *_header("Where does it pull?", names)]
    for name in ("outside, 0 to 2 px", "inside, 0 to 2 px"):
        near = _each(cards, lambda c, name=name: _percent(c.pull.by_distance[name]))
        lines.append(_row(f"{name} of outline", near, names))
    small = _each(cards, lambda c: f"{c.pull.small_object:.2g} x".replace("nan x", "-"))
    lines.append(_row("small against large object, per pixel", small, names))
    lines += ["", *_header("Cost, relative to BCE", names)]
    lines.append(_row("time of a step", _each(cards, lambda c: f"{c.cost.time:.1f} x"), names))
    lines.append(_row("memory", _each(cards, lambda c: f"{c.cost.memory:.1f} x"), names))
    return [*lines, ""]


def _spectrum_rows(cards: Sequence[LossCard], names: Sequence[str]) -> list[str]:
    """Return rows of the gradient's shares by size of detail, beside those of other losses."""
    known = next((card.spectrum for card in cards if card.spectrum is not None), None)
    beside = {k: v for k, v in (known.beside if known else {}).items() if k not in names}
    columns = [*names, *beside]
    lines = _header("Gradient by size of detail", columns)
    for i, octave in enumerate(octave_names()):
        cells = _each(cards, lambda c, i=i: _percent(c.spectrum.shares[i]))
        lines.append(_row(octave, [*cells, *(_percent(v[i]) for v in beside.values())], columns))
    for i, size in FINER.items():
        cells = _each(cards, lambda c, i=i: _percent(sum(c.spectrum.shares[i:])))
        others = [_percent(sum(shares[i:])) for shares in beside.values()]
        lines.append(_row(f"together below {size} px", [*cells, *others], columns))
    return lines


def _verdict(card: LossCard) -> list[str]:
    failed = [check for check in card.checks if check.status == "fail"]
    if card.refusals:
        first = card.refusals[0]
        spelled = f" It passes as {card.spellings[0]}." if card.spellings else ""
        verdict = f"Do not train with it as it is: {_lower(first.meaning)}{spelled}"
        failed.remove(first)
    elif not failed:
        return ["Safe to train with: it passes every check."]
    elif any(check.name in ORDER for check in failed):
        verdict = "Use it beside another loss, not alone."
    else:
        verdict = "Safe to train with. Good to know:"
    return [verdict, *(f"{check.name}: {_lower(check.meaning)}" for check in failed)]


def _likeness(card: LossCard) -> list[str]:
    if card.likeness is None:
        return []
    likeness = card.likeness
    share = _percent(likeness.explained)
    best = max(BASIS, key=lambda name: likeness.cosines[name])
    if likeness.cosines[best] > _ALONE:
        return [f"{share} of its gradient is {NAMES[best]}."]
    parts = " + ".join(
        f"{value:.2f} {NAMES[name]}"
        for name, value in likeness.coefficients.items()
        if abs(value) > 0.005
    ).replace("+ -", "- ")
    lowest, highest = min(likeness.by_state.values()), max(likeness.by_state.values())
    if likeness.explained >= _DISGUISE:
        return [f"{share} of its gradient is {parts}: a mixture of these."]
    return [
        f"BCE, Dice and squared Dice explain {share} of its gradient ({_percent(lowest)} to "
        f"{_percent(highest)} of one prediction's); the rest is its own."
    ]


def _spectrum(card: LossCard) -> list[str]:
    if card.spectrum is None:
        return []
    shares, masks = card.spectrum.shares, card.spectrum.beside["masks"]
    return [
        f"{_percent(shares[-1])} of its gradient sees details below 4 px, where these masks have "
        f"{_percent(masks[-1])} of their power; {_percent(sum(shares[2:5]))} sees 4 to 32 px."
    ]


def _pull(card: LossCard) -> list[str]:
    if card.pull is None or math.isnan(card.pull.small_object):
        return []
    ratio = card.pull.small_object
    much = "as much" if abs(ratio - 1) < _EQUAL else f"{ratio:.2g} times as much"
    return [f"A pixel of a missed small object counts {much} as one of a large object beside it."]


def short_name(card: LossCard) -> str:
    """Return the name of a card's loss without the packages of its path."""
    head, paren, options = card.name.partition("(")
    return head.rpartition(".")[2] + paren + options


def _each(cards: Sequence[LossCard], show: Callable[..., str]) -> list[str]:
    """Return a cell for every card, a dash where nothing was measured."""
    return ["-" if card.likeness is None else show(card) for card in cards]


def _status(card: LossCard, name: str) -> str:
    found = next((check for check in card.checks if check.name == name), None)
    if found is None or found.status == "not applicable":
        return "-"
    return "ok" if found.status == "pass" else ("REFUSED" if found.refuses else "fails")


def _header(title: str, names: Sequence[str]) -> list[str]:
    line = _row(title, names, names)
    return [line, "-" * len(line)]


def _row(title: str, cells: Sequence[str], names: Sequence[str]) -> str:
    return f"{title:<{_FIRST}}" + "".join(
        f"  {cell:>{max(_LEAST, len(name))}}" for cell, name in zip(cells, names, strict=True)
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
