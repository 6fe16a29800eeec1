"""The experiment that determines a run: options, resolved and written down with the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harmoseg.errors import HarmosegError
from harmoseg.files import check_schema, sha256_of, write_text
from harmoseg.imports import hash_object
from harmoseg.inference.options import resolve_precision
from harmoseg.losses.method import is_imported_model, parse_method
from harmoseg.losses.named import source_hash
from harmoseg.store.card import Card, TaskMode
from harmoseg.store.training_view import TrainingView
from harmoseg.training.options import TrainingOptions

SCHEMA = 1
EXPERIMENT_FILE = "experiment.yaml"


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run, with nothing left to choose.

    `store_fingerprint`, `weights_sha256`, `loss_sha256` and `model_sha256` (of the file of a loss
    or a network that is named by its import path) stand for contents, so that moving a file changes
    nothing; `validation_exchanged` names the group that validates where the draw held no
    foreground; `store_name`, `mode`, `classes`, `height`, `width` and `channels` are what the
    network was made for.
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
    model_sha256: str | None = None
    validation_exchanged: str | None = None

    @property
    def key(self) -> str:
        """Hash what determines the run: equal keys, equal runs."""
        return hashlib.sha256(json.dumps(self._identity()).encode()).hexdigest()[:12]

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
        if self.model_sha256 is None:
            del values["model_sha256"]  # likewise
        if is_imported_model(parse_method(self.method).model):
            options["encoder"] = options["weights"] = None  # which such a network does not have
        if options["optimizer"] == "sgd":
            del options["optimizer"]  # runs before there was a choice have none
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
    model_hash = hash_object(parsed.model, "model") if is_imported_model(parsed.model) else None
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
        model_sha256=model_hash,
        validation_exchanged=view.exchanged,
    )


def write_experiment(run: Path, experiment: Experiment) -> None:
    """Write what determines a run into its folder, for people and for `read_experiment`."""
    values = {"schema": SCHEMA, **asdict(experiment), "classes": list(experiment.classes)}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_text(run / EXPERIMENT_FILE, text)


def read_experiment(run: Path) -> Experiment:
    """Read what determines a run, finished or not; raise HarmosegError where there is none."""
    file = run / EXPERIMENT_FILE
    if not file.is_file():
        raise HarmosegError(
            f"{run}: not a run ({EXPERIMENT_FILE} is missing); make one with: harmoseg train --help"
        )
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(values, Mapping):
            raise TypeError("not a mapping")
        fields = dict(values)
        check_schema(fields.pop("schema", None), SCHEMA, file, cure="train again")
        options = TrainingOptions(**fields.pop("options"))
        return Experiment(options=options, **{**fields, "classes": tuple(fields["classes"])})
    except HarmosegError:
        raise
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise HarmosegError(
            f"{file}: not the experiment of a run ({error}); train again in a new folder"
        ) from error
