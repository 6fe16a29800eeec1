"""harmoseg export: a trained model in a form that others read or run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser

SUMMARY = SUMMARIES["export"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg export", description=SUMMARY)
    parser.add_argument("model", type=Path, help="The model folder or finished run.")
    parser.add_argument(
        "out", type=Path, help="The file to write, explained by OUT.json; for monai, the folder."
    )
    parser.add_argument(
        "--format",
        type=Literal["onnx", "torch", "monai"],
        default="onnx",
        help="The network alone as onnx (NAME.onnx) or torch, a program of torch.export "
        "(NAME.pt2); or monai, a bundle with preprocessing.",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=0,
        help="Fix the number of images of a network alone; 0 leaves it free.",
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="Replace what is there already."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Export, and say what was written."""
    # Here and not above: torch takes seconds to import, and --help should not wait for it.
    if arguments.format == "monai":
        from harmoseg.integrations.monai_bundle import export_bundle

        out = export_bundle(arguments.model, arguments.out, overwrite=arguments.overwrite)
        print(f"wrote {out}: how to run it is in {out / 'docs' / 'README.md'}")
        return
    from harmoseg.inference.exporting import export_onnx, export_torch
    from harmoseg.inference.saved_model import load_model

    export = {"onnx": export_onnx, "torch": export_torch}[arguments.format]
    export(
        load_model(arguments.model),
        arguments.out,
        batch=arguments.batch,
        overwrite=arguments.overwrite,
    )
    print(f"wrote {arguments.out} and {arguments.out}.json")
