"""Where libraries keep encoder weights that they download: below HARMOSEG_CACHE, if that is set."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

_PLACES = {"HF_HUB_CACHE": "huggingface", "TORCH_HOME": "torch"}


def place_caches(environment: MutableMapping[str, str]) -> None:
    """Put downloads below the folder HARMOSEG_CACHE, except where a library is told otherwise."""
    folder = environment.get("HARMOSEG_CACHE")
    if folder:
        for name, place in _PLACES.items():
            environment.setdefault(name, str(Path(folder).expanduser() / place))
