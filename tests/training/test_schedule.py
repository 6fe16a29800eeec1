"""When a training validates, steps and stops."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harmoseg import HarmosegError
from harmoseg.store.reading import open_store
from harmoseg.store.training_view import open_training_view
from harmoseg.training.experiment import resolve_experiment
from harmoseg.training.network import TrainedNetwork
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import EpochLog, train

TINY = TrainingOptions(encoder="tu-test_resnet", epochs=3, batch_size=4, validation_fraction=0.25)


def start(store: Path, out: Path, **changes: object) -> Path:
    train(store, out, method="unet", seed=0, options=replace(TINY, **changes))
    return out


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def done_of(run: Path) -> dict[str, object]:
    return json.loads((run / "done.json").read_text())


@pytest.fixture
def scores(monkeypatch) -> dict[int, float]:
    """Let validation say what a test fills in here, by epoch from 0."""
    said: dict[int, float] = {}

    def fixed_score(self) -> None:
        self._counts[:] = 0
        self.log("val_dsc", said[self.current_epoch])

    monkeypatch.setattr(TrainedNetwork, "on_validation_epoch_end", fixed_score)
    return said


def test_every_second_epoch_and_the_last_are_validated(binary_store, tmp_path, scores) -> None:
    scores.update({1: 0.4, 3: 0.6, 4: 0.5})  # another epoch would be a KeyError
    run = start(binary_store, tmp_path / "run", epochs=5, validate_every=2)
    assert [row["val_dsc"] for row in log_of(run)] == ["", "0.4", "", "0.6", "0.5"] or [
        row["val_dsc"][:3] for row in log_of(run)
    ] == ["", "0.4", "", "0.6", "0.5"]
    assert (done_of(run)["best_epoch"], done_of(run)["last_epoch"]) == (4, 5)


def test_best_and_last_are_kept_where_they_differ(binary_store, tmp_path, scores) -> None:
    scores.update({0: 0.9, 1: 0.5})
    best = start(binary_store, tmp_path / "best", epochs=2)
    last = start(binary_store, tmp_path / "last", epochs=2, select="last")
    of_best, of_last = (load_file(run / "weights.safetensors") for run in (best, last))
    also_last = load_file(best / "last.safetensors")
    assert all(torch.equal(also_last[name], of_last[name]) for name in of_last)
    assert not all(torch.equal(of_best[name], of_last[name]) for name in of_last)
    assert not (last / "last.safetensors").exists()
    assert [done_of(run)["best_epoch"] for run in (best, last)] == [1, 1]
    scores.update({1: 0.95})
    same = start(binary_store, tmp_path / "same", epochs=2)
    assert not (same / "last.safetensors").exists() and done_of(same)["best_epoch"] == 2


def test_training_stops_after_validations_without_a_better_one(
    binary_store, tmp_path, scores
) -> None:
    scores.update({0: 0.5, 1: 0.7, 2: 0.7, 3: 0.6})  # as good as the best is no better one
    run = start(binary_store, tmp_path / "run", epochs=9, patience=2)
    assert (done_of(run)["best_epoch"], done_of(run)["last_epoch"]) == (2, 4)
    assert len(log_of(run)) == 4


def test_a_run_that_had_stopped_early_trains_no_further_when_continued(
    binary_store, tmp_path, scores, monkeypatch
) -> None:
    scores.update({0: 0.5, 1: 0.4})
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("harmoseg.training.run._finish", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            start(binary_store, out, epochs=9, patience=1)
    start(binary_store, out, epochs=9, patience=1)
    assert done_of(out)["last_epoch"] == 2


def test_an_interrupted_run_with_all_options_ends_as_if_it_had_not_been(
    binary_store, tmp_path, monkeypatch
) -> None:
    options = {"epochs": 4, "validate_every": 2, "patience": 3, "clip_norm": 1.0, "accumulate": 2}
    whole = start(binary_store, tmp_path / "whole", **options)
    log_epoch = EpochLog.on_train_epoch_end

    def stop_in_epoch_four(self, trainer, pl_module) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt
        log_epoch(self, trainer, pl_module)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_epoch_end", stop_in_epoch_four)
        with pytest.raises(KeyboardInterrupt):
            start(binary_store, out, **options)
    start(binary_store, out, **options)
    expected, found = (load_file(run / "weights.safetensors") for run in (whole, out))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert log_of(out) == log_of(whole)


def test_the_learning_rate_counts_steps_of_the_optimiser(binary_store, tmp_path) -> None:
    # 9 slices in batches of 2 are 4 batches, by threes 2 steps: the last of them has 1 batch.
    run = start(binary_store, tmp_path / "run", epochs=2, batch_size=2, accumulate=3)
    rates = [float(row["learning_rate"]) for row in log_of(run)]
    assert rates == pytest.approx([0.01 * (1 - step / 4) ** 0.9 for step in (2, 4)])


def test_a_step_moves_no_further_than_the_clipped_gradient(binary_store, tmp_path) -> None:
    plain = {"epochs": 1, "batch_size": 9, "momentum": 0.0, "weight_decay": 0.0, "select": "last"}
    tiny = start(binary_store, tmp_path / "a", **plain, clip_norm=1e-6, decay_power=0.0)
    free = start(binary_store, tmp_path / "b", **plain, decay_power=0.0)
    begun = start(binary_store, tmp_path / "c", **plain, clip_norm=1e-30, decay_power=0.0)

    def moved(run: Path) -> float:
        a, b = (load_file(each / "weights.safetensors") for each in (run, begun))
        names = [name for name in a if "running" not in name and "num_batches" not in name]
        return sum(float((a[name] - b[name]).double().square().sum()) for name in names) ** 0.5

    assert moved(free) > 1e-3
    # Learning rate times norm; a weight that is rounded to float32 moves by up to twice its step.
    assert moved(tiny) < 0.01 * 1e-6 * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 3}, "accumulate 3 is more than the 2 batch.es. of 4 .* --accumulate 2"),
        (
            {"validation_fraction": 0.0, "select": "last", "patience": 1},
            "patience needs a validation part; .* or patience to 0",
        ),
        ({"validation_fraction": 0.0}, "select best needs a validation part; .* select last"),
    ],
)
def test_what_the_data_does_not_allow_is_named(binary_store, tmp_path, changes, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        start(binary_store, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validate_every": 0}, "validate_every must be 1 or more, got 0"),
        ({"patience": -1}, "patience must be 0 .never stop early. or more, got -1"),
        ({"clip_norm": -0.5}, "clip_norm must be 0 .never clip. or more, got -0.5"),
        ({"clip_norm": float("nan")}, "clip_norm must be"),
        ({"accumulate": 0}, "accumulate must be 1 or more, got 0"),
    ],
)
def test_impossible_options_are_named(changes, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        TrainingOptions(**changes)


def empty_some(store: Path, out: Path, empty: Callable[[int], bool]) -> Path:
    """Copy a store, with no foreground at training resolution in the cases that `empty` names."""
    shutil.copytree(store, out)
    labels = np.load(out / "labels.npy")
    for number in range(len(labels)):
        if empty(number):
            labels[number] = 0
    np.save(out / "labels.npy", labels)
    return out


def drawn_for_validation(store: Path) -> set[str]:
    return {
        case.case for case in open_training_view(store, validation_fraction=0.1).validation.cases
    }


def test_a_draw_without_foreground_is_exchanged_and_makes_another_run(
    binary_store, tmp_path
) -> None:
    drawn = drawn_for_validation(binary_store)
    cases = open_store(binary_store).cases
    emptied = empty_some(binary_store, tmp_path / "store", lambda i: cases[i].case in drawn)
    view = open_training_view(emptied, validation_fraction=0.1)
    assert view.validation.has_foreground and view.exchanged is not None
    assert not {case.case for case in view.validation.cases} & drawn
    assert drawn <= {case.case for case in view.train.cases}  # the empty ones train instead
    before = open_training_view(binary_store, validation_fraction=0.1)
    assert before.exchanged is None
    keys = {
        resolve_experiment("unet", 0, TINY, replace(view, exchanged=name)).key
        for name in (None, view.exchanged)
    }
    assert len(keys) == 2
    run = start(emptied, tmp_path / "run", epochs=1, validation_fraction=0.1)
    assert view.exchanged in done_of(run)["selection_remark"]


def test_without_any_foreground_to_validate_on_the_loss_chooses(
    binary_store, tmp_path, capsys
) -> None:
    emptied = empty_some(binary_store, tmp_path / "store", lambda _: True)
    run = start(emptied, tmp_path / "run", epochs=3, patience=9)
    rows = log_of(run)
    assert all("val_dsc" not in row for row in rows)
    losses = [float(row["val_total"]) for row in rows]
    done = done_of(run)
    assert done["selected_by"] == "validation loss"
    assert done["best_epoch"] == 1 + losses.index(min(losses))
    assert "no validation case shows foreground" in done["selection_remark"]
    told = capsys.readouterr().err
    assert "validation DSC" not in told.replace("selected", "") and "no validation case" in told


def test_equal_scores_are_told_apart_by_the_loss(binary_store, tmp_path, monkeypatch) -> None:
    said = {0: (0.0, 0.9), 1: (0.0, 0.7), 2: (0.0, 0.8)}

    def fixed(self) -> None:
        self._counts[:] = 0
        score, loss = said[self.current_epoch]
        self.log("val_dsc", score)
        self.log("val_total", loss)

    monkeypatch.setattr(TrainedNetwork, "on_validation_epoch_end", fixed)
    run = start(binary_store, tmp_path / "run", epochs=3)
    assert done_of(run)["best_epoch"] == 2
    assert "3 epochs had the same validation DSC (0.0)" in done_of(run)["selection_remark"]
    patient = start(binary_store, tmp_path / "patient", epochs=3, patience=1)
    assert done_of(patient)["last_epoch"] == 3  # epoch 2 was the better by its loss


def test_the_only_foreground_is_left_to_training(binary_store, tmp_path) -> None:
    drawn = drawn_for_validation(binary_store)
    cases = open_store(binary_store).cases
    training = [i for i, c in enumerate(cases) if c.split == "train" and c.case not in drawn]
    emptied = empty_some(binary_store, tmp_path / "store", lambda i: i != training[0])
    view = open_training_view(emptied, validation_fraction=0.1)
    assert view.exchanged is None and view.train.has_foreground
