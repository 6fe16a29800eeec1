"""What determines a run: the options a person gives, resolved and written down with the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from harmoseg.errors import HarmosegError
from harmoseg.files import check_schema, sha256_of
from harmoseg.losses.imported import source_hash
from harmoseg.losses.method import parse_method
from harmoseg.models.precision import Precision, resolve_precision
from harmoseg.store.card import Card, TaskMode
from harmoseg.store.training_view import TrainingView

SCHEMA = 1


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained; the defaults are the paper's where the paper says.

    Args:
        encoder: Encoder of the network, any of segmentation-models-pytorch.
        weights: Encoder weights: a local .safetensors file, or imagenet to download them; absent,
            the encoder starts at random (the paper's starts from ImageNet).
        epochs: Passes over the training part.
        batch_size: Images per step.
        learning_rate: Initial learning rate of SGD, decayed polynomially to 0.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        decay_power: Power of the polynomial decay.
        augment: Flip and rotate the training images.
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
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_power: float = 0.9
    augment: bool = True
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


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run, with nothing left to choose.

    `store_fingerprint`, `weights_sha256` and `loss_sha256` (of the file of a loss that is named by
    its import path) stand for contents, so that moving a file changes nothing;
    `validation_exchanged` names the group that validates where the draw held no foreground;
    `store_name`,
    `mode`, `classes`, `height`, `width` and `channels` are what the network was made for.
    """

    method: str
    seed: int
    options: TrainingOptions
    weights_sha256: str | None
    store_name: str
    store_fingerprint: str
    mode: TaskMode
    classes: tuple[str, ...]
    height: int
    width: int
    channels: int
    loss_sha256: str | None = None
    validation_exchanged: str | None = None

    @property
    def key(self) -> str:
        """Hash what determines the run: equal keys, equal runs."""
        return hashlib.sha256(json.dumps(self._identity()).encode()).hexdigest()[:12]

    @property
    def channels_out(self) -> int:
        """Count the network's output channels: 1 for binary, else one per class."""
        return 1 if self.mode == "binary" else len(self.classes)

    def differences(self, other: Experiment) -> list[str]:
        """Name the fields in which another experiment differs, with both values."""
        mine, theirs = self._identity(), other._identity()
        return [
            f"{name}: {mine.get(name)!r} instead of {theirs.get(name)!r}"
            for name in {**mine, **theirs}
            if mine.get(name) != theirs.get(name)
        ]

    def _identity(self) -> dict[str, Any]:
        values = asdict(self)
        options = values.pop("options")
        del options["no_contract"]  # it says whether a run is trained, not what it is
        if self.weights_sha256 is not None:
            options["weights"] = None  # the hash says more than the path
        if self.loss_sha256 is None:
            del values["loss_sha256"]  # most runs have none, and their keys must stay what they are
        if self.validation_exchanged is None:
            del values["validation_exchanged"]  # likewise
        return {**values, **options, "schema": SCHEMA, "classes": list(self.classes)}


def resolve_experiment(
    method: str, seed: int, options: TrainingOptions, view: TrainingView
) -> Experiment:
    """Settle everything that was left open. Raises HarmosegError for an unknown method."""
    store = view.info
    if not 0 <= seed < 2**32:
        raise HarmosegError(f"seed must be at least 0 and below 2^32, got {seed}")
    weights_sha256 = None
    if options.weights is not None and options.weights != "imagenet":
        path = Path(options.weights)
        if not path.is_file():
            raise HarmosegError(
                f"weights: {path} is no file; give a local .safetensors file, or imagenet to "
                "download"
            )
        weights_sha256 = sha256_of(path)
    card: Card = store.card
    parsed = parse_method(method)
    return Experiment(
        method=str(parsed),
        seed=seed,
        options=replace(options, precision=resolve_precision(options.precision)),
        weights_sha256=weights_sha256,
        store_name=card.name,
        store_fingerprint=store.fingerprint,
        mode=card.mode,
        classes=card.classes,
        height=store.height,
        width=store.width,
        channels=store.channels,
        loss_sha256=source_hash(parsed.losses),
        validation_exchanged=view.exchanged,
    )


def experiment_to_yaml(experiment: Experiment) -> str:
    """Write an experiment for people and for `experiment_from_yaml`."""
    values = {"schema": SCHEMA, **asdict(experiment), "classes": list(experiment.classes)}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def experiment_from_yaml(text: str, path: Path) -> Experiment:
    """Read what `experiment_to_yaml` wrote; raise HarmosegError naming `path` if it is not that."""
    try:
        values = yaml.safe_load(text)
        if not isinstance(values, Mapping):
            raise TypeError("not a mapping")
        fields = dict(values)
        check_schema(fields.pop("schema", None), SCHEMA, path, cure="train again")
        options = TrainingOptions(**fields.pop("options"))
        return Experiment(options=options, **{**fields, "classes": tuple(fields["classes"])})
    except HarmosegError:
        raise
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise HarmosegError(
            f"{path}: not the experiment of a run ({error}); train again in a new folder"
        ) from error
