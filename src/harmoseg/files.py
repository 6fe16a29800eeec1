"""Files that are never half there: written under a temporary name, then renamed."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.locks import drop_lock, is_locked, take_lock

_LOCK = ".lock"
PARTIAL = ".partial-"
"""Prefix of the names of files and folders that are not whole yet."""
_ENDING = re.compile(r"((\.nii)?\.[A-Za-z0-9]{1,8})?$")
_TRUTH = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NUMBER = re.compile(
    r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.Inf|\.INF)$"
    r"|^\.(?:nan|NaN|NAN)$"
)
_LONG = 200
"""Bytes of a name that leave room for what temporary names add: names end at 255 bytes."""
_SECONDS_TO_LOCK = 2.0
_READ_AT_ONCE = 1 << 18


@contextmanager
def folder_in_progress(out: Path, *, mark: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `out` that becomes `out` when the block ends well.

    When the block fails or is interrupted the temporary folder is removed and `out` is as it was.
    `mark` is the file that every folder of this kind holds: only such a folder is ever replaced.
    What an earlier process left when it was killed is cleared away first. Raises HarmosegError
    where `out` exists (unless `overwrite`) or cannot be written.
    """
    _clear_leftovers(out)
    check_replaceable(out, mark=mark, overwrite=overwrite)
    make_folder(out.parent)
    try:
        partial = Path(tempfile.mkdtemp(prefix=_prefix(out, "partial"), dir=out.parent))
    except OSError as error:
        raise unwritable(out, error) from error
    lock = take_lock(partial / _LOCK, busy=f"{partial}: another process is writing it")
    try:
        yield partial
        drop_lock(lock)
        partial.chmod(0o755)  # mkdtemp makes it private; a store is meant to be shared
        if out.exists():
            replaced = Path(tempfile.mkdtemp(prefix=_prefix(out, "old"), dir=out.parent))
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
            f"{out}: exists already; choose another output, or pass --overwrite to replace it"
        )
    if out.exists() and not (out / mark).is_file():
        raise HarmosegError(
            f"{out}: holds something else ({mark} is missing), so it is not replaced; choose "
            "another output"
        )


def _prefix(out: Path, kind: str) -> str:
    """Begin the name of a temporary folder; the name of `out` stays in it unless it is long."""
    name = os.fsencode(out.name)
    shown = out.name if len(name) <= _LONG else hashlib.sha256(name).hexdigest()[:16]
    return f".{shown}.{kind}-"


def _clear_leftovers(out: Path) -> None:
    """Undo what a killed process left beside `out`: half a new folder, or the one it replaced."""
    with suppress(OSError):  # what cannot be cleared stays; writing says what is wrong
        for path in list(out.parent.iterdir()) if out.parent.is_dir() else ():
            kinds = [k for k in ("partial", "old") if path.name.startswith(_prefix(out, k))]
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


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` that becomes `path` when the block ends well.

    The temporary name is short and ASCII, whatever the name of `path` is, and has its ending. When
    the block fails, the temporary file is removed and `path` is as it was. Raises HarmosegError
    where the file cannot be written; an error of the block is never hidden by one of cleaning up.
    """
    ending = _ENDING.search(path.name)
    partial = path.with_name(f"{PARTIAL}{secrets.token_hex(6)}{ending[0] if ending else ''}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        discard(partial)


def discard(path: Path) -> None:
    """Remove a file, if that is possible: cleaning up must not hide what went wrong before."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def printable(text: str) -> str:
    r"""Spell what is no Unicode in a file's name as ``\udcXX``: UTF-8 cannot hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step, so that a reader never sees half of it."""
    write_bytes(path, printable(text).encode("utf-8"))


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace a file in one step."""
    with whole_file(path) as partial:
        partial.write_bytes(data)


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
    with (
        whole_file(path) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_text(path: Path, *, what: str, errors: str = "strict") -> str:
    """Read a text file that a person may have made: UTF-8, or UTF-16 with its byte-order mark.

    Raises HarmosegError where it cannot be read, naming the line that is neither.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise HarmosegError(f"{path}: no such file; expected {what}") from error
    except OSError as error:
        raise HarmosegError(f"{path}: {what} cannot be read ({error.strerror or error})") from error
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        # utf-8-sig: spreadsheet programs put a byte-order mark before the first column's name.
        return data.decode("utf-16" if utf16 else "utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise HarmosegError(
            f"{path}: {what} cannot be read: line {line} is no UTF-8 (byte "
            f"0x{data[error.start]:02x}); save the file as UTF-8"
        ) from error


def read_yaml(path: Path, *, what: str) -> dict[str, Any]:
    """Read a YAML mapping that a person wrote, by the rules of YAML 1.2.

    Those of 1.1 make a truth value of the class names no and yes, and text of 1e-1. Raises
    HarmosegError saying what is wrong with `path`, and `what` was expected.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012  # the base class declares it
            first: [
                (tag, pattern)
                for tag, pattern in found
                if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
            ]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _TRUTH, list("tTfF"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    text = read_text(path, what=what)
    try:
        values = yaml.load(text, Loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        raise HarmosegError(f"{path}: not YAML ({error})") from error
    if values is None:
        raise HarmosegError(f"{path}: empty; expected {what}")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise HarmosegError(f"{path}: expected {what}, as lines of NAME: VALUE")
    return values


def read_csv(
    path: Path, *, columns: Sequence[str], what: str, cut_off: bool = False
) -> list[dict[str, str]]:
    """Read a CSV file that must have `columns`; raise HarmosegError naming what is missing.

    With `cut_off`, rows that are not whole are left out: a process that is killed leaves such.
    """
    text = read_text(path, what=what, errors="replace" if cut_off else "strict")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise HarmosegError(
                f"{path}: {what} lacks the column(s) {', '.join(sorted(missing))}; found "
                f"{', '.join(reader.fieldnames or ['nothing'])}"
            )
        rows = []
        for row in reader:
            more = any(row.pop(None, ()))
            lacking = [name for name in columns if row[name] is None]
            if cut_off and (lacking or more):
                continue
            if lacking or more:
                problem = f"lacks its {' and '.join(lacking)}" if lacking else "has too many fields"
                raise HarmosegError(
                    f"{path}: {what}: line {reader.line_num} {problem}; expected "
                    f"{', '.join(reader.fieldnames or ())}"
                )
            rows.append(row)
    except csv.Error as error:
        raise HarmosegError(f"{path}: {what} cannot be read ({error})") from error
    return rows


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
