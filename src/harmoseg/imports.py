"""Objects that are named by an import path, or by a file and a name in it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.files import sha256_of

_HASHES: dict[str, str | None] = {}


def import_object(path: str, what: str) -> Any:
    """Import ``package.module.Name``, or ``path/to/file.py:name``.

    A module is one of the installed packages, or of the current folder. Raises HarmosegError, which
    begins with `what`, where it cannot be imported.
    """
    file, is_file, name = path.rpartition(".py:")
    try:
        if is_file:
            return getattr(_load(Path(f"{file}.py")), name)
        module, _, name = path.rpartition(".")
        return getattr(_import_module(module), name)
    except Exception as error:  # any mistake in a user's file
        raise HarmosegError(
            f"{what} {path}: cannot be imported ({type(error).__name__}: {error}); write "
            "package.module.Name, from an installed package or from a file in the current folder, "
            "or path/to/file.py:Name"
        ) from error


def hash_object(path: str, what: str) -> str | None:
    """Hash the files of an imported object: that of the module named, and that which defines it.

    None where there is no file, as for compiled code.
    """
    if path not in _HASHES:
        found = import_object(path, what)
        file, is_file, _ = path.rpartition(".py:")
        module = None if is_file else sys.modules[path.rpartition(".")[0]]
        files = {f"{file}.py" if is_file else getattr(module, "__file__", None)}
        if not is_file:
            with suppress(TypeError):  # an instance, or compiled code
                files.add(inspect.getfile(found))
        hashes = sorted(sha256_of(Path(file)) for file in files if file)
        _HASHES[path] = hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else None
    return _HASHES[path]


def _import_module(name: str) -> Any:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    finally:
        if added:
            sys.path.remove(here)


def _load(file: Path) -> Any:
    """Run a file as a module of its own, once."""
    name = f"harmoseg_file_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
