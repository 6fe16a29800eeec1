"""Writing so that nothing is ever half there: a temporary name first, then a rename."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.locks import drop_lock, is_locked, take_lock

_LOCK = ".lock"
_SECONDS_TO_LOCK = 2.0
_READ_AT_ONCE = 1 << 18


@contextmanager
def folder_in_progress(out: Path, *, mark: str, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `out` that becomes `out` when the block ends well.

    When the block fails or is interrupted the temporary folder is removed and `out` is as it was.
    `mark` is the file that every folder of this kind holds: only such a folder is ever replaced.
    What an earlier process left when it was killed is cleared away first. Raises HarmosegError
    where `out` exists (unless `overwrite`) or cannot be written.
    """
    _clear_leftovers(out)
    check_replaceable(out, mark=mark, overwrite=overwrite)
    make_folder(out.parent)
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    except OSError as error:
        raise unwritable(out, error) from error
    lock = take_lock(partial / _LOCK, busy=f"{partial}: another process is writing it")
    try:
        yield partial
        drop_lock(lock)
        partial.chmod(0o755)  # mkdtemp makes it private; a store is meant to be shared
        if out.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
            out.rename(replaced / out.name)
            try:
                partial.rename(out)
            except OSError:
                (replaced / out.name).rename(out)
                raise
            finally:
                shutil.rmtree(replaced, ignore_errors=True)
        else:
            partial.rename(out)
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        drop_lock(lock)
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(out: Path, *, mark: str, overwrite: bool) -> None:
    """Raise HarmosegError where `out` exists and is not to be replaced, or holds something else."""
    if out.exists() and not overwrite:
        raise HarmosegError(
            f"{out}: exists already; choose another output, or pass --overwrite true to replace it"
        )
    if out.exists() and not (out / mark).is_file():
        raise HarmosegError(
            f"{out}: holds something else ({mark} is missing), so it is not replaced; choose "
            "another output"
        )


def _clear_leftovers(out: Path) -> None:
    """Undo what a killed process left beside `out`: half a new folder, or the one it replaced."""
    if not out.parent.is_dir():
        return
    for path in out.parent.iterdir():
        kinds = [k for k in ("partial", "old") if path.name.startswith(f".{out.name}.{k}-")]
        if not kinds or path.is_symlink() or not _is_abandoned(path):
            continue
        if kinds == ["old"] and not out.exists() and (path / out.name).exists():
            (path / out.name).rename(out)
        shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        # A younger folder may be one that its process has made but not locked yet.
        if time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK:
            return False
    except OSError:
        return False
    return not is_locked(folder / _LOCK)


def make_folder(path: Path) -> None:
    """Create a folder and its parents; raise HarmosegError where that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step, so that a reader never sees half of it."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, readable and with its keys in the given order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """Read a JSON object, or raise HarmosegError saying that `path` is no readable `what`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HarmosegError(f"{path}: no such file; expected {what}") from error
    except (OSError, ValueError) as error:
        raise HarmosegError(f"{path}: {what} cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise HarmosegError(f"{path}: expected {what} with a JSON object, found something else")
    return value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header; None becomes an empty field, a float all of its digits."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def read_csv(path: Path, *, columns: Sequence[str], what: str) -> list[dict[str, str]]:
    """Read a CSV file that must have `columns`; raise HarmosegError naming what is missing."""
    try:
        # utf-8-sig: spreadsheet programs put a byte-order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                raise HarmosegError(
                    f"{path}: {what} lacks the column(s) {', '.join(sorted(missing))}; found "
                    f"{', '.join(reader.fieldnames or ['nothing'])}"
                )
            return list(reader)
    except FileNotFoundError as error:
        raise HarmosegError(f"{path}: no such file; expected {what}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HarmosegError(f"{path}: {what} cannot be read ({error})") from error


def sha256_of(path: Path) -> str:
    """Hash a file's content."""
    hashed = hashlib.sha256()
    # Not hashlib.file_digest, which takes and clears a quarter of a megabyte for every file: of
    # thousands of small ones that is more work than their hashes.
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_READ_AT_ONCE):
            hashed.update(block)
    return hashed.hexdigest()


def check_schema(found: object, expected: int, path: Path, *, cure: str) -> None:
    """Raise HarmosegError unless the artefact at `path` has the schema this version reads."""
    if found != expected:
        raise HarmosegError(
            f"{path}: schema version {found!r}, this version of harmoseg reads {expected}; {cure}"
        )


def unwritable(path: Path, error: OSError) -> HarmosegError:
    """Make the error of a file or folder that cannot be written, as on a full disk."""
    return HarmosegError(f"{path}: cannot be written ({error.strerror or error})")
