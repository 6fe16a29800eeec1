"""What memory a training needs, said before the first batch, and what to do where it runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harmoseg.errors import HarmosegError
from harmoseg.messages import LOGGER
from harmoseg.store.card import channels_out
from harmoseg.training.experiment import Experiment
from harmoseg.training.network import TrainedNetwork

_OVERHEAD = 1.1
"""What a process takes over what is counted: gradients of activations, workspaces of convolutions,
gaps between blocks. On a CPU the peaks of UNet in bf16 and fp32 and of TransUNet in bf16 (224
pixels, batch 8) were 1.12, 1.09 and 1.00 times the count."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def estimate_memory(network: TrainedNetwork, batch_size: int) -> int:
    """Estimate the bytes that training a batch takes, the libraries themselves not counted.

    Parameters, their gradients and momenta, and what the backward pass needs: counted on batches of
    one and of two images without computing anything, and continued in a straight line.
    """
    one, two = (_saved_by(network, count) for count in (1, 2))
    parameters = sum(value.nbytes for value in network.parameters())
    buffers = sum(value.nbytes for value in network.buffers())
    return round(
        _OVERHEAD * (3 * parameters + buffers + _casts(network) + (two - one) * batch_size)
    )


def saved_bytes(call: Callable[[], object]) -> int:
    """Count the bytes that `call` keeps for a backward pass, every storage once.

    That pass cannot be made afterwards.
    """
    kept: dict[int, Tensor] = {}
    nothing = torch.empty(0)

    def keep(tensor: Tensor) -> Tensor:
        # Held until the end, so that no storage takes another's place.
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return nothing

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            call()
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    finally:
        # The graph holds this function, which would hold the graph: a circle that no collector of
        # Python's can see, with the network's weights in it.
        kept.clear()


def _saved_by(network: TrainedNetwork, batch: int) -> int:
    """Count what a batch keeps, weights included, with tensors that have a shape and no data."""
    experiment = network.experiment
    space = (experiment.height, experiment.width)
    # Without an imported loss: what its code does with tensors that hold nothing is unknown.
    loss = network.loss.harmonized
    channels = channels_out(experiment.mode, experiment.classes)
    # Once for real: the rings of a size are kept for later, and must be real then.
    loss(torch.zeros(1, channels, *space), torch.zeros(1, *space, dtype=torch.long))
    was_training = network.training
    # Evaluation keeps the same tensors, and takes a single image.
    network.eval()
    try:
        with (
            # Really computed, two small batches would leave behind hundreds of megabytes of kernels
            # that the CPU's library makes for every shape.
            FakeTensorMode(allow_non_fake_inputs=True),
            torch.enable_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=experiment.options.precision == "bf16"),
        ):
            images = torch.zeros((batch, experiment.channels, *space), dtype=torch.uint8)
            labels = torch.zeros((batch, *space), dtype=torch.long)
            return saved_bytes(lambda: loss(network.logits(images), labels))
    finally:
        network.train(was_training)


def _casts(network: TrainedNetwork) -> int:
    """Count the copies of the weights in bfloat16 that autocast keeps for a step."""
    if network.experiment.options.precision != "bf16":
        return 0
    return sum(value.nbytes // 2 for value in network.parameters() if value.ndim > 1)


def available_memory() -> int | None:
    """Give the free bytes of the GPU where there is one, else of the machine; None if unknown."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    free = [value for value in (_free_of_machine(), _free_of_container()) if value is not None]
    return min(free, default=None)


def tell_memory(network: TrainedNetwork, *, devices: int) -> None:
    """Log what a batch will take, and warn where there is not as much.

    `devices` share every batch; without a GPU they also share the memory.
    """
    batch_size = network.experiment.options.batch_size
    needed = estimate_memory(network, math.ceil(batch_size / devices))
    if not torch.cuda.is_available():
        needed *= devices
    LOGGER.info("about %s of memory for batch %d", _gigabytes(needed), batch_size)
    free = available_memory()
    if free is not None and needed > free:
        LOGGER.warning(
            "only %s of memory are free, this will probably not fit; %s",
            _gigabytes(free),
            _what_to_do(network.experiment),
        )


@contextmanager
def explaining_lack_of_memory(experiment: Experiment) -> Iterator[None]:
    """Turn running out of memory, as PyTorch reports it, into HarmosegError that says what to do.

    A system that kills a process without a word cannot be caught; what `tell_memory` says remains.
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


def _free_of_machine() -> int | None:
    """Read what Linux says is available."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    words = fields.get("MemAvailable", "").split()
    return 1024 * int(words[0]) if words else None


def _free_of_container() -> int | None:
    """Read what the control group leaves, which a container's memory is bounded by."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_CGROUP / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"
