"""One lock: what holds it, what does not, and file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys

import pytest

from harmoseg import HarmosegError
from harmoseg.locks import LockedError, drop_lock, is_locked, locked, take_lock
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train

_HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from harmoseg.locks import take_lock\n"
    "lock = take_lock(Path(sys.argv[1]), busy='')\n"
    "print('held', flush=True)\n"
    "time.sleep(600)\n"
)


@pytest.fixture
def no_locks(monkeypatch):
    """Let the file system answer as one without locks."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path) -> None:
    file = tmp_path / "lock"
    with locked(file, busy="first"):
        assert is_locked(file)
        with pytest.raises(LockedError, match="somebody is at it"):
            take_lock(file, busy="somebody is at it")
    assert not is_locked(file) and not list(tmp_path.iterdir())


def test_a_killed_process_holds_nothing(tmp_path) -> None:
    file = tmp_path / "lock"
    command = [sys.executable, "-c", _HOLD, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert is_locked(file)
        process.kill()
    drop_lock(take_lock(file, busy="a process that is gone"))


@pytest.mark.usefixtures("no_locks")
def test_a_file_stands_in_where_there_are_no_locks(tmp_path) -> None:
    file = tmp_path / "lock"
    with locked(file, busy="first"), pytest.raises(LockedError, match="second"):
        take_lock(file, busy="second")
    with locked(file, busy="again"):
        pass


def test_a_folder_that_cannot_be_written_is_no_contention(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HarmosegError, match="cannot be locked") as raised:
        take_lock(tmp_path / "file" / "lock", busy="busy")
    assert not isinstance(raised.value, LockedError)


def test_two_trainings_of_one_run_are_told_apart(binary_store, tmp_path) -> None:
    options = TrainingOptions(encoder="resnet18", epochs=1, batch_size=4)
    with (
        locked(tmp_path / ".run.training", busy="this test"),
        pytest.raises(HarmosegError, match="another process is training this run"),
    ):
        train(binary_store, tmp_path / "run", method="unet", seed=0, options=options)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_locks")
def test_training_and_preparing_work_where_there_are_no_locks(binary_store, tmp_path) -> None:
    from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom

    prepare_phantom(PhantomOptions(tmp_path / "store", mode="binary", count=8, size=32))
    options = TrainingOptions(encoder="resnet18", epochs=1, batch_size=4)
    train(binary_store, tmp_path / "run", method="unet", seed=0, options=options)
    assert {path.name for path in tmp_path.iterdir()} == {"store", "run"}
