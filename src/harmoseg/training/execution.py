"""How a run is carried out, as far as that does not change what it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from harmoseg.errors import HarmosegError


@dataclass(frozen=True)
class Execution:
    """How a run is carried out: nothing here is part of what determines it.

    Args:
        devices: Processes, one per device, that share every batch.
        nodes: Machines that share every batch, each with that many devices.
        checkpoint_minutes: Longest time between two checkpoints; every epoch ends with one too.
        compile: Compile the network (torch.compile): minutes at the start, for steps that are
            faster on some machines. Results agree to rounding.
        checkpointing: Compute the inside of every block of the network a second time instead of
            keeping it: about a third of the memory for a slower step. Results are the same.
        loggers: Where to write what log.csv has, beside it: tensorboard, csv, or the import path of
            a Lightning logger such as lightning.pytorch.loggers.MLFlowLogger.
    """

    devices: int = 1
    nodes: int = 1
    checkpoint_minutes: float = 10.0
    compile: bool = False
    checkpointing: bool = False
    loggers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first option that cannot be."""
        limits = {
            "devices": (self.devices >= 1, "1 or more"),
            "nodes": (self.nodes >= 1, "1 or more"),
            "checkpoint_minutes": (self.checkpoint_minutes >= 0, "0 or more"),
        }
        for name, (fits, expected) in limits.items():
            if not fits:
                raise HarmosegError(f"{name} must be {expected}, got {getattr(self, name)}")
        if self.checkpointing and self.devices * self.nodes > 1:
            # What is computed again would wait for the other processes a second time.
            raise HarmosegError(
                "checkpointing works on one device; leave it out, or use --devices 1"
            )
