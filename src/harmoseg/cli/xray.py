"""harmoseg xray: examine losses in seconds, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser

SUMMARY = SUMMARIES["xray"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg xray",
        description=f"{SUMMARY} Whether a loss is safe to train with, which details its gradient "
        "sees, how much of it is Dice or cross-entropy in disguise, where it pulls, what it costs.",
    )
    parser.add_argument(
        "losses",
        type=str,
        nargs="+",
        help="Names of losses such as scc, rings or 'tversky(alpha=0.3,beta=0.7)', or import paths "
        "such as monai.losses.TverskyLoss.",
    )
    parser.add_argument(
        "--mode",
        type=Literal["binary", "multiclass", "multilabel"],
        default="binary",
        help="The problem that the losses are asked on.",
    )
    parser.add_argument(
        "--store", type=Path, default=None, help="Ask on masks of this store, not on the phantom's."
    )
    parser.add_argument(
        "--html", type=Path, default=None, help="Write a page with figures to this file."
    )
    parser.add_argument("--json", type=Path, default=None, help="Write all numbers to this file.")
    return parser


def run(arguments: Namespace) -> None:
    """Print the cards side by side; write them where asked."""
    # Here and not above: torch takes seconds to import, and --help should not wait for it.
    from harmoseg.diagnostics.card_printing import cards_to_html, cards_to_text
    from harmoseg.diagnostics.loss_card import examine
    from harmoseg.diagnostics.probe import make_question
    from harmoseg.files import write_text
    from harmoseg.losses.method import parse_loss

    losses = [parse_loss(text) for text in arguments.losses]
    question = make_question(arguments.mode, arguments.store)
    cards = [examine(loss, question) for loss in losses]
    print(cards_to_text(cards))
    if arguments.html is not None:
        write_text(arguments.html, cards_to_html(cards))
        print(f"wrote {arguments.html}")
    if arguments.json is not None:
        found = [json.loads(card.to_json()) for card in cards]
        write_text(arguments.json, json.dumps(found, indent=2) + "\n")
        print(f"wrote {arguments.json}")
