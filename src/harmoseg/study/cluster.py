"""Carry out a study's runs as jobs: on a SLURM cluster, or on this machine by the same code.

Jobs go through submitit. What became of one is read from the study's own files, never from the
pickles that submitit leaves; whether it has ended, from SLURM's queue, which needs no accounting.
A job has the name of its run, so that a study whose command was killed finds its jobs again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder
from harmoseg.messages import LOGGER
from harmoseg.study.jobs import is_done, main
from harmoseg.study.options import Resources
from harmoseg.study.runner import Executor, Outcome, ending_by_sigterm
from harmoseg.study.study_files import Work, failure_file, keep_failure, read_failures

FOLDER = "cluster"
_ATTEMPTS = 3
"""A job that was stopped, by a time limit or for another one, is submitted so often in all."""
_SECONDS_BETWEEN_LOOKS = 2.0
_GRACE = 20.0
"""Seconds that files of a job may be late on a network file system, once its end is known."""
_ENDED = frozenset(
    (
        *("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("BOOT_FAIL", "DEADLINE", "PREEMPTED", "REVOKED"),
    )
)
Kind = Literal["local", "slurm"]


def on_cluster(kind: Kind, jobs: int, resources: Resources) -> Executor:
    """Carry out `jobs` works at a time, each as a job. Raises HarmosegError without submitit."""
    if jobs < 1:
        raise HarmosegError(f"jobs must be 1 or more, got {jobs}")
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise HarmosegError(
            "--cluster needs submitit, which is not installed; install it with: pip install "
            "'harmoseg[slurm]'"
        ) from error

    def execute(study: Path, works: Sequence[Work]) -> Iterator[Outcome]:
        folder = study / FOLDER
        make_folder(folder)
        submit = _submitter(submitit, kind, folder, resources)
        left = _jobs_left(folder) if kind == "slurm" else {}
        running = [
            _Job(submitit.SlurmJob(folder, left[work.name]), kind, work, 1)
            for work in works
            if work.name in left
        ]
        waiting = [(work, 1) for work in works if work.name not in left]
        for job in running:
            LOGGER.info("job %s is at %s already", job.number, job.work.name)
        with ending_by_sigterm():
            try:
                while waiting or running:
                    while waiting and len(running) < jobs:
                        work, attempt = waiting.pop(0)
                        failure_file(study, work.name).unlink(missing_ok=True)
                        running.append(_Job(submit(study, work), kind, work, attempt))
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    known = _queue() if kind == "slurm" else None
                    for job in [job for job in running if job.has_ended(known)]:
                        running.remove(job)
                        if job.was_stopped(study) and job.attempt < _ATTEMPTS:
                            waiting.append((job.work, job.attempt + 1))
                        else:
                            yield job.work, job.failure(study)
            finally:
                for job in running:
                    job.stop()

    return execute


class _Job:
    """A job that was submitted, and what became of it."""

    def __init__(self, job: Any, kind: Kind, work: Work, attempt: int) -> None:
        self._job = job
        self._kind = kind
        self.work = work
        self.attempt = attempt
        self._gone_since: float | None = None

    @property
    def number(self) -> str:
        """Return the number that the cluster knows the job by."""
        return str(self._job.job_id)

    def has_ended(self, queue: Mapping[str, _Queued] | None) -> bool:
        """Return whether the job is over; `queue` is SLURM's answer, None where it gives none."""
        if self._kind == "local":
            return bool(self._job.state != "RUNNING")
        if queue is None:
            return False  # the controller does not answer: whoever waits may yet learn it
        found = queue.get(self.number)  # forgotten some minutes after its end
        if found is not None and found.state not in _ENDED:
            self._gone_since = None
            return False
        result = self._job.paths.result_pickle
        # Listing the folder makes a network file system look again.
        os.listdir(result.parent)  # noqa: PTH208
        self._gone_since = self._gone_since or time.monotonic()
        return result.exists() or time.monotonic() - self._gone_since >= _GRACE

    def was_stopped(self, study: Path) -> bool:
        """Return whether the job ended without having done its work or failed at it."""
        return not is_done(self.work) and not failure_file(study, self.work.name).is_file()

    def failure(self, study: Path) -> str | None:
        """Return what went wrong; None where nothing did."""
        if is_done(self.work):
            return None
        kept = read_failures(study, [self.work.name]).get(self.work.name)
        if kept is not None:
            return kept
        said = " / ".join(self._last_lines()) or "nothing"
        return keep_failure(
            study,
            self.work.name,
            f"job {self.number} ended {self.attempt} times without a result; it said last: "
            f"{said}; see {FOLDER} of the study",
        )

    def stop(self) -> None:
        """Ask the job to save and end."""
        if self._kind == "slurm":
            # One that waits takes no signal, and would start when nobody follows it any more.
            _call("scancel", "--state=PENDING", self.number)
            _call("scancel", "--signal=TERM", "--full", self.number)
            return
        with suppress(OSError):  # it has ended by itself
            os.kill(int(self.number), signal.SIGTERM)
        while self._job.state == "RUNNING":
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _last_lines(self) -> list[str]:
        try:
            text = self._job.paths.stderr.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [line.strip() for line in text.strip().splitlines()[-2:]]


def _submitter(
    submitit: Any, kind: Kind, folder: Path, resources: Resources
) -> Callable[[Path, Work], Any]:
    try:
        executor = submitit.AutoExecutor(
            folder, cluster=kind, **({"slurm_python": sys.executable} if kind == "slurm" else {})
        )
    except RuntimeError as error:
        raise HarmosegError(
            f"--cluster {kind}: {error}; start the study where sbatch and srun can be called"
        ) from error
    executor.update_parameters(
        timeout_min=resources.time,
        cpus_per_task=resources.cpus,
        nodes=1,
        tasks_per_node=1,
        mem_gb=resources.memory,
        gpus_per_node=resources.gpus or None,
        slurm_partition=resources.partition,
        # In place of submitit's own signal, which would end a step without saving. A second start
        # of a job by SLURM itself would run beside one of ours.
        slurm_additional_parameters={"signal": "TERM@120", "no-requeue": True},
    )

    def submit(study: Path, work: Work) -> Any:
        executor.update_parameters(name=work.name)
        try:
            return executor.submit(main, str(study.resolve()), work.name)
        except submitit.core.utils.FailedJobError as error:
            raise HarmosegError(
                f"the cluster refused a job: {error}; see --partition, --time, --cpus, --gpus and "
                "--memory"
            ) from error

    return submit


class _Queued(NamedTuple):
    """A job in SLURM's queue."""

    state: str
    name: str


def _queue() -> dict[str, _Queued] | None:
    """Ask SLURM for one's own jobs by number; None where it does not answer."""
    told = _call("squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%j")
    if told is None:
        return None
    rows = (line.strip().split("|", 2) for line in told.splitlines() if line.count("|") >= 2)
    return {number: _Queued(state, name) for number, state, name in rows}


def _jobs_left(folder: Path) -> dict[str, str]:
    """Find the jobs that a killed command of this study has left behind, by names of their runs."""
    return {
        job.name: number
        for number, job in (_queue() or {}).items()
        if job.state not in _ENDED and (folder / f"{number}_submission.sh").is_file()
    }


def _call(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
