"""Cards as HTML, with figures: one page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from harmoseg.diagnostics.check_sentences import FINER, short_name
from harmoseg.diagnostics.gradients import NAMES
from harmoseg.diagnostics.loss_card import LossCard, octave_names

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b4fa3", "#6b6b00")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 0.6rem 0 1.6rem }
td, th { padding: 0.15rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
.pass { color: #00704a } .fail { color: #b03000; font-weight: 600 } .none { color: #888 }
svg { max-width: 100%; height: auto }
"""


def cards_to_html(cards: Sequence[LossCard]) -> str:
    """Return a page with cards side by side: sentences, a figure of spectra, tables."""
    names = [short_name(card) for card in cards]
    words = "".join(map(_words, cards))
    body = (
        f"<h1>What {'this loss does' if len(cards) == 1 else 'these losses do'}</h1>"
        f"<p>For a {escape(cards[0].mode)} problem; asked on {escape(cards[0].masks)}. Nothing was "
        f"trained.</p>{words}<h2>Which details the gradient sees</h2>{spectrum_figure(cards)}"
        f"{_spectrum_table(cards, names)}"
        f"<h2>Is it another loss in disguise?</h2>{_likeness_table(cards, names)}"
        f"<h2>Is it safe to train with?</h2>{_contract_table(cards, names)}"
        f"<h2>Loss of graded predictions</h2>{_values_table(cards, names)}"
        f"<h2>Where it pulls, and what it costs</h2>{_pull_table(cards, names)}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Losses</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def card_to_html(card: LossCard) -> str:
    """Return one card as a fragment for a notebook."""
    return _words(card) + spectrum_figure([card])


def _words(card: LossCard) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in card.sentences)
    return f"<h3>{escape(card.name)}</h3><ul>{items}</ul>"


def spectrum_figure(cards: Sequence[LossCard]) -> str:
    """Draw the share of gradient power per octave as SVG; dashed: BCE, Dice, rings, the masks."""
    shown: dict[str, Sequence[float]] = {
        short_name(card): card.spectrum.shares for card in cards if card.spectrum is not None
    }
    beside = next((card.spectrum.beside for card in cards if card.spectrum is not None), {})
    others = {name: shares for name, shares in beside.items() if name not in shown}
    if not shown:
        return "<p>There is no gradient to show.</p>"
    left, top, width, height = 52, 14, 520, 230
    highest = max(max(shares) for shares in (*shown.values(), *others.values()))
    octaves = octave_names()

    def place(i: int, share: float) -> str:
        x = left + width * (i + 0.5) / len(octaves)
        return f"{x:.1f},{top + height * (1 - share / highest):.1f}"

    parts = [
        f'<line x1="{left}" y1="{top + height}" x2="{left + width}" y2="{top + height}" '
        'stroke="#888"/>'
    ]
    for i, octave in enumerate(octaves):
        parts.append(
            _text(float(place(i, 0).partition(",")[0]), top + height + 18, octave, "middle")
        )
    for share in (0.0, highest / 2, highest):
        y = float(place(0, share).partition(",")[2])
        parts.append(_text(left - 6, y + 4, f"{100 * share:.0f} %", "end"))
    parts.append(_text(left + width / 2, top + height + 38, "size of detail", "middle"))
    lines: list[tuple[str, Sequence[float], str, str]] = []
    for i, (name, shares) in enumerate(shown.items()):
        lines.append((name, shares, _COLOURS[i % len(_COLOURS)], ""))
    greys = zip(others.items(), ("#999", "#bbb", "#777", "#444"), strict=False)
    lines += [(name, shares, grey, "5 3") for (name, shares), grey in greys]
    for row, (name, shares, colour, dash) in enumerate(lines):
        points = " ".join(place(i, share) for i, share in enumerate(shares))
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        y = top + 8 + 17 * row
        key = left + width + 14
        parts.append(f'<polyline points="{points}" {stroke}/>')
        parts.append(f'<polyline points="{key},{y} {key + 22},{y}" {stroke}/>')
        parts.append(_text(key + 28, y + 4, name, "start"))
    total = max(top + height + 46, top + 17 * len(lines) + 8)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 190} {total}" '
        f'width="{left + width + 190}" font-family="sans-serif" font-size="12">'
        f"<title>Share of gradient power by size of detail</title>{''.join(parts)}</svg>"
    )


def _spectrum_table(cards: Sequence[LossCard], names: Sequence[str]) -> str:
    spans = {name: slice(i, i + 1) for i, name in enumerate(octave_names())}
    spans |= {f"together below {size} px": slice(i, None) for i, size in FINER.items()}
    rows = {
        name: [
            "-" if card.spectrum is None else f"{100 * sum(card.spectrum.shares[span]):.0f} %"
            for card in cards
        ]
        for name, span in spans.items()
    }
    return _table(names, rows)


def _likeness_table(cards: Sequence[LossCard], names: Sequence[str]) -> str:
    rows = {"explained by BCE + Dice + squared Dice": [_explained(card) for card in cards]}
    for key, name in NAMES.items():
        rows[f"cosine to {name}"] = [
            "-" if card.likeness is None else f"{card.likeness.cosines[key]:.2f}" for card in cards
        ]
    return _table(names, rows)


def _contract_table(cards: Sequence[LossCard], names: Sequence[str]) -> str:
    rows = {}
    for name in dict.fromkeys(check.name for card in cards for check in card.checks):
        rows[name] = [_status(card, name) for card in cards]
    return _table(names, rows, raw=True)


def _status(card: LossCard, name: str) -> str:
    for check in card.checks:
        if check.name == name and check.status != "not applicable":
            attributes = f'class="{check.status}" title="{escape(check.meaning)}"'
            return f"<span {attributes}>{check.status}</span>"
    return '<span class="none">-</span>'


def _values_table(cards: Sequence[LossCard], names: Sequence[str]) -> str:
    states = dict.fromkeys(state for card in cards for state in card.values)
    return _table(
        names,
        {
            state: [f"{card.values[state]:.3g}" if state in card.values else "-" for card in cards]
            for state in states
        },
    )


def _pull_table(cards: Sequence[LossCard], names: Sequence[str]) -> str:
    bins = next((card.pull.by_distance for card in cards if card.pull is not None), {})
    rows = {
        f"gradient {name}": [
            "-" if card.pull is None else f"{100 * card.pull.by_distance[name]:.0f} %"
            for card in cards
        ]
        for name in bins
    }
    rows["a pixel of a small object, against a large one"] = [
        "-" if card.pull is None else f"{card.pull.small_object:.2g} x".replace("nan x", "-")
        for card in cards
    ]
    for name, key in (("time of a step, against BCE", "time"), ("memory, against BCE", "memory")):
        rows[name] = [
            "-" if card.cost is None else f"{getattr(card.cost, key):.1f} x" for card in cards
        ]
    return _table(names, rows)


def _explained(card: LossCard) -> str:
    return "-" if card.likeness is None else f"{100 * card.likeness.explained:.0f} %"


def _table(names: Sequence[str], rows: Mapping[str, Sequence[str]], *, raw: bool = False) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *names))
    lines = "".join(
        f"<tr><td>{escape(title)}</td>"
        + "".join(f"<td>{cell if raw else escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for title, cells in rows.items()
    )
    return f"<table><tr>{head}</tr>{lines}</table>"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
