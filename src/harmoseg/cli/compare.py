"""harmoseg compare: which method is better, on a store that trains or on results there are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser, columns
from harmoseg.errors import HarmosegError
from harmoseg.losses.method import DEFAULT_CONTROLS, Controls
from harmoseg.messages import LOGGER
from harmoseg.store.layout import INFO_FILE
from harmoseg.training.options import TrainingOptions

if TYPE_CHECKING:
    from harmoseg.scores.table import Scores

SUMMARY = SUMMARIES["compare"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg compare",
        description=f"{SUMMARY} A prepared store trains every method over several seeds and judges "
        "them; interrupted, the same command continues. Anything else is judged as it is: folders "
        "of masks (A=masks/a B=masks/b --truth labels), a table of scores, or a results folder of "
        "nnU-Net.",
    )
    parser.add_argument(
        "paths",
        type=str,
        nargs="+",
        help="A prepared store; or a table of scores, a folder with scores.csv or results of "
        "nnU-Net; or NAME=FOLDER for every method, the same name again for a further training.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="The folder of tables, figures and report; compare-NAME here if absent.",
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--margin",
        type=float | None,
        default=None,
        help="Largest difference in the primary measure, in printed units such as points, that "
        "counts as none. Without it nothing is called equivalent.",
    )
    parser.add_argument(
        "--overwrite",
        type=bool,
        default=False,
        help="Replace the report of another table in the folder.",
    )
    masks = parser.add_argument_group("For folders of masks (more options: harmoseg score)")
    masks.add_argument(
        "--truth", type=str | None, default=None, help="Folder, or pattern, of the true masks."
    )
    masks.add_argument(
        "--classes",
        type=str,
        nargs="+",
        default=[],
        help="Names of the labels 1, 2, ...; or NAME=LABEL, or NAME=#rrggbb, for each class.",
    )
    masks.add_argument(
        "--images",
        type=str | None,
        default=None,
        help="Folder, or pattern, of the images, for pictures of cases; black without it.",
    )
    masks.add_argument(
        "--groups",
        type=str | None,
        default=None,
        help="Patients: a CSV file with case and group, or a pattern for the name of a case.",
    )
    table = parser.add_argument_group("For results that are there")
    table.add_argument(
        "--reference",
        type=str | None,
        default=None,
        help="The method that the others are compared with, where methods have no control.",
    )
    table.add_argument(
        "--primary",
        type=str | None,
        default=None,
        help="The measure declared primary beforehand; DSC if absent.",
    )
    table.add_argument(
        "--measure",
        type=str,
        nargs="*",
        default=[],
        help="A column that harmoseg does not know: NAME:DIRECTION:UNIT, as Dice:higher:percent.",
    )
    store = parser.add_argument_group("For a store")
    store.add_argument(
        "--methods",
        type=str,
        nargs="+",
        default=["unet", "unet+scc"],
        help="Methods as model[+term[:weight]][@reduction], the reference first. A term is scc, "
        "rings, low, mid, high, dice, or the import path of a loss.",
    )
    store.add_argument(
        "--controls",
        type=Controls,
        default=DEFAULT_CONTROLS,
        help="Methods added where they are missing: reduction, the same without the term; all, "
        "also the same with an overlap term of equal weight in its place; none.",
    )
    store.add_argument("--seeds", type=int, default=3, help="Number of seeds per method.")
    store.add_argument(
        "--also",
        type=Path,
        nargs="*",
        default=[],
        help="Further stores whose test splits are scored: other centres, other scanners.",
    )
    store.add_argument(
        "--leave_centre_out",
        type=bool,
        default=False,
        help="Leave every centre (subset) of the store out in turn: train on the others, test "
        "on it.",
    )
    store.add_argument(
        "--conditions",
        type=str,
        nargs="*",
        default=[],
        help="Corruptions scored beside the clean images, as in harmoseg evaluate --condition.",
    )
    store.add_argument(
        "--explain",
        type=bool,
        default=False,
        help="Add spectral maps and Grad-CAMs to the report: pictures, no evidence.",
    )
    store.add_argument(
        "--jobs", type=int, default=1, help="Runs at a time, each with its share of the cores."
    )
    parser.add_class_arguments(TrainingOptions, None)
    return parser


def run(arguments: Namespace) -> int:
    """Compare, write the report, print its main tables; 1 where runs failed."""
    from harmoseg.cli.score import parse_folders
    from harmoseg.scores.nnunet import find_validations

    values = arguments.as_dict()
    paths = values["paths"]
    named = [text for text in paths if "=" in text]
    if named and len(named) < len(paths):
        raise HarmosegError(
            f"{next(text for text in paths if '=' not in text)!r}: expected NAME=FOLDER, as "
            f"{named[0]!r} is"
        )
    if named:
        return _score_and_judge(parse_folders(named), values)
    if values["truth"]:
        if len(paths) == 1 and find_validations(Path(paths[0])):
            return _score_and_judge(Path(paths[0]), values)
        raise HarmosegError(
            f"{paths[0]!r}: with --truth, name every folder of masks: NAME=FOLDER, for example "
            f"A={paths[0]}"
        )
    if len(paths) > 1:
        raise HarmosegError(
            f"{len(paths)} paths: one store or table is compared at a time; of masks, name every "
            "folder (NAME=FOLDER) and the truth (--truth)"
        )
    path = Path(paths[0])
    name = path.resolve().name.removesuffix(".gz").removesuffix(".csv")
    out = values["out"] or Path(f"compare-{name}")
    if (path / INFO_FILE).exists():
        return _train_and_judge(path, out, values)
    if not path.exists():
        raise HarmosegError(f"{path}: no such file or folder; give a store or a table of scores")
    _check_free(out, values)
    _judge(read_table(path, values["measure"]), out, values, path)
    return 0


def read_table(path: Path, measures: Sequence[str]) -> Scores:
    """Read scores of anybody; what looks wrong is logged once, and not warned of again."""
    from harmoseg.scores.files import ScoresWarning, read_scores

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScoresWarning)
        return read_scores(path, measures=measures)


def _score_and_judge(predictions: dict[str, list[str]] | Path, values: dict[str, Any]) -> int:
    from harmoseg.cli.score import parse_classes
    from harmoseg.evaluation.scoring import score

    is_results = isinstance(predictions, Path)
    names = [predictions.resolve().name] if isinstance(predictions, Path) else list(predictions)
    if values["truth"] is None:
        raise HarmosegError(f"{names[0]}: name the folder of true masks with --truth")
    out = values["out"] or Path("compare-" + "-".join(names))
    _check_free(out, values)
    scores = score(
        predictions,
        values["truth"],
        classes=parse_classes(values["classes"]),
        groups=values["groups"],
        # Folds that are not done yet leave cases without a prediction.
        unmatched="skip" if is_results else "error",
        images=values["images"],
        gallery=True,
        out=out,
        overwrite=values["overwrite"],
    )
    _judge(scores, out, values, out)
    return 0


def _check_free(out: Path, values: dict[str, Any]) -> None:
    from harmoseg.report.html import REPORT_FILE

    if (out / REPORT_FILE).exists() and not values["overwrite"]:
        raise HarmosegError(
            f"{out}: holds a report already; name another folder with --out, or replace it with "
            "--overwrite"
        )


def _judge(scores: Scores, out: Path, values: dict[str, Any], source: Path) -> None:
    """Write the report of scores that come from `source`, with the pictures that are kept there."""
    from harmoseg.files import make_folder
    from harmoseg.report.gallery import Gallery
    from harmoseg.report.html import REPORT_FILE, write_report
    from harmoseg.statistics.comparison import compare
    from harmoseg.statistics.heterogeneity import pool_all
    from harmoseg.statistics.printing import to_terminal

    result = compare(
        scores,
        reference=values["reference"],
        primary=values["primary"],
        margin=values["margin"],
    )
    first = result.headline[0] if result.headline else None
    if values["reference"] is None and first is not None and first.kind == "no control":
        LOGGER.info(
            "%s is the reference, as it comes first; name another with --reference", first.reference
        )
    make_folder(out)
    gallery = Gallery.read(source)
    tables = write_report(result, out / REPORT_FILE, gallery, files=out, replace_files=True)
    for table in tables[:2]:
        print(to_terminal(table, columns()))
    print("\n".join([*result.sentences, *(item.sentence for item in pool_all(result))]))
    print(f"report: {out / REPORT_FILE}")


def _train_and_judge(path: Path, out: Path, values: dict[str, Any]) -> int:
    from harmoseg.paper.tables import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.statistics.printing import to_terminal
    from harmoseg.study.executors import executor_for
    from harmoseg.study.plan import DatasetPlan, StudyPlan
    from harmoseg.study.results import describe_failures
    from harmoseg.study.runner import run_study

    for name in ("reference", "primary", "measure", "classes", "groups"):
        if values[name]:
            raise HarmosegError(
                f"--{name} is for results that are there, and {path} is a store; leave it out (the "
                "first of --methods is the reference, and DSC is primary)"
            )
    options = {name: values[name] for name in TrainingOptions.__dataclass_fields__}
    dataset = DatasetPlan(
        store=path,
        methods=tuple(values["methods"]),
        options=TrainingOptions(**options),
        also=tuple(values["also"]),
        conditions=tuple(values["conditions"]),
        controls=values["controls"],
        leave_centre_out=values["leave_centre_out"],
    )
    plan = StudyPlan((dataset,), values["seeds"], margin=values["margin"])
    study = run_study(plan, out, executor=executor_for(values["jobs"]))
    tables, result = write_paper_report(study, explain=values["explain"])
    for table in tables[:2]:
        print(to_terminal(table, columns()))
    print("\n".join(result.sentences))
    print(f"report: {out / REPORT_FILE}")
    failures = describe_failures(study)
    print("\n".join(failures), end="\n" if failures else "")
    return 1 if failures else 0
