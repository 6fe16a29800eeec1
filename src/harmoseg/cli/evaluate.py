"""harmoseg evaluate: score a run on a store."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser
from harmoseg.store.layout import Split

SUMMARY = "Score a trained run on a split of a store."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg evaluate", description=f"{SUMMARY} Writes cases.csv and summary.json."
    )
    parser.add_argument("run", type=Path, help="The run folder.")
    parser.add_argument("store", type=Path, help="The store to test on.")
    parser.add_argument(
        "--out", type=Path, default=None, help="Folder to write; RUN/evaluations/STORE if absent."
    )
    parser.add_argument("--split", type=Split, default="test", help="Which split to score.")
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="Replace the folder if it exists."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Evaluate and print the summary."""
    from harmoseg.evaluation.evaluate import evaluate, format_summary

    out = arguments.out or arguments.run / "evaluations" / arguments.store.resolve().name
    evaluation = evaluate(
        arguments.run, arguments.store, out, split=arguments.split, overwrite=arguments.overwrite
    )
    print(format_summary(evaluation))
    print(f"wrote {out}")
