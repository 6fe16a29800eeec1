"""Ask every named loss on masks of prepared stores; write cards, a table and the docs' figure.

    python tools/what_losses_see.py STORE [STORE ...] --out results/xray

Four masks of every store, their middle 128 pixels. Figure and cards are of the first store.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harmoseg.diagnostics.card_printing import spectrum_figure
from harmoseg.diagnostics.gradients import octave_names
from harmoseg.diagnostics.loss_card import LossCard, examine
from harmoseg.diagnostics.probe import Question, phantom_masks, store_masks
from harmoseg.files import make_folder, write_csv, write_text
from harmoseg.losses.method import LOSSES

_SIZE, _COUNT = 128, 4
_SHOWN = ("bce", "dice", "scc", "rings", "midrings", "lovasz", "cldice", "focal-frequency")
_FIGURE = Path(__file__).parents[1] / "docs" / "images" / "gradient-spectra.svg"


def question_of(store: Path | None) -> Question:
    """Return what losses are asked on a store, or on the phantom."""
    if store is None:
        return Question("binary", 1, phantom_masks(2, 128, 128, count=_COUNT), "phantom")
    masks = (store_masks(store, _COUNT)[0] > 0).long()
    top, left = ((length - min(length, _SIZE)) // 2 for length in masks.shape[1:])
    masks = masks[:, top : top + _SIZE, left : left + _SIZE]
    return Question("binary", 1, masks[masks.flatten(1).any(1)], store.name)


def row_of(card: LossCard, source: str) -> dict[str, str]:
    """Return the row of a card."""
    failed = [check.name for check in card.checks if check.status == "fail"]
    row = {"masks": source, "loss": card.name}
    if card.spectrum and card.likeness and card.pull and card.cost:
        row |= {
            name: f"{share:.3f}"
            for name, share in zip(octave_names(), card.spectrum.shares, strict=True)
        }
        row["explained"] = f"{card.likeness.explained:.3f}"
        row |= {f"cosine_{n}": f"{value:.3f}" for n, value in card.likeness.cosines.items()}
        row["small_object"] = f"{card.pull.small_object:.2f}"
        row |= {"time": f"{card.cost.time:.1f}", "memory": f"{card.cost.memory:.1f}"}
    return {**row, "failed": "; ".join(failed)}


def main() -> None:
    """Ask, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows: list[dict[str, str]] = []
    for store in [*arguments.stores, None]:
        question = question_of(store)
        cards = []
        for name in LOSSES:
            cards.append(examine(name, question))
            rows.append(row_of(cards[-1], question.source))
            print(*rows[-1].values(), sep="  ", flush=True)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        filled = [{column: row.get(column, "") for column in columns} for row in rows]
        write_csv(arguments.out / "shelf.csv", columns, filled)
        if store == arguments.stores[0]:
            make_folder(arguments.out / "cards")
            for card in cards:
                write_text(arguments.out / "cards" / f"{card.name}.json", card.to_json() + "\n")
            figure = spectrum_figure([card for card in cards if card.name in _SHOWN])
            write_text(_FIGURE, figure + "\n")


if __name__ == "__main__":
    main()
