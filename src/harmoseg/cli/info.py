"""harmoseg info: what a store holds, in words and in pictures."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser
from harmoseg.store.reading import describe_store, open_store

SUMMARY = "Say what a store holds; draw a contact sheet."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg info", description=SUMMARY)
    parser.add_argument("store", type=Path, help="The prepared store.")
    parser.add_argument(
        "--preview", type=Path, default=None, help="PNG file for ten random samples with masks."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Print the description; write the preview where asked."""
    store = open_store(arguments.store)
    print(describe_store(store))
    if arguments.preview is not None:
        from harmoseg.report.preview import write_preview

        write_preview(store, arguments.preview)
        print(f"wrote {arguments.preview}")
