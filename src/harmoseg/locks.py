"""One lock for everything that two processes must not do at once."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from harmoseg.errors import HarmosegError

_NO_LOCKS = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EIO}
)
"""Errors of a file system without locks, as some clusters have."""


class LockedError(HarmosegError):
    """Report that another process holds a lock."""


def take_lock(file: Path, *, busy: str) -> BaseFileLock:
    """Take the lock of a file, which is made where it is missing, and return it.

    The system lets go of it however the process ends. Where the file system has no locks, a file
    that names process and machine stands in for it; one left by a process of this machine that is
    gone counts for nothing.

    Raises LockedError with the message `busy` where another process holds it, and HarmosegError
    where the file cannot be made.
    """
    try:
        return _taken(FileLock(file, timeout=0, thread_local=False), busy)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _unusable(file, error) from error
    with suppress(OSError):
        file.unlink(missing_ok=True)  # made before the lock was asked for
    try:
        return _taken(SoftFileLock(file.with_name(f"{file.name}.soft"), timeout=0), busy)
    except OSError as error:
        raise _unusable(file, error) from error


def drop_lock(lock: BaseFileLock) -> None:
    """Release a lock and remove its file, so that finished work leaves none."""
    with suppress(OSError):
        # While it is held: whoever waits for the file that is gone looks again.
        Path(lock.lock_file).unlink(missing_ok=True)
    with suppress(OSError):
        lock.release(force=True)


def is_locked(file: Path) -> bool:
    """Return whether another process holds the lock of a file."""
    if not file.exists() and not file.with_name(f"{file.name}.soft").exists():
        return False
    try:
        lock = take_lock(file, busy="")
    except HarmosegError:
        return True
    with suppress(OSError):
        lock.release(force=True)
    return False


@contextmanager
def locked(file: Path, *, busy: str) -> Iterator[None]:
    """Hold the lock of a file within a block; raises as `take_lock` does."""
    lock = take_lock(file, busy=busy)
    try:
        yield
    finally:
        drop_lock(lock)


def _taken(lock: BaseFileLock, busy: str) -> BaseFileLock:
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(busy) from error
    return lock


def _unusable(file: Path, error: OSError) -> HarmosegError:
    return HarmosegError(f"{file}: cannot be locked ({error.strerror or error})")
