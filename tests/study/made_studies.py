"""Studies made of plain arrays: what figures and tables read, without training anything.

Tests get `make_task` and `make_study` as fixtures of these names (tests/conftest.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoseg.evaluation.reading import CLEAN, Bins, Evaluation, Rings
from harmoseg.evaluation.tables import CALIBRATION
from harmoseg.files import make_folder, write_csv
from harmoseg.metrics import METRICS
from harmoseg.store.card import Card
from harmoseg.store.layout import Case, StoreInfo
from harmoseg.store.reading import Store
from harmoseg.study.results import Study, StudyRun, TaskResults
from harmoseg.training.experiment import Experiment, TrainingOptions

SIDE = 24


@dataclass(frozen=True)
class MadeStore(Store):
    """A store in memory: discs on noise, numbered from the smallest."""

    def native_label(self, number: int) -> NDArray[np.uint8]:
        """Give the label of one case, (1, H, W)."""
        return self.labels[number : number + 1]


@dataclass(frozen=True)
class MadeEvaluation(Evaluation):
    """An evaluation in memory, with the bins and rings that it was made with."""

    made_bins: dict[str, Bins] = field(default_factory=dict)
    made_rings: dict[str, Rings] = field(default_factory=dict)

    def bins(self) -> dict[str, Bins]:
        """Give the bins."""
        return self.made_bins

    def rings(self) -> dict[str, Rings]:
        """Give the ring sums."""
        return self.made_rings


def make_store(
    name: str, cases: int, *, groups: Sequence[str] = (), classes: Sequence[str] = ("fg",)
) -> MadeStore:
    """Make a store whose cases are all in the test split."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    labels = np.zeros((cases, SIDE, SIDE), np.uint8)
    for i in range(cases):
        angle = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * len(classes)
        label = 1 + np.minimum(angle.astype(np.uint8), len(classes) - 1)
        labels[i] = np.where(np.hypot(x, y) < 3 + i % 6, label, 0)
    noise = random.integers(0, 90, (cases, SIDE, SIDE, 1))
    mode = "binary" if len(classes) == 1 else "multiclass"
    card = Card(name, name, "made", mode, ("background", *classes), channels=1)
    table = tuple(
        Case(
            *(f"case{i}", groups[i] if groups else f"case{i}", "test", "", 1, 1, SIDE, SIDE),
            *((), (), "", "", ""),
        )
        for i in range(cases)
    )
    return MadeStore(
        Path(name),
        StoreInfo(card, SIDE, SIDE, 1, {"test": cases}, name, {}, {}),
        table,
        np.tile([0, 0, 0, SIDE, SIDE, 1], (cases, 1)),
        (noise + 120 * (labels > 0)[..., None]).astype(np.uint8),
        labels,
        tuple(range(1, cases + 1)),
    )


def make_bins(accuracy: float = 1.0) -> Bins:
    """Make ten bins of 1000 pixels, right as often as they say times `accuracy`."""
    confidence = np.linspace(0.05, 0.95, 10)
    return Bins("foreground", np.full(10, 1000), confidence, accuracy * confidence)


def make_rings(cases: int, classes: int, correlation: ArrayLike = (0.95, 0.9, 0.8, 0.6)) -> Rings:
    """Make octave rings of power 2, with a correlation (rings,) or one that goes to (cases, ...).

    Where it is NaN a ring has no power.
    """
    given = np.asarray(correlation, dtype=np.float64)
    wanted = np.broadcast_to(given, (cases, classes, given.shape[-1]))
    frequency = np.concatenate([[0.0], 0.5 ** np.arange(wanted.shape[-1] - 1, 0, -1)])
    some = np.isfinite(wanted)
    return Rings(frequency, np.where(some, wanted, 0.0), np.where(some, 2.0, 0.0))


def make_evaluation(
    store: Store,
    scores: Mapping[str, NDArray[np.float64]],
    *,
    bins: Bins | None = None,
    rings: Rings | None = None,
) -> MadeEvaluation:
    """Make an evaluation with the scores (cases,) in points of every condition, clean first.

    Every class and every share has them; counts of the foreground are those of 100 pixels.
    """
    classes = store.info.card.classes
    cases = len(store.cases)
    shares = {name: np.asarray(values, dtype=np.float64) / 100 for name, values in scores.items()}
    tables = {
        name: np.repeat(values[:, None], len(classes), axis=1) for name, values in shares.items()
    }
    counts = {}
    for name, table in tables.items():
        hits = np.rint(100 * np.nan_to_num(table)).astype(np.int64)
        rest = np.full_like(hits, SIDE * SIDE - 100)
        counts[name] = np.stack([hits, 100 - hits, 100 - hits, rest], axis=-1)
    measures: dict[str, dict[str, NDArray[np.float64]]] = {name: dict(tables) for name in METRICS}
    for name in CALIBRATION:
        measures[name] = {condition: 1 - values for condition, values in shares.items()}
    rings = make_rings(cases, len(classes) - 1) if rings is None else rings
    bins = make_bins() if bins is None else bins
    known = shares[CLEAN][np.isfinite(shares[CLEAN])]
    mean = {"value": float(known.mean()) if known.size else None}
    how = dict.fromkeys(("per_image", "pooled", "macro"), mean)
    return MadeEvaluation(
        Path(),
        tuple(case.case for case in store.cases),
        tuple(classes),
        counts,
        measures,
        {"aggregates": dict.fromkeys(METRICS, how)},
        dict.fromkeys(tables, bins),
        dict.fromkeys(tables, rings),
    )


def make_task(
    scores: Mapping[str, ArrayLike],
    *,
    name: str = "made",
    also: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    damaged: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    seeds: Mapping[str, Sequence[int]] | None = None,
    groups: Sequence[str] = (),
    classes: Sequence[str] = ("fg",),
    bins: Mapping[str, Bins] | None = None,
    rings: Mapping[str, Rings] | None = None,
    logs: Path | None = None,
    epochs: Mapping[str, Sequence[int]] | None = None,
) -> TaskResults:
    """Make the results of a task from scores in points, (seeds, cases) by method.

    `also` has further stores by name; `damaged` the scores under conditions, the same on every
    store that has as many cases. `seeds` says which have finished, if not 0, 1, ...; `bins` and
    `rings` are those of methods. With `logs`, a folder, every run has a log there, of as many
    epochs as `epochs` says of its method's seeds.
    """
    given = {name: scores, **(also or {})}
    tables = {
        store: {method: np.atleast_2d(np.asarray(v, np.float64)) for method, v in found.items()}
        for store, found in given.items()
    }
    stores = {
        store: make_store(
            store,
            next(iter(found.values())).shape[1],
            groups=groups if store == name else (),
            classes=classes,
        )
        for store, found in tables.items()
    }
    runs = []
    for method, values in tables[name].items():
        finished = (seeds or {}).get(method, range(len(values)))
        for row, seed in enumerate(finished):
            evaluations = {}
            for store, data in stores.items():
                of_run = {CLEAN: tables[store][method][row]}
                for condition, found in (damaged or {}).items():
                    of_run[condition] = np.atleast_2d(np.asarray(found[method], np.float64))[row]
                evaluations[store] = make_evaluation(
                    data, of_run, bins=(bins or {}).get(method), rings=(rings or {}).get(method)
                )
            folder = Path(f"{method}-{seed}") if logs is None else logs / name / f"{method}-{seed}"
            if logs is not None:
                _write_log(folder, (epochs or {}).get(method, [5] * len(values))[row], seed)
            runs.append(StudyRun(_experiment(method, seed, stores[name]), folder, evaluations))
    asked = max(run.experiment.seed for run in runs) + 1
    counts = {m: sum(run.experiment.method == m for run in runs) for m in tables[name]}
    return TaskResults(
        name=name,
        methods=tuple(tables[name]),
        seeds=asked,
        stores=dict(stores),
        split="test",
        conditions=tuple(damaged or {}),
        runs=tuple(runs),
        missing={method: count for method, count in counts.items() if count < asked},
    )


def make_study(*tasks: TaskResults, title: str = "made") -> Study:
    """Make a study of tasks, all finished."""
    return Study(Path("study"), title, None, max(task.seeds for task in tasks), tasks, {}, (), 0)


def _experiment(method: str, seed: int, store: Store) -> Experiment:
    info = store.info
    return Experiment(
        *(method, seed, TrainingOptions(encoder="resnet18"), None, info.card.name),
        *(info.fingerprint, info.card.mode, info.card.classes, SIDE, SIDE, 1),
    )


def _write_log(folder: Path, epochs: int, seed: int) -> None:
    make_folder(folder)
    rows = [
        {
            "epoch": epoch,
            "train_total": 2 / epoch + 0.1 * seed,
            # Not every epoch is validated.
            "val_dsc": 1 - 1 / epoch - 0.01 * seed if epoch % 2 == 0 or epoch == epochs else None,
        }
        for epoch in range(1, epochs + 1)
    ]
    write_csv(folder / "log.csv", ("epoch", "train_total", "val_dsc"), rows)
