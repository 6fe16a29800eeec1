"""How a run is carried out: compiled, logged, measured, on another machine."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from harmoseg import HarmosegError
from harmoseg.inference.saved_model import ModelInfo
from harmoseg.training import experiment as experiment_module
from harmoseg.training.options import Execution, TrainingOptions
from harmoseg.training.run import EpochLog, train
from harmoseg.training.run_costs import forget_peak_memory, peak_memory

TINY = TrainingOptions(
    encoder="tu-test_resnet", epochs=2, batch_size=4, validation_fraction=0.25, precision="fp32"
)


without_vectors = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="PyTorch's compiler writes vector code, which its headers lack at this capability",
)


def start(
    store: Path, out: Path, execution: Execution | None = None, **changes: object
) -> list[dict[str, str]]:
    options = replace(TINY, **changes)
    train(store, out, method="unet+scc", seed=0, options=options, execution=execution)
    with (out / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_loggers_are_written_beside_the_log(binary_store, tmp_path) -> None:
    names = ["tensorboard", "csv", "csv", "lightning.pytorch.loggers.CSVLogger"]
    rows = start(binary_store, tmp_path / "run", Execution(loggers=names))
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents*"))
    assert (tmp_path / "run" / "lightning_logs").is_dir()  # where the class itself writes
    with (tmp_path / "run" / "csv" / "metrics.csv").open(newline="") as stream:
        logged = [row for row in csv.DictReader(stream) if row.get("train_total")]
    assert [float(row["train_total"]) for row in logged] == pytest.approx(
        [float(row["train_total"]) for row in rows]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "loggers: 'tensorbord' is unknown; expected tensorboard, csv, or the"),
        ("torch.nn.Linear", "'torch.nn.Linear' is no Lightning logger"),
        ("lightning.pytorch.loggers.No", "loggers.No: cannot be imported .*has no attribute 'No'"),
        ("nowhere.at.all.Logger", "loggers: nowhere.* cannot be imported .*No module named 'no"),
    ],
)
def test_unknown_loggers_are_named_and_claim_nothing(binary_store, tmp_path, name, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        start(binary_store, tmp_path / "run", Execution(loggers=[name]))
    assert not (tmp_path / "run").exists()


def test_a_logger_that_is_not_installed_says_how_to_install_it(
    binary_store, tmp_path, monkeypatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr("harmoseg.training.logs.TensorBoardLogger", missing)
    with pytest.raises(HarmosegError, match="pip install 'harmoseg.loggers.'"):
        start(binary_store, tmp_path / "run", Execution(loggers=["tensorboard"]))


def test_a_logger_that_cannot_be_made_is_named(binary_store, tmp_path, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("no tracking server")

    monkeypatch.setattr("harmoseg.training.logs.CsvLogger", broken)
    with pytest.raises(HarmosegError, match="csv cannot be made .*TypeError: no tracking server"):
        start(binary_store, tmp_path / "run", Execution(loggers=["csv"]))


@without_vectors
def test_compiled_training_gives_the_losses_of_eager_training(
    binary_store, tmp_path, monkeypatch
) -> None:
    def small(self: ModelInfo, **_: object) -> nn.Module:  # the compiler takes minutes for a UNet
        layers = nn.Sequential(
            nn.Conv2d(self.channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, self.channels_out, 3, padding=1),
        )
        return layers.to(memory_format=torch.channels_last)

    monkeypatch.setattr(ModelInfo, "build", small)
    changes = {"validation_fraction": 0.0, "select": "last"}
    eager = start(binary_store, tmp_path / "eager", **changes)
    compiled = start(binary_store, tmp_path / "compiled", Execution(compile=True), **changes)
    found, expected = ([float(row["train_total"]) for row in rows] for rows in (compiled, eager))
    # Four steps of sums of 72 and of 4,096 float32 terms: each is off by 64 roundings of 6e-8.
    assert found == pytest.approx(expected, rel=1e-4)
    names = [set(load_file(tmp_path / n / "weights.safetensors")) for n in ("eager", "compiled")]
    assert names[0] == names[1]  # no _orig_mod


def test_a_continued_run_keeps_its_precision_on_another_machine(
    binary_store, tmp_path, monkeypatch
) -> None:
    log_epoch = EpochLog.on_train_epoch_end

    def stop_in_epoch_two(self, trainer, pl_module) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        log_epoch(self, trainer, pl_module)

    def resolves_to(precision: str) -> None:
        monkeypatch.setattr(
            experiment_module,
            "resolve_precision",
            lambda asked: precision if asked == "auto" else asked,
        )

    out = tmp_path / "run"
    resolves_to("fp32")
    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_epoch_end", stop_in_epoch_two)
        with pytest.raises(KeyboardInterrupt):
            start(binary_store, out, precision="auto")
    resolves_to("bf16")
    start(binary_store, out, precision="auto")
    assert "precision: fp32" in (out / "experiment.yaml").read_text()
    with pytest.raises(HarmosegError, match="precision: 'bf16' instead of 'fp32'"):
        start(binary_store, out, precision="bf16")


def test_a_finished_run_says_what_it_cost(binary_store, tmp_path) -> None:
    start(binary_store, tmp_path / "run")
    done = json.loads((tmp_path / "run" / "done.json").read_text())
    assert done["images_per_second"] > 0
    assert 0 <= done["waiting_for_data"] < 1
    assert done["peak_memory_bytes"] > 1e8  # PyTorch alone takes more
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["processor"] and environment["cores"] >= 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets")
def test_peak_memory_is_that_of_this_run() -> None:
    size = 300_000_000
    forget_peak_memory()
    before = peak_memory()
    big = torch.ones(size, dtype=torch.uint8)
    with_big = peak_memory()
    del big
    assert peak_memory() == pytest.approx(with_big, rel=0.01)  # a peak does not fall by itself
    forget_peak_memory()
    assert with_big - before == pytest.approx(size, rel=0.1)
    assert peak_memory() < with_big - 0.9 * size


def test_one_batch_per_epoch_has_no_step_to_measure(binary_store, tmp_path) -> None:
    start(binary_store, tmp_path / "run", batch_size=9)
    done = json.loads((tmp_path / "run" / "done.json").read_text())
    assert done["images_per_second"] is None and done["waiting_for_data"] is None


def test_the_fused_optimiser_steps_as_the_plain_one_and_always_alike() -> None:
    def weights_after_three_steps(fused: bool) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(50, 50)
        optimizer = torch.optim.SGD(  # so small a rate that steps do not enlarge what rounding does
            layer.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4, fused=fused
        )
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.randn(8, 50)).square().sum().backward()
            optimizer.step()
        return layer.weight.detach()

    fused, again = weights_after_three_steps(True), weights_after_three_steps(True)
    assert torch.equal(fused, again)  # the same operations
    # Sums of 50 and of 8 terms in float32 (6e-8), three times, against weights of up to 0.14.
    torch.testing.assert_close(fused, weights_after_three_steps(False), rtol=1e-5, atol=1e-6)


def test_checkpointed_training_ends_as_training_that_keeps_everything(
    binary_store, tmp_path
) -> None:
    for name, execution in (("kept", Execution()), ("again", Execution(checkpointing=True))):
        start(binary_store, tmp_path / name, execution=execution)
    # Exactly: what is computed again is computed by the same operations.
    kept, again = (load_file(tmp_path / name / "weights.safetensors") for name in ("kept", "again"))
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_checkpointing_and_several_devices_exclude_each_other() -> None:
    with pytest.raises(HarmosegError, match="checkpointing works on one device"):
        Execution(checkpointing=True, devices=2)


def test_a_continued_run_keeps_what_the_csv_logger_had(binary_store, tmp_path, monkeypatch) -> None:
    log_epoch, out = EpochLog.on_train_epoch_end, tmp_path / "run"

    def stop_in_epoch_two(self, trainer, module) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        log_epoch(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_epoch_end", stop_in_epoch_two)
        with pytest.raises(KeyboardInterrupt):
            start(binary_store, out, Execution(loggers=["csv"]), epochs=3)
    rows = start(binary_store, out, Execution(loggers=["csv"]), epochs=3)
    with (out / "csv" / "metrics.csv").open(newline="") as stream:
        logged = [row for row in csv.DictReader(stream) if row.get("train_total")]
    assert len(rows) == 3
    # Lightning holds what it logs in float32: a relative rounding of 2^-24.
    assert [float(row["train_total"]) for row in logged] == pytest.approx(
        [float(row["train_total"]) for row in rows], rel=2**-23
    )
