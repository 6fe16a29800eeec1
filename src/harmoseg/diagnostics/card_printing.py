"""Loss cards in words, and side by side: as text for the terminal and as an HTML page."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harmoseg.diagnostics.contract import ORDER, Check
from harmoseg.diagnostics.gradients import BASIS, NAMES, octave_names
from harmoseg.diagnostics.loss_card import LossCard
from harmoseg.templates import open_template

_FINER = {3: 16, 4: 8}
"""Octaves from which on power is summed, and the size of detail there in pixels."""
_DISGUISE = 0.97
"""Share of the gradient from which a loss is called another in disguise."""
_ALONE = 0.999
_EQUAL = 0.05
_WIDTH = 116
_FIRST = 38
_LEAST = 8
_VALUES = ("truth, logit 4", "blurred, logit 4", "shifted, logit 4", "noise", "inverse, logit 4")
_NEAR = ("outside, 0 to 2 px", "inside, 0 to 2 px")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b4fa3", "#6b6b00")
_GREYS = ("#999", "#bbb", "#777", "#444")

Rows = Mapping[str, Sequence[str]]
"""A cell for every card, by the name of the row."""


def short_name(card: LossCard) -> str:
    """Return the name of a card's loss without the packages of its path."""
    head, paren, options = card.name.partition("(")
    return head.replace(":", ".").rpartition(".")[2] + paren + options


# In words


def describe(card: LossCard) -> list[str]:
    """Return a verdict, what failed checks mean, and what the gradient is made of."""
    return [*_verdict(card), *_likeness(card), *_spectrum(card), *_pull(card)]


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
    if likeness.explained >= _DISGUISE:
        parts = " + ".join(
            f"{value:.2f} {NAMES[name]}"
            for name, value in likeness.coefficients.items()
            if abs(value) > 0.005
        ).replace("+ -", "- ")
        return [f"{share} of its gradient is {parts}: a mixture of these."]
    lowest, highest = min(likeness.by_state.values()), max(likeness.by_state.values())
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


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# The rows of tables, alike as text and in HTML


def _each(cards: Sequence[LossCard], show: Callable[..., str]) -> list[str]:
    """Return a cell for every card, a dash where nothing was measured."""
    return ["-" if card.likeness is None else show(card) for card in cards]


def _names(cards: Sequence[LossCard]) -> list[str]:
    return [short_name(card) for card in cards]


def _checks(cards: Sequence[LossCard]) -> dict[str, list[Check | None]]:
    """Return every check of every card, by its name; None where it does not apply."""
    names = dict.fromkeys(check.name for card in cards for check in card.checks)
    found = [{x.name: x for x in card.checks if x.status != "not applicable"} for card in cards]
    return {name: [checks.get(name) for checks in found] for name in names}


def _value_rows(cards: Sequence[LossCard], states: Sequence[str], number: str) -> Rows:
    return {
        state: [f"{card.values[state]:{number}}" if state in card.values else "-" for card in cards]
        for state in states
    }


def _beside(cards: Sequence[LossCard]) -> dict[str, Sequence[float]]:
    """Return the spectra of other losses, and of the masks, that no card shows."""
    known = next((card.spectrum.beside for card in cards if card.spectrum is not None), {})
    return {name: shares for name, shares in known.items() if name not in _names(cards)}


def _spectrum_rows(cards: Sequence[LossCard]) -> Rows:
    """Return the gradient's shares by size of detail, then those of what stands beside."""
    spans = {name: slice(i, i + 1) for i, name in enumerate(octave_names())}
    spans |= {f"together below {size} px": slice(i, None) for i, size in _FINER.items()}
    return {
        name: [
            *_each(cards, lambda card, span=span: _percent(sum(card.spectrum.shares[span]))),
            *(_percent(sum(shares[span])) for shares in _beside(cards).values()),
        ]
        for name, span in spans.items()
    }


def _likeness_rows(cards: Sequence[LossCard]) -> Rows:
    explained = _each(cards, lambda card: _percent(card.likeness.explained))
    rows = {"explained by BCE, Dice, squared Dice": explained}
    for key, name in NAMES.items():
        cosines = _each(cards, lambda card, key=key: f"{card.likeness.cosines[key]:.2f}")
        rows[f"cosine to {name}"] = cosines
    return rows


def _pull_rows(cards: Sequence[LossCard], bins: Sequence[str]) -> Rows:
    rows = {
        f"{name} of outline": _each(
            cards, lambda card, name=name: _percent(card.pull.by_distance[name])
        )
        for name in bins
    }
    rows["small against large object, per pixel"] = _each(
        cards, lambda card: f"{card.pull.small_object:.2g} x".replace("nan x", "-")
    )
    return rows


def _cost_rows(cards: Sequence[LossCard]) -> Rows:
    return {
        "time of a step": _each(cards, lambda card: f"{card.cost.time:.1f} x"),
        "memory": _each(cards, lambda card: f"{card.cost.memory:.1f} x"),
    }


# As text


def cards_to_text(cards: Sequence[LossCard]) -> str:
    """Return cards side by side as one page of plain text."""
    first = cards[0]
    lines = [f"What these losses do, for a {first.mode} problem; asked on {first.masks}.", ""]
    for group in _groups(cards):
        checks = {name: list(map(_status, found)) for name, found in _checks(group).items()}
        for title, rows in (
            ("Is it safe to train with?", checks),
            ("Loss of a prediction (lower is better)", _value_rows(group, _VALUES, ".2f")),
            ("Gradient by size of detail", _spectrum_rows(group)),
            ("Another loss in disguise?", _likeness_rows(group)),
            ("Where does it pull?", _pull_rows(group, _NEAR)),
            ("Cost, relative to BCE", _cost_rows(group)),
        ):
            columns = [*_names(group), *_beside(group)][: len(next(iter(rows.values())))]
            head = _line(title, columns, columns)
            lines += [head, "-" * len(head)]
            lines += [_line(name, cells, columns) for name, cells in rows.items()]
            lines.append("")
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


def _status(check: Check | None) -> str:
    if check is None:
        return "-"
    return "ok" if check.status == "pass" else ("REFUSED" if check.refuses else "fails")


def _line(title: str, cells: Sequence[str], columns: Sequence[str]) -> str:
    return f"{title:<{_FIRST}}" + "".join(
        f"  {cell:>{max(_LEAST, len(name))}}" for cell, name in zip(cells, columns, strict=True)
    )


# As HTML


def cards_to_html(cards: Sequence[LossCard]) -> str:
    """Return a page with cards side by side: sentences, a figure of spectra, tables."""
    bins = next((list(card.pull.by_distance) for card in cards if card.pull is not None), [])
    states = list(dict.fromkeys(state for card in cards for state in card.values))
    tables = {
        "": _spectrum_rows(cards),
        "Is it another loss in disguise?": _likeness_rows(cards),
        "Is it safe to train with?": _checks(cards),
        "Loss of graded predictions": _value_rows(cards, states, ".3g"),
        "Where it pulls, and what it costs relative to BCE": {
            **_pull_rows(cards, bins),
            **_cost_rows(cards),
        },
    }
    template = open_template("harmoseg.diagnostics", "cards.html.j2")
    return template.render(cards=cards, names=_names(cards), tables=tables, **_drawing(cards))


def card_to_html(card: LossCard) -> str:
    """Return one card as a fragment for a notebook."""
    template = open_template("harmoseg.diagnostics", "cards.html.j2")
    return template.render(cards=[card], tables={}, **_drawing([card]))


def spectrum_figure(cards: Sequence[LossCard]) -> str:
    """Draw the share of gradient power per octave as SVG; dashed: BCE, Dice, rings, the masks."""
    return open_template("harmoseg.diagnostics", "spectrum.svg.j2").render(_drawing(cards))


def _drawing(cards: Sequence[LossCard]) -> dict[str, Any]:
    """Return what the template of the figure draws; no lines where there is no gradient."""
    shown = {short_name(card): card.spectrum.shares for card in cards if card.spectrum is not None}
    others = _beside(cards)
    highest = max((max(shares) for shares in (*shown.values(), *others.values())), default=1.0)
    left, top, width, height = 52, 14, 520, 230
    octaves = octave_names()
    places = [left + width * (i + 0.5) / len(octaves) for i in range(len(octaves))]

    def level(share: float) -> float:
        return top + height * (1 - share / highest)

    def points(shares: Sequence[float]) -> str:
        return " ".join(f"{x:.1f},{level(y):.1f}" for x, y in zip(places, shares, strict=True))

    solid = zip(shown.items(), itertools.cycle(_COLOURS), strict=False)
    dashed = zip(others.items(), _GREYS, strict=False)
    lines = [(name, points(shares), colour, "") for (name, shares), colour in solid]
    lines += [(name, points(shares), grey, "5 3") for (name, shares), grey in dashed]
    return {
        "left": left,
        "right": left + width,
        "bottom": top + height,
        "size": (left + width + 190, max(top + height + 46, top + 17 * len(lines) + 8)),
        "octaves": list(zip(places, octaves, strict=True)),
        "levels": [(level(share), _percent(share)) for share in (0.0, highest / 2, highest)],
        "lines": [(top + 8 + 17 * row, *line) for row, line in enumerate(lines)],
    }
