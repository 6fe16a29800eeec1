"""harmoseg study status: how far a study is."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.study.status import study_status, tell_status

SUMMARY = SUMMARIES["study_status"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg study status", description=SUMMARY)
    parser.add_argument("study", type=Path, help="The study folder.")
    return parser


def run(arguments: Namespace) -> None:
    """Print the status."""
    print(tell_status(study_status(arguments.study)))
