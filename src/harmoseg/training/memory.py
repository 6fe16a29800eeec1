"""What to do where memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harmoseg.errors import HarmosegError
from harmoseg.training.experiment import Experiment


@contextmanager
def explaining_lack_of_memory(experiment: Experiment) -> Iterator[None]:
    """Turn running out of memory, as PyTorch reports it, into HarmosegError that says what to do.

    A system that kills a process without a word cannot be caught.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        options = experiment.options
        raise HarmosegError(
            f"out of memory with batch_size {options.batch_size} of {experiment.height} x "
            f"{experiment.width} and encoder {options.encoder}; in a new folder, "
            + _what_to_do(experiment)
        ) from error


def _is_lack_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # What PyTorch's allocators of the CPU say on Linux and macOS, and on Windows.
    text = str(error).lower()
    return "can't allocate memory" in text or "not enough memory" in text


def _what_to_do(experiment: Experiment) -> str:
    options = experiment.options
    half = max(2, options.batch_size // 2)
    fewer = (
        f"use --batch-size {half} with --accumulate {2 * options.accumulate}, "
        if half < options.batch_size
        else "use "
    )
    return (
        f"{fewer}a smaller --size at harmoseg prepare, or an encoder smaller than {options.encoder}"
    )
