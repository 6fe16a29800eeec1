"""harmoseg score: folders of predicted masks against a folder of truth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.errors import HarmosegError
from harmoseg.metrics import Definition, OnEmpty

SUMMARY = SUMMARIES["score"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg score",
        description=f"{SUMMARY} Interrupted and called again, it continues where it stopped.",
    )
    parser.add_argument(
        "predictions",
        type=str,
        nargs="+",
        help="NAME=FOLDER for every method; the same name again for a further training. A folder "
        "of folders seed0, seed1, ... holds one training in each. A pattern such as "
        "'data/*_2nd.png' names files. Or one folder alone: one method, or "
        "results of nnU-Net.",
    )
    parser.add_argument(
        "--truth", type=str, required=True, help="Folder, or pattern, of the true masks."
    )
    parser.add_argument(
        "--probabilities",
        type=str,
        nargs="+",
        default=[],
        help="NAME=FOLDER of probability maps (.npy, .npz, NIfTI), for calibration.",
    )
    parser.add_argument(
        "--gallery",
        type=bool,
        default=False,
        help="Keep pictures of cases, which the report then shows.",
    )
    parser.add_argument(
        "--images",
        type=str | None,
        default=None,
        help="Folder, or pattern, of the images, for these pictures; black without it.",
    )
    parser.add_argument("--out", type=Path, default=Path("scores"), help="Folder to write.")
    parser.add_argument(
        "--classes",
        type=str,
        nargs="+",
        default=[],
        help="Names of the labels 1, 2, ...; or NAME=LABEL, or NAME=#rrggbb, for each class.",
    )
    parser.add_argument(
        "--per_class",
        type=bool,
        default=False,
        help="Every file holds one class, which its folder or the end of its name says.",
    )
    parser.add_argument(
        "--spacing",
        type=str,
        nargs="+",
        default=[],
        help="Pitch in mm along the axes of a mask, or pixel; that of NIfTI files if absent.",
    )
    parser.add_argument(
        "--groups",
        type=str,
        default=None,
        help="Patients: a CSV file with case and group, or a pattern for the name of a case.",
    )
    parser.add_argument(
        "--subsets", type=str, default=None, help="Centres: a CSV file with case and subset, or a "
        "pattern.",
    )  # fmt: skip
    parser.add_argument("--tested_on", type=str, default="", help="Name of the test set.")
    parser.add_argument(
        "--unmatched",
        type=Literal["error", "skip"],
        default="error",
        help="Cases without truth or prediction: an error, or left out.",
    )
    parser.add_argument(
        "--definition", type=Definition, default="pooled", help="Of HD95, as in evaluate."
    )
    parser.add_argument(
        "--on_empty", type=OnEmpty, default="nan", help="Distances of empty masks, as in evaluate."
    )
    parser.add_argument(
        "--tolerance", type=float, default=2.0, help="Of the surface Dice, in mm or pixels."
    )
    parser.add_argument(
        "--calibration_band",
        type=float | None,
        default=None,
        help="Calibration within this distance of the truth's boundary, as in evaluate.",
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="Replace the scores if they exist."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Score, write the table, and print what it holds."""
    from harmoseg.evaluation.case_scores import Measuring
    from harmoseg.evaluation.scoring import score

    measuring = Measuring(
        arguments.definition, arguments.on_empty, arguments.tolerance, arguments.calibration_band
    )
    given = arguments.predictions
    is_one = len(given) == 1 and "=" not in given[0]
    score(
        given[0] if is_one else parse_folders(given),
        arguments.truth,
        probabilities=parse_folders(arguments.probabilities) or None,
        classes=parse_classes(arguments.classes),
        per_class=arguments.per_class,
        spacing=_spacing(arguments.spacing),
        unmatched=arguments.unmatched,
        measuring=measuring,
        groups=arguments.groups,
        subsets=arguments.subsets,
        tested_on=arguments.tested_on,
        images=arguments.images,
        gallery=arguments.gallery,
        out=arguments.out,
        overwrite=arguments.overwrite,
    )
    print(f"wrote {arguments.out}; next: harmoseg compare {arguments.out}")


def parse_folders(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read ``NAME=FOLDER`` words; raise HarmosegError for one of another form."""
    folders: dict[str, list[str]] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise HarmosegError(f"{text!r}: expected NAME=FOLDER, for example unet=predictions/a")
        folders.setdefault(name, []).append(folder)
    return folders


def parse_classes(texts: Sequence[str]) -> Any:
    """Return names, or a mapping from names to labels or colours."""
    if not any("=" in text for text in texts):
        return list(texts) or None
    found: dict[str, int | str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        found[name] = int(value) if re.fullmatch(r"\d+", value) else value
    return found


def _spacing(texts: list[str]) -> Any:
    if not texts or texts == ["pixel"]:
        return texts[0] if texts else None
    try:
        return tuple(float(text) for text in texts)
    except ValueError as error:
        raise HarmosegError(
            f"option 'spacing': {' '.join(texts)!r}; expected numbers in mm, or pixel"
        ) from error
