"""The front door: what every command does, as a function.

Options are the fields of the dataclasses that the commands are made of, under the same names and
with the same defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from harmoseg.datasets.folder import FolderOptions, SplitRule
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset
from harmoseg.datasets.preparing import prepare_folder as _prepare_folder
from harmoseg.datasets.sources import SourceOptions
from harmoseg.errors import HarmosegError, unknown_option
from harmoseg.losses.method import DEFAULT_CONTROLS, Controls, MethodSpelling, parse_method
from harmoseg.scores.table import Scores

PathLike = str | Path


def prepare(dataset: str, *, out: PathLike, source: PathLike | None = None, **options: Any) -> Path:
    """Prepare a store from the official files of a dataset; return its path.

    Args:
        dataset: Name of the dataset, as in ``harmoseg prepare --help``; ``phantom`` for made
            images, which need no `source`.
        out: The store to write. One that is there and made from the same files is left as it is.
        source: The folder that was unpacked.
        options: Fields of `PrepareOptions` and `SourceOptions`, such as ``size=128``; of
            `PhantomOptions` for the phantom.

    Raises HarmosegError naming the file for whatever is wrong with the data.
    """
    if dataset == "phantom":
        (made,) = _take({**options, "out": Path(out)}, PhantomOptions)
        prepare_phantom(made)
        return Path(out)
    if source is None:
        raise HarmosegError(f"source: not given; name the folder where {dataset} was unpacked")
    how, choices = _take({**options, "out": Path(out)}, PrepareOptions, SourceOptions)
    prepare_dataset(dataset, Path(source), how, choices)
    return Path(out)


def prepare_folder(*, images: PathLike, masks: PathLike, out: PathLike, **options: Any) -> Path:
    """Prepare a store from a folder of images and a folder of masks; return its path.

    `options` are fields of `FolderOptions`, `SplitRule` and `PrepareOptions`, such as
    ``classes=["background", "polyp"]``, ``test_fraction=0.2`` and ``size=128``. Raises
    HarmosegError naming the file for whatever is wrong with the data.
    """
    given = {**options, "images": Path(images), "masks": Path(masks), "out": Path(out)}
    folder, split, how = _take(given, FolderOptions, SplitRule, PrepareOptions)
    _prepare_folder(folder, split, how)
    return Path(out)


def train(
    store: PathLike,
    *,
    out: PathLike,
    method: MethodSpelling = "unet+scc",
    seed: int = 0,
    **options: Any,
) -> Path:
    """Train one method on a store into the run folder `out`; return its path.

    Interrupted and called again, it continues. `method` is a text such as ``unet+rings:1``, or a
    mapping such as ``{"model": "unet", "terms": [{"loss": my_loss, "weight": 0.5}]}``, where a loss
    may be a function or a class of a module. `options` are fields of `TrainingOptions` and
    `Execution`, such as ``encoder="resnet18"`` and ``epochs=15``. Raises HarmosegError as
    `harmoseg.training.run.train` does.
    """
    from harmoseg.training.options import Execution, TrainingOptions
    from harmoseg.training.run import train as train_run

    chosen, execution = _take(options, TrainingOptions, Execution)
    train_run(
        Path(store),
        Path(out),
        method=str(parse_method(method)),
        seed=seed,
        options=chosen,
        execution=execution,
    )
    return Path(out)


def evaluate(
    run: PathLike,
    store: PathLike,
    *,
    out: PathLike | None = None,
    conditions: Sequence[str] = (),
    keep_probabilities: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Scores:
    """Score a finished run on a split of a store; return its scores.

    Args:
        run: The run folder.
        store: The store to test on.
        out: The folder to write; ``RUN/evaluations/STORE`` if not named.
        conditions: Corruptions to score beside the clean images, such as ``gaussian:0.01``.
        keep_probabilities: Keep probabilities at native resolution, in float16.
        overwrite: Replace the folder if it exists.
        options: Fields of `EvaluationOptions` and `Measuring`, such as ``split="val"`` and
            ``tolerance=1.0``.

    Raises HarmosegError as `harmoseg.evaluation.evaluate.evaluate` does.
    """
    from harmoseg.evaluation.case_scores import Measuring
    from harmoseg.evaluation.evaluate import EvaluationOptions
    from harmoseg.evaluation.evaluate import evaluate as evaluate_run

    chosen, measuring = _take(options, EvaluationOptions, Measuring)
    run, store = Path(run), Path(store)
    return evaluate_run(
        run,
        store,
        Path(out) if out else run / "evaluations" / store.resolve().name,
        conditions=conditions,
        options=replace(chosen, measuring=measuring),
        keep_probabilities=keep_probabilities,
        overwrite=overwrite,
    ).scores


def predict(
    model: PathLike,
    source: PathLike,
    *,
    out: PathLike,
    batch_size: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    **options: Any,
) -> Any:
    """Predict a file, or all files below a folder, into the folder `out`.

    `model` is a finished run or a model folder; for arrays in memory use ``harmoseg.load(model)``.
    `options` are fields of `PredictionOptions`. Returns `harmoseg.inference.predict.Predictions`,
    with a row for every input; one that cannot be predicted stops no other. Raises HarmosegError
    where nothing can begin.
    """
    from harmoseg.inference.options import PredictionOptions
    from harmoseg.inference.predict import predict as predict_files
    from harmoseg.inference.predictor import BATCH

    (chosen,) = _take(options, PredictionOptions)
    return predict_files(
        Path(model),
        Path(source),
        Path(out),
        chosen,
        batch_size=BATCH if batch_size is None else batch_size,
        device=device,  # type: ignore[arg-type]  # checked where it is used
        overwrite=overwrite,
    )


def run_study(
    store: PathLike,
    *,
    out: PathLike,
    methods: Sequence[MethodSpelling] = ("unet", "unet+scc"),
    seeds: int = 3,
    also: Sequence[PathLike] = (),
    conditions: Sequence[str] = (),
    controls: Controls = DEFAULT_CONTROLS,
    leave_centre_out: bool = False,
    margin: float | None = None,
    jobs: int = 1,
    runs: PathLike | None = None,
    **options: Any,
) -> Any:
    """Train methods on a store over several seeds and score them; return the `Study`.

    The study's ``scores`` is one table, ``compare()`` judges it, and ``write_report()`` writes its
    report. Interrupted and called again, it continues.

    Args:
        store: The store to train on; its test split is scored.
        out: The study folder.
        methods: Methods, as `train` takes them, the reference first.
        seeds: Number of seeds per method.
        also: Further stores whose test splits are scored.
        conditions: Corruptions scored beside the clean images.
        controls: Methods added where they are missing: ``reduction``, the same without the term;
            ``all``, also the same with an overlap term of equal weight in its place; ``none``.
        leave_centre_out: Leave every centre (`subset`) of the store out in turn: train on the
            others, test on it.
        margin: Largest difference in DSC, in points, that counts as none.
        jobs: Runs at a time.
        runs: Folder of runs, which studies may share; ``OUT/runs`` if not named.
        options: Fields of `TrainingOptions`.

    Raises HarmosegError for a plan that cannot be, and where no run has finished.
    """
    from harmoseg.study.options import DatasetPlan, StudyPlan
    from harmoseg.study.runner import executor_for
    from harmoseg.study.runner import run_study as conduct
    from harmoseg.training.options import TrainingOptions

    (chosen,) = _take(options, TrainingOptions)
    dataset = DatasetPlan(
        store=Path(store),
        methods=tuple(str(parse_method(method)) for method in methods),
        options=chosen,
        also=tuple(map(Path, also)),
        conditions=tuple(conditions),
        controls=controls,
        leave_centre_out=leave_centre_out,
    )
    return conduct(
        StudyPlan((dataset,), seeds, margin=margin),
        Path(out),
        runs=None if runs is None else Path(runs),
        executor=executor_for(jobs),
    )


def open_study(path: PathLike) -> Any:
    """Open a study folder; return the `Study` as far as it has got.

    Raises HarmosegError where it is none, or where no run has finished.
    """
    from harmoseg.study.results import open_study as open_folder

    return open_folder(Path(path))


def _take(given: dict[str, Any], *kinds: type[Any]) -> list[Any]:
    """Make an object of every kind of options; refuse what is a field of none."""
    known = {field.name: kind for kind in kinds for field in fields(kind)}
    for name in given:
        if name not in known:
            raise unknown_option(name, known)
    return [
        kind(**{name: value for name, value in given.items() if known[name] is kind})
        for kind in kinds
    ]
