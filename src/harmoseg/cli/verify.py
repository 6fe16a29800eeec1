"""harmoseg verify: is a dataset, or a prepared store, what it should be?"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.datasets.sources import SourceOptions
from harmoseg.datasets.verifying import as_json, tell, verify
from harmoseg.files import make_folder, write_json

SUMMARY = SUMMARIES["verify"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg verify",
        description=f"{SUMMARY} Exit status: 0 without errors, 1 with errors, 2 for a mistake in "
        "the command.",
    )
    parser.add_argument(
        "store_or_source", type=Path, help="A prepared store, or the folder of a dataset's files."
    )
    parser.add_argument(
        "--dataset",
        type=str,
        default=None,
        help="Whose files they are, such as kvasir-seg; found out when not given.",
    )
    parser.add_argument(
        "--split",
        type=str,
        default=None,
        help="Which of the dataset's splits to verify; its usual one when not given.",
    )
    parser.add_argument(
        "--fold",
        type=int,
        default=None,
        help="The fold that is tested, for datasets whose split is in folds, from 1.",
    )
    parser.add_argument("--json", type=Path, default=None, help="Write all findings to this file.")
    parser.add_argument(
        "--page",
        type=Path,
        default=None,
        help="Write an HTML page with pictures of what was found and of every split.",
    )
    return parser


def run(arguments: Namespace) -> int:
    """Verify, print what was found, write what was asked for; return the exit status."""
    if arguments.page is not None:
        # Imported here: without a page neither Jinja2 nor the report's room is needed.
        from harmoseg.explain.verification import check_page, write_verification

        check_page(arguments.page)
    options = SourceOptions(split=arguments.split, fold=arguments.fold)
    verification = verify(arguments.store_or_source, arguments.dataset, options)
    print(tell(verification))
    if arguments.json is not None:
        make_folder(arguments.json.resolve().parent)
        write_json(arguments.json, as_json(verification))
        print(f"wrote {arguments.json}")
    if arguments.page is not None:
        write_verification(verification, arguments.page)
        print(f"wrote {arguments.page}")
    return verification.status
