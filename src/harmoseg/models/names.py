"""The names of networks and of a model's files, apart from all code: they import nothing heavy."""

from __future__ import annotations

from pathlib import Path

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
_RUN_FILE = "experiment.yaml"
"""What an unfinished run has already: it is no model yet, and no store either."""


def is_model(path: Path) -> bool:
    """Return whether a folder is, or is about to be, a model rather than a store."""
    return any((path / name).is_file() for name in (MODEL_FILE, WEIGHTS_FILE, _RUN_FILE))
