"""What a run outlives: kills, signals, damaged checkpoints, full disks."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import time
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harmoseg import HarmosegError
from harmoseg.cli.main import main
from harmoseg.training import run as run_module
from harmoseg.training.interrupts import Stopping
from harmoseg.training.options import Execution, TrainingOptions
from harmoseg.training.run import train

OPTIONS = TrainingOptions(
    encoder="tu-test_resnet", epochs=3, batch_size=4, validation_fraction=0.25, precision="fp32"
)
EVERY_STEP = Execution(checkpoint_minutes=0)


def start(store: Path, out: Path, options: TrainingOptions = OPTIONS) -> None:
    train(store, out, method="unet+scc", seed=0, options=options, execution=EVERY_STEP)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights.safetensors")


def assert_same_run(found: Path, expected: Path) -> None:
    # Exactly: the same operations, in this process or in one like it.
    one, other = weights_of(found), weights_of(expected)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert (found / "log.csv").read_text() == (expected / "log.csv").read_text()


def steps_of(run: Path) -> list[int]:
    return sorted(int(file.name[4:12]) for file in (run / "checkpoints").glob("step*.ckpt"))


@pytest.fixture(scope="module")
def uninterrupted(binary_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(binary_store, out, method="unet+scc", seed=0, options=OPTIONS)
    return out


def in_another_process(target, *arguments: object) -> ForkServerProcess:
    """Start a process that need not import everything anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harmoseg.training.run"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def silently(function, *arguments: object) -> None:
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    function(*arguments)


def command(store: Path, out: Path) -> None:
    options = ["--encoder=tu-test_resnet", "--epochs=3", "--batch_size=4", "--precision=fp32"]
    fixed = ["--validation_fraction=0.25", "--checkpoint_minutes=0"]
    with Path(out.parent / "told").open("w") as told:
        os.dup2(told.fileno(), 2)
    raise SystemExit(main(["train", str(store), "--out", str(out), *options, *fixed]))


def wait_for(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(binary_store, tmp_path) -> None:
    options = replace(OPTIONS, epochs=30)  # of two steps
    start(binary_store, tmp_path / "whole", options)
    out, draw, to_a_step, kills = tmp_path / "run", np.random.default_rng(0), 0.0, 0
    while kills < 10:
        begun = time.monotonic()
        process = in_another_process(silently, start, binary_store, out, options)
        if kills % 2:  # anywhere, before the first step too
            time.sleep(draw.uniform(0, to_a_step))
        else:  # so that there is progress
            before = max(steps_of(out), default=0)
            wait_for(
                lambda b=before: max(steps_of(out), default=0) > b or (out / "done.json").exists()
            )
            to_a_step = time.monotonic() - begun  # on a slow machine more than on a quick one
            time.sleep(draw.uniform(0, 0.1 * to_a_step))
        process.kill()
        process.join()
        if (out / "done.json").exists():
            break
        kills += 1
    assert kills >= 5, "the run ended before it was killed often enough"
    start(binary_store, out, options)
    assert_same_run(out, tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_first(binary_store, uninterrupted, tmp_path, number, status) -> None:
    out = tmp_path / "run"
    process = in_another_process(command, binary_store, out)
    wait_for(lambda: steps_of(out))
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == status
    assert "it continues" in (tmp_path / "told").read_text()
    assert not (out / "done.json").exists()
    start(binary_store, out)
    assert_same_run(out, uninterrupted)


def interrupted(store: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *, epoch: int) -> None:
    log_epoch = run_module.EpochLog.on_train_epoch_end

    def stop(self, trainer, module) -> None:
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        log_epoch(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(run_module.EpochLog, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            start(store, out)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    binary_store, uninterrupted, tmp_path, monkeypatch, capsys
) -> None:
    out = tmp_path / "run"
    interrupted(binary_store, out, monkeypatch, epoch=2)
    newest = max((out / "checkpoints").glob("step*.ckpt"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    (out / "checkpoints" / "step00000099-half.ckpt").write_bytes(b"no checkpoint of ours")
    start(binary_store, out)
    told = capsys.readouterr().err
    assert f"{newest}: damaged" in told and "the one before it" in told
    assert_same_run(out, uninterrupted)


def test_a_run_moved_half_way_remembers_its_best_epoch(
    binary_store, uninterrupted, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "run"
    interrupted(binary_store, out, monkeypatch, epoch=2)
    moved = out.rename(tmp_path / "moved")
    start(binary_store, moved)
    assert_same_run(moved, uninterrupted)


def test_two_checkpoints_are_kept(binary_store, tmp_path, monkeypatch) -> None:
    out = tmp_path / "run"
    interrupted(binary_store, out, monkeypatch, epoch=2)
    assert steps_of(out) == [4, 5]


def train_on_a_full_disk(store: Path, out: Path) -> None:
    # As on a full disk, files end early: a checkpoint has more than a mebibyte.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        start(store, out)
    except HarmosegError as error:
        (out.parent / "told").write_text(str(error))


def test_a_full_disk_stops_cleanly(binary_store, uninterrupted, tmp_path) -> None:
    out = tmp_path / "run"
    process = in_another_process(silently, train_on_a_full_disk, binary_store, out)
    process.join()
    assert "cannot be written (File too large); make room" in (tmp_path / "told").read_text()
    assert list((out / "checkpoints").iterdir()) == []  # nothing half-written
    start(binary_store, out)
    assert_same_run(out, uninterrupted)


def test_the_batch_that_diverged_is_named_and_kept(binary_store, tmp_path) -> None:
    out = tmp_path / "run"
    options = TrainingOptions(
        encoder="tu-test_resnet", epochs=1, batch_size=4, learning_rate=1e30, precision="fp32"
    )
    with pytest.raises(HarmosegError, match="the loss is not finite") as caught:
        start(binary_store, out, options)
    told = json.loads((out / "diverged.json").read_text())
    assert len(told["cases"]) == 4 and all(name in str(caught.value) for name in told["cases"])
    with np.load(out / "diverged.npz", allow_pickle=False) as kept:
        assert kept["images"].shape == (4, 1, 32, 32) and kept["labels"].shape == (4, 32, 32)
    assert told["terms"]["total"] == "nan"


@pytest.mark.parametrize(
    ("losses", "diverges"),
    [
        ([2.0] * 5 + [5.0] * 50, False),  # bad, but no divergence
        ([2.0] * 5 + [2.0, 30.0, 2.0, 2.0], False),  # one hard batch
        ([2.0] * 5 + [8.0] * 50, True),
        ([0.1] * 5 + [2.0] * 50, False),  # a run continued from good weights
        ([2.0, float("nan")], True),
    ],
)
def test_what_counts_as_divergence(tmp_path, losses, diverges) -> None:
    # A learning rate of 10 on real images took the third way: normalisation keeps numbers finite.
    stopping = Stopping(tmp_path, ["a"], checkpoints=None)
    trainer = SimpleNamespace(
        current_epoch=0, optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])]
    )
    module = SimpleNamespace(device=torch.device("cpu"))
    batch = (torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1, dtype=torch.long))
    said = None
    for i, loss in enumerate(losses):
        again = Stopping(tmp_path, ["a"], checkpoints=None)
        again.load_state_dict(stopping.state_dict())  # as a run that continues
        try:
            again.on_train_batch_end(trainer, module, {"terms": {"total": loss}}, batch, i)
        except HarmosegError as error:
            said = str(error)
            break
        stopping = again
    assert (said is not None) == diverges
