"""harmoseg export: a trained network in a format that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser

SUMMARY = "Write a trained network in a format that others read."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg export", description=SUMMARY)
    parser.add_argument("model", type=Path, help="The model folder or finished run.")
    parser.add_argument("out", type=Path, help="The file to write; OUT.json beside it explains it.")
    parser.add_argument(
        "--format",
        type=Literal["onnx", "torch"],
        default="onnx",
        help="onnx (NAME.onnx), or torch, a program of torch.export (NAME.pt2).",
    )
    parser.add_argument(
        "--batch", type=int, default=0, help="Fix the number of images; 0 leaves it free."
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="Replace a file that is there already."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Export."""
    # Here and not above: torch takes seconds to import, and --help should not wait for it.
    from harmoseg.models.exporting import export_onnx, export_torch
    from harmoseg.models.saved import load_model

    export = {"onnx": export_onnx, "torch": export_torch}[arguments.format]
    export(
        load_model(arguments.model),
        arguments.out,
        batch=arguments.batch,
        overwrite=arguments.overwrite,
    )
    print(f"wrote {arguments.out} and {arguments.out}.json")
