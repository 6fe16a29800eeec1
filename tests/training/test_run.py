"""A run folder: made, continued, refused."""

from __future__ import annotations

import csv
import gc
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harmoseg import HarmosegError
from harmoseg.training import run as run_module
from harmoseg.training.network import TrainedNetwork
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import EpochLog, open_run, train

TINY = TrainingOptions(encoder="tu-test_resnet", epochs=3, batch_size=4, validation_fraction=0.25)


def start(store: Path, out: Path, options: TrainingOptions = TINY, **changes: object) -> None:
    train(store, out, **{"method": "unet+scc", "seed": 0, "options": options, **changes})


@pytest.fixture(scope="module")
def finished(binary_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    start(binary_store, out)
    return out


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_finished_run_explains_itself(finished) -> None:
    # Whether the best epoch is the last, so that no last.safetensors is kept, is up to rounding.
    assert sorted({path.name for path in finished.iterdir()} - {"last.safetensors"}) == [
        "done.json",
        "environment.json",
        "experiment.yaml",
        "log.csv",
        "model.json",
        "weights.safetensors",
    ]
    rows = log_of(finished)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    rates = [float(row["learning_rate"]) for row in rows]
    expected = [0.01 * (1 - done / 3) ** 0.9 for done in (1, 2, 3)]
    assert rates == pytest.approx(expected)  # polynomial decay, read at the end of each epoch
    assert float(rows[-1]["train_total"]) < float(rows[0]["train_total"])
    model = open_run(finished)
    assert model.info.method == "unet+scc" and not model.network.training


def test_training_leaves_neither_signals_nor_networks_behind(binary_store, tmp_path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    others = weights_in_memory()
    for name in ("one", "two"):
        start(binary_store, tmp_path / name, replace(TINY, epochs=1))
    assert [signal.getsignal(number) for number in numbers] == before
    assert weights_in_memory() <= others


def test_a_run_holds_no_earlier_run_in_memory(binary_store, tmp_path, monkeypatch) -> None:
    options, held = replace(TINY, epochs=1), []
    make = run_module.make_trainer

    def count(*arguments: object) -> object:
        parameters = (found for found in gc.get_objects() if type(found) is torch.nn.Parameter)
        held.append(sum(found.numel() > 100_000 for found in parameters))
        return make(*arguments)

    monkeypatch.setattr(run_module, "make_trainer", count)
    for name in ("one", "two", "three"):
        start(binary_store, tmp_path / name, options)
    assert held[2] <= held[1] <= held[0]


def weights_in_memory() -> int:
    """Count the large parameters that something holds, a network or what was made with one."""
    gc.collect()
    parameters = (found for found in gc.get_objects() if type(found) is torch.nn.Parameter)
    return sum(found.numel() > 100_000 for found in parameters)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    binary_store, finished, tmp_path
) -> None:
    start(binary_store, tmp_path / "again")
    start(binary_store, tmp_path / "other", seed=1)
    weights = [
        load_file(path / "weights.safetensors")
        for path in (finished, tmp_path / "again", tmp_path / "other")
    ]
    # Exactly: the same operations.
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    binary_store, finished, tmp_path, monkeypatch
) -> None:
    log_epoch = EpochLog.on_train_epoch_end

    def stop_in_epoch_two(self, trainer, module) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        log_epoch(self, trainer, module)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_epoch_end", stop_in_epoch_two)
        with pytest.raises(KeyboardInterrupt):
            start(binary_store, out)
    assert not (out / "done.json").exists() and any((out / "checkpoints").glob("step*.ckpt"))
    with pytest.raises(HarmosegError, match="not finished .* run the same training command again"):
        open_run(out)
    start(binary_store, out)
    expected, found = (load_file(path / "weights.safetensors") for path in (finished, out))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert log_of(out) == log_of(finished)


def test_a_continued_run_remembers_its_best_epoch(binary_store, tmp_path, monkeypatch) -> None:
    scores = {0: 0.1, 1: 0.9, 2: 0.5}  # the best epoch is the one before the interruption

    def fixed_score(self) -> None:
        self._counts[:] = 0
        self.log("val_dsc", scores[self.current_epoch])

    monkeypatch.setattr(TrainedNetwork, "on_validation_epoch_end", fixed_score)
    out, log_epoch = tmp_path / "run", EpochLog.on_train_epoch_end

    def stop_in_epoch_three(self, trainer, pl_module) -> None:
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt
        log_epoch(self, trainer, pl_module)

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_epoch_end", stop_in_epoch_three)
        with pytest.raises(KeyboardInterrupt):
            start(binary_store, out)
    (file,) = (out / "checkpoints").glob("best-epoch00002-*.safetensors")
    best = load_file(file)
    start(binary_store, out)
    kept = load_file(out / "weights.safetensors")
    assert kept.keys() == best.keys() and all(torch.equal(kept[n], best[n]) for n in kept)


def test_a_mistake_does_not_claim_the_folder(binary_store, tmp_path) -> None:
    for wrong in ({"batch_size": 100}, {"encoder": "resnet_18"}):
        with pytest.raises(HarmosegError):
            start(binary_store, tmp_path / "run", replace(TINY, **wrong))
        assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_trained_again(binary_store, finished, monkeypatch) -> None:
    monkeypatch.setattr(run_module, "TrainedNetwork", None)  # would fail if it were used
    before = (finished / "weights.safetensors").stat().st_mtime_ns
    start(binary_store, finished)
    assert (finished / "weights.safetensors").stat().st_mtime_ns == before


def test_another_configuration_is_refused_and_named(binary_store, phantom_store, finished) -> None:
    with pytest.raises(HarmosegError, match="another configuration .epochs: 9 instead of 3."):
        start(binary_store, finished, replace(TINY, epochs=9))
    with pytest.raises(HarmosegError, match="store_fingerprint"):
        start(phantom_store, finished)


def test_a_folder_that_is_no_run_is_left_alone(binary_store, tmp_path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(HarmosegError, match="exists and is not a run"):
        start(binary_store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_batch_larger_than_the_data_is_named(binary_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="batch_size 10 is larger .* 9 slice.* --batch-size 9"):
        start(binary_store, tmp_path / "run", replace(TINY, batch_size=10))


def test_divergence_is_said(binary_store, tmp_path) -> None:
    options = replace(TINY, learning_rate=1e30, precision="fp32")
    with pytest.raises(HarmosegError, match="diverged in epoch 1, batch .*smaller learning_rate"):
        start(binary_store, tmp_path / "run", options)


def test_last_weights_without_validation(binary_store, tmp_path) -> None:
    options = replace(TINY, epochs=1, validation_fraction=0.0)
    with pytest.raises(HarmosegError, match="select best needs a validation part"):
        start(binary_store, tmp_path / "run", options)
    start(binary_store, tmp_path / "run", replace(options, select="last"))
    assert "val_dsc" not in log_of(tmp_path / "run")[0]
    open_run(tmp_path / "run")


def test_changed_weights_are_refused(binary_store, tmp_path) -> None:
    out = tmp_path / "run"
    start(binary_store, out, replace(TINY, epochs=1))
    file = out / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(HarmosegError, match="changed since it was made"):
        open_run(out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 7\n", "schema version 7"),
        ("- 1\n", "not the experiment"),
        ("schema: 1\n", "not the experiment"),
        ("a: [", "not the experiment"),
        ("!!python/object/apply:os.getcwd []", "not the experiment"),
    ],
)
def test_damaged_experiments_are_named(tmp_path, text, message) -> None:
    (tmp_path / "experiment.yaml").write_text(text)
    with pytest.raises(HarmosegError, match=message):
        open_run(tmp_path)


def test_a_folder_without_experiment_is_no_run(tmp_path) -> None:
    with pytest.raises(HarmosegError, match="not a model"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"batch_size": 1}, "batch_size must be 2 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
    ],
)
def test_impossible_options_are_named(changes, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        TrainingOptions(**changes)


def test_moving_the_weights_file_does_not_make_another_run(binary_store, tmp_path) -> None:
    from safetensors.torch import save_file

    from harmoseg import create_model
    from harmoseg.store.training_view import open_training_view
    from harmoseg.training.experiment import resolve_experiment

    state = create_model("unet", encoder="tu-test_resnet").encoder.state_dict()
    view = open_training_view(binary_store, validation_fraction=0)
    keys = set()
    for name in ("a", "b"):
        save_file(state, tmp_path / f"{name}.safetensors")
        options = replace(TINY, weights=str(tmp_path / f"{name}.safetensors"))
        keys.add(resolve_experiment("unet", 0, options, view).key)
    keys.add(resolve_experiment("unet", 0, TINY, view).key)
    assert len(keys) == 2
