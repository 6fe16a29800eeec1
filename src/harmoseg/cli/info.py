"""harmoseg info: what a store holds, in words and in pictures."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser
from harmoseg.store.describing import describe_store
from harmoseg.store.reading import open_store

SUMMARY = "Say what a store holds; draw a contact sheet, or its corruptions."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg info", description=SUMMARY)
    parser.add_argument("store", type=Path, help="The prepared store.")
    parser.add_argument(
        "--preview", type=Path, default=None, help="PNG file for ten random samples with masks."
    )
    parser.add_argument(
        "--corruptions",
        type=Path,
        default=None,
        help="PNG file for a random case under every corruption at five severities.",
    )
    return parser


def run(arguments: Namespace) -> None:
    """Print the description; write the pictures where asked."""
    store = open_store(arguments.store)
    print(describe_store(store))
    if arguments.preview is not None:
        from harmoseg.report.preview import write_preview

        write_preview(store, arguments.preview)
        print(f"wrote {arguments.preview}")
    if arguments.corruptions is not None:
        from harmoseg.report.corruption_sheet import write_corruption_sheet

        write_corruption_sheet(store, arguments.corruptions)
        print(f"wrote {arguments.corruptions}")
