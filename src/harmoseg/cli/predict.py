"""harmoseg predict: from files to masks."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.inference.options import Device, PredictionOptions

SUMMARY = SUMMARIES["predict"]

_SWITCHES = {
    "tta": "Average over the image and its mirror images (test-time augmentation).",
    "probabilities": "Write the probabilities too: large.",
    "overlays": "Write pictures with the outlines of the masks too.",
}

_MOST_TOLD = 20


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg predict",
        description=f"{SUMMARY} Interrupted and called again, it predicts what is not done yet. "
        "Exit status: 0 without failures, 1 where some files failed, 2 where nothing could begin.",
    )
    parser.add_argument("model", type=Path, help="A model folder or a finished run.")
    parser.add_argument(
        "input",
        type=Path,
        help="A file or a folder: PNG, JPEG, TIFF, BMP, NIfTI, DICOM, HDF5 (array image).",
    )
    parser.add_argument("out", type=Path, help="The folder to write; it mirrors the input's names.")
    parser.add_class_arguments(
        PredictionOptions, None, skip={*_SWITCHES, "assume_spacing", "slices"}
    )
    for name, meaning in _SWITCHES.items():
        parser.add_argument(f"--{name}", type=bool, default=False, help=meaning)
    parser.add_argument(
        "--slices",
        type=bool,
        default=False,
        help="Predict volumes slice by slice with a model that was trained on plain images.",
    )
    parser.add_argument(
        "--assume_spacing",
        type=float,
        nargs=3,
        default=None,
        help="Sizes of voxels along X, Y, Z in mm for NIfTI files that do not say where they lie.",
    )
    parser.add_argument(
        "--batch_size", type=int, default=16, help="Images that the network sees at a time."
    )
    parser.add_argument("--device", type=Device, default="auto", help="Where the network runs.")
    parser.add_argument(
        "--overwrite",
        type=bool,
        default=False,
        help="Replace predictions that were made with another model or other options.",
    )
    return parser


def run(arguments: Namespace) -> int:
    """Predict, say what failed; return the exit status."""
    from harmoseg.inference.predict import predict

    values = arguments.as_dict()
    chosen = {name: values[name] for name in PredictionOptions.__dataclass_fields__}
    if chosen["assume_spacing"] is not None:
        chosen["assume_spacing"] = tuple(chosen["assume_spacing"])
    found = predict(
        values["model"],
        values["input"],
        values["out"],
        PredictionOptions(**chosen),
        batch_size=values["batch_size"],
        device=values["device"],
        overwrite=values["overwrite"],
    )
    for row in found.failed[:_MOST_TOLD]:
        print(f"failed: {row.error}", file=sys.stderr)
    if len(found.failed) > _MOST_TOLD:
        more = len(found.failed) - _MOST_TOLD
        print(f"and {more} more: see {values['out'] / 'predictions.csv'}", file=sys.stderr)
    if found.remark:
        print(f"note: {found.remark}")
    print(found.told)
    print(f"wrote {values['out']}")
    return 1 if found.failed else 0
