"""Options of a training: those that determine it, and those of its execution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harmoseg.errors import HarmosegError
from harmoseg.inference.options import Precision

_MOST_OF_ADAMW = 0.005


@dataclass(frozen=True)
class TrainingOptions:
    """Options of training; the defaults are the paper's where the paper says.

    Args:
        encoder: Encoder of the network, any of segmentation-models-pytorch.
        weights: Encoder weights: a local .safetensors file, or imagenet to download them; absent,
            the encoder starts at random (the paper's starts from ImageNet).
        epochs: Passes over the training part.
        batch_size: Images per step.
        optimizer: sgd, as the paper, or adamw.
        learning_rate: Initial learning rate, decayed polynomially to 0; for adamw 0.0003 is usual.
        momentum: Momentum of SGD.
        weight_decay: Weight decay.
        decay_power: Power of the polynomial decay.
        augment: Flip and rotate the training images as the paper does; strong also scales and
            bends them and changes brightness, contrast, colour and sharpness; false does nothing.
        validation_fraction: Share of the training part that validates where the store has no val
            split of its own.
        select: Which weights a run selects: best by validation DSC, or last. Where best is another
            epoch than the last, last.safetensors keeps the last one's too.
        precision: bf16 (bfloat16 autocast) or fp32; auto takes bf16 where the processor has it.
        validate_every: Epochs between two validations; the last epoch is always validated. The best
            epoch is chosen among those validated.
        patience: Stop after so many validations in a row without a better one; 0 trains all epochs.
        clip_norm: Scale the gradients of a step down to this norm where theirs is larger; 0 never.
        accumulate: Batches whose gradients are averaged for one step of the optimiser.
        no_contract: Train also with an objective that cannot lead to the truth; what is wrong with
            it is kept with the run.
    """

    encoder: str = "resnet50"
    weights: str | None = None
    epochs: int = 60
    batch_size: int = 8
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_power: float = 0.9
    augment: bool | Literal["strong"] = True
    validation_fraction: float = 0.1
    select: Literal["best", "last"] = "best"
    precision: Precision = "auto"
    validate_every: int = 1
    patience: int = 0
    clip_norm: float = 0.0
    accumulate: int = 1
    no_contract: bool = False

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first option that cannot be."""
        limits = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more (batch normalisation needs two)"),
            "optimizer": (self.optimizer in ("sgd", "adamw"), "sgd or adamw"),
            "augment": (self.augment in (True, False, "strong"), "true, false or strong"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "momentum": (0 <= self.momentum < 1, "at least 0 and below 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "decay_power": (self.decay_power >= 0, "0 or more"),
            "validation_fraction": (0 <= self.validation_fraction < 1, "at least 0 and below 1"),
            "validate_every": (self.validate_every >= 1, "1 or more"),
            "patience": (self.patience >= 0, "0 (never stop early) or more"),
            "clip_norm": (0 <= self.clip_norm < float("inf"), "0 (never clip) or more"),
            "accumulate": (self.accumulate >= 1, "1 or more"),
        }
        for name, (fits, expected) in limits.items():
            if not fits:
                raise HarmosegError(f"{name} must be {expected}, got {getattr(self, name)}")
        if self.optimizer == "adamw" and self.learning_rate > _MOST_OF_ADAMW:
            raise HarmosegError(
                f"learning_rate is {self.learning_rate:g}, at which AdamW does not learn; the "
                "default is SGD's, name another, such as 0.0003"
            )


@dataclass(frozen=True)
class Execution:
    """Options of execution; none of them is part of what determines a run.

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
