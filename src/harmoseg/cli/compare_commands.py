"""Commands that judge: which method is better, and how many seeds and cases would show it."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoseg.cli.parsing import print_verdict
from harmoseg.errors import HarmosegError
from harmoseg.losses.method import DEFAULT_CONTROLS, Controls, with_controls
from harmoseg.messages import LOGGER
from harmoseg.store.layout import INFO_FILE
from harmoseg.training.options import TrainingOptions

if TYPE_CHECKING:
    from harmoseg.scores.table import Scores

_TABLE_ENDING = re.compile(r"(\.(csv|tsv|txt|json|xlsx))?(\.gz)?$")


@dataclass(frozen=True)
class MaskFolders:
    """For folders of masks (more options: harmoseg score).

    Args:
        truth: Folder, or pattern, of the true masks.
        classes: Names of the labels 1, 2, ...; or NAME=LABEL, or NAME=#rrggbb, for each class.
        images: Folder, or pattern, of the images, for pictures of cases; black without it.
    """

    truth: str | None = None
    classes: Sequence[str] = ()
    images: str | None = None


@dataclass(frozen=True)
class TableOptions:
    """For results that are there.

    Args:
        reference: The method that the others are compared with, where methods have no control.
        primary: The measure declared primary beforehand; DSC if absent.
        groups: Patients: a CSV file with case and group, or a pattern for the name of a case.
        measure: A column that harmoseg does not know: NAME:DIRECTION:UNIT, as Dice:higher:percent.
        column: A column that is not found by its name: ROLE=COLUMN, as case=Scan or method=Arm.
    """

    reference: str | None = None
    primary: str | None = None
    groups: str | None = None
    measure: Sequence[str] = ()
    column: Sequence[str] = ()


@dataclass(frozen=True)
class StoreOptions:
    """For a store.

    Args:
        methods: Methods as model[+term[:weight]][@reduction], the reference first. A term is scc,
            rings, low, mid, high, dice, or the import path of a loss.
        controls: Methods added where they are missing: reduction, the same without the term; all,
            also the same with an overlap term of equal weight in its place; none.
        seeds: Number of seeds per method.
        also: Further stores whose test splits are scored: other centres, other scanners.
        leave_centre_out: Leave every centre (subset) of the store out in turn: train on the others,
            test on it.
        conditions: Corruptions scored beside the clean images, as in harmoseg evaluate --condition.
        explain: Add spectral maps and Grad-CAMs to the report: pictures, no evidence.
        jobs: Runs at a time, each with its share of the cores.
    """

    methods: Sequence[str] = ("unet", "unet+scc")
    controls: Controls = DEFAULT_CONTROLS
    seeds: int = 3
    also: Sequence[Path] = ()
    leave_centre_out: bool = False
    conditions: Sequence[str] = ()
    explain: bool = False
    jobs: int = 1


def compare(
    paths: Sequence[str],
    *,
    out: Path | None = None,
    margin: float | None = None,
    overwrite: bool = False,
    masks: MaskFolders,
    table: TableOptions,
    store: StoreOptions,
    training: TrainingOptions,
) -> int:
    """Compare, write the report, print its main tables; return 1 where runs failed.

    A prepared store trains every method over several seeds and judges them; interrupted, the same
    command continues. Anything else is judged as it is: folders of masks (A=masks/a B=masks/b
    --truth labels), a table of scores, or a results folder of nnU-Net.

    Args:
        paths: A prepared store; or tables of scores, folders with scores.csv, or results of
            nnU-Net; or NAME=FOLDER or NAME=TABLE for every method, the same name again for a
            further training.
        out: The folder of tables, figures and report; compare-NAME here if absent.
        margin: Largest difference in the primary measure, in printed units such as points, that
            counts as none. Without it nothing is called equivalent.
        overwrite: Replace the report of another table in the folder.
        masks: Folders of masks.
        table: A table.
        store: A store.
        training: The training on a store.
    """
    from harmoseg.api import run_study
    from harmoseg.cli.score_commands import parse_classes, parse_folders
    from harmoseg.cli.study_commands import finish_study
    from harmoseg.evaluation.scoring import score
    from harmoseg.scores.nnunet import find_validations

    named = [text for text in paths if "=" in text]
    if named and len(named) < len(paths):
        raise HarmosegError(
            f"{next(text for text in paths if '=' not in text)!r}: expected NAME=FOLDER or "
            f"NAME=TABLE, as {named[0]!r} is"
        )
    methods, path = parse_folders(named), Path(paths[0])
    names = list(methods) or [_TABLE_ENDING.sub("", Path(text).resolve().name) for text in paths]
    out = out or Path("compare-" + "-".join(names))
    if masks.truth is not None:
        if not methods and not (len(paths) == 1 and find_validations(path)):
            raise HarmosegError(
                f"{paths[0]!r}: with --truth, name every folder of masks: NAME=FOLDER, for example "
                f"A={paths[0]}"
            )
        _refuse(_given(store, training), "training on a store", "give a store")
        _refuse({"measure": table.measure, "column": table.column}, "tables", "give a table")
        _check_free(out, overwrite=overwrite)
        _check_table(table, margin, methods)
        scores = score(
            methods or path,
            masks.truth,
            classes=parse_classes(masks.classes),
            groups=table.groups,
            # Folds of nnU-Net that are not done yet leave cases without a prediction.
            unmatched="error" if methods else "skip",
            images=masks.images,
            gallery=True,
            out=out,
            overwrite=overwrite,
        )
        return _judge(scores, out, table, margin, out)
    _refuse(vars(masks), "folders of masks", "name the true masks with --truth")
    stores = [text for text in paths if (Path(text) / INFO_FILE).exists()]
    if stores and len(paths) > 1:
        raise HarmosegError(
            f"{stores[0]}: one store is compared at a time; --also names further ones to test on"
        )
    if stores:
        cure = f"know that {path} is a store: the first of --methods is its reference, DSC primary"
        _refuse(vars(table), "results that are there", cure)
        if len(with_controls(store.methods, store.controls)) < 2:
            raise HarmosegError(
                f"--methods names one method, {store.methods[0]}, and it has no control; name "
                "another to compare it with"
            )
        values = {**vars(store), **vars(training)}
        explain = values.pop("explain")
        return finish_study(run_study(path, out=out, margin=margin, **values), explain, tables=2)
    if not methods and not path.exists():
        raise HarmosegError(f"{path}: no such file or folder; give a store or a table of scores")
    _refuse(_given(store, training), "training on a store", "give a store")
    _check_free(out, overwrite=overwrite)
    tables: Any = methods or (list(paths) if len(paths) > 1 else path)
    scores = read_table(tables, table.measure, groups=table.groups, columns=table.column)
    return _judge(scores, out, table, margin, path)


def _check_table(table: TableOptions, margin: float | None, methods: Iterable[str]) -> None:
    """Raise HarmosegError for what masks cannot be judged by, before they are scored.

    `methods` are empty where a results folder of nnU-Net names them.
    """
    from harmoseg.evaluation.case_scores import DISTANCES, OVERLAP, Measuring

    names = list(methods)
    if table.reference is not None and names and table.reference not in names:
        raise HarmosegError(f"no method is named {table.reference!r}; found {', '.join(names)}")
    how = Measuring()
    known = {*OVERLAP, *DISTANCES, *how.distance_names("px"), *how.distance_names("mm")}
    if table.primary is not None and table.primary not in known:
        raise HarmosegError(
            f"no measure is named {table.primary!r}; expected one of "
            f"{', '.join((*OVERLAP, *DISTANCES))}"
        )
    if margin is not None and not 0 < margin < math.inf:
        raise HarmosegError(f"margin {margin:g}; expected a number above 0 in printed units")


def _given(*options: Any) -> dict[str, bool]:
    """Return for every option of some dataclasses whether it differs from its default."""
    return {
        name: value != getattr(type(group)(), name)
        for group in options
        for name, value in vars(group).items()
    }


def _refuse(options: Mapping[str, Any], purpose: str, cure: str) -> None:
    """Raise HarmosegError for an option that this comparison would not use."""
    for name in filter(options.get, options):
        flag = name.replace("_", "-")
        raise HarmosegError(f"--{flag} is for {purpose}; leave it out, or {cure}")


def read_table(
    path: Any, measures: Sequence[str], *, groups: str | None = None, columns: Sequence[str] = ()
) -> Scores:
    """Read scores of anybody; what looks wrong is logged once, and not warned of again."""
    from harmoseg.scores.files import ScoresWarning, read_scores

    names = {role: name for role, _, name in (text.partition("=") for text in columns)}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScoresWarning)
        return read_scores(path, measures=measures, groups=groups, names=names)


def _check_free(out: Path, *, overwrite: bool) -> None:
    from harmoseg.report.html import REPORT_FILE

    if (out / REPORT_FILE).exists() and not overwrite:
        raise HarmosegError(
            f"{out}: holds a report already; name another folder with --out, or replace it with "
            "--overwrite"
        )


def _judge(
    scores: Scores, out: Path, table: TableOptions, margin: float | None, source: Path
) -> int:
    """Write the report of scores that come from `source`, with the pictures that are kept there."""
    from harmoseg.files import make_folder
    from harmoseg.report.gallery import Gallery
    from harmoseg.report.html import REPORT_FILE, write_report
    from harmoseg.statistics.comparison import compare as compare_scores
    from harmoseg.statistics.heterogeneity import pool_all

    result = compare_scores(scores, reference=table.reference, primary=table.primary, margin=margin)
    first = result.headline[0] if result.headline else None
    if table.reference is None and first is not None and first.kind == "no control":
        LOGGER.info(
            "%s is the reference, as it comes first; name another with --reference", first.reference
        )
    make_folder(out)
    gallery = Gallery.read(source)
    tables = write_report(result, out / REPORT_FILE, gallery, files=out, replace_files=True)
    pooled = [item.sentence for item in pool_all(result)]
    print_verdict(tables[:2], [*result.sentences, *pooled], out / REPORT_FILE)
    return 0


def plan(
    scores: Path,
    *,
    detect: float,
    method: str | None = None,
    reference: str | None = None,
    primary: str | None = None,
    measure: Sequence[str] = (),
    hours_per_run: float | None = None,
    out: Path | None = None,
) -> None:
    """Print the seeds and cases that a study needs.

    The variance is that of a pilot with two seeds or more.

    Args:
        scores: The pilot's scores: any table or folder.
        detect: The difference to be seen, in points or mm.
        method: The method that is compared.
        reference: What it is compared with.
        primary: The measure; DSC if absent.
        measure: Declared measures, as in compare.
        hours_per_run: Hours of one training, for the cost; of a study folder its runs say it.
        out: Folder for the table (plan.csv) and the figure (plan.png, plan.svg).
    """
    from harmoseg.files import make_folder, write_text
    from harmoseg.report.figures.curves import plan_figure
    from harmoseg.report.figures.style import save_figure
    from harmoseg.statistics.planning import plan as plan_study
    from harmoseg.study.status import hours_per_run as hours_of_study

    found = plan_study(
        read_table(scores, measure),
        detect=detect,
        method=method,
        reference=reference,
        primary=primary,
        hours_per_run=hours_of_study(scores) if hours_per_run is None else hours_per_run,
    )
    print("\n".join(found.sentences))
    print(found.to_frame().to_string(index=False))
    if out is not None:
        make_folder(out)
        write_text(out / "plan.csv", found.to_frame().to_csv(index=False))
        save_figure(plan_figure(found), out / "plan")
        print(f"wrote {out}")
