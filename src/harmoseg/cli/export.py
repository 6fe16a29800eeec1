"""harmoseg export: a trained model in the form that another framework runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser

SUMMARY = "Write a trained model in the form that another framework runs."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg export", description=SUMMARY)
    parser.add_argument("model", type=Path, help="A finished run, or a model folder.")
    parser.add_argument("out", type=Path, help="What to write.")
    parser.add_argument(
        "--format", type=Literal["monai"], required=True, help="monai: a bundle, a folder."
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="Replace the output if it exists."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Export and say what was written."""
    from harmoseg.integrations.monai_bundle import export_bundle

    out = export_bundle(arguments.model, arguments.out, overwrite=arguments.overwrite)
    print(f"wrote {out}: how to run it is in {out / 'docs' / 'README.md'}")
