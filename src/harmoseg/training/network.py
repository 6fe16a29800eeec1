"""The network in training with its objective: one step, one validation, one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.diagnostics.training_guard import check_objective
from harmoseg.errors import HarmosegError
from harmoseg.inference.predictor import labels_of_logits
from harmoseg.inference.saved_model import ModelInfo
from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.method import BANDS, Method, is_imported_model, parse_method
from harmoseg.losses.named import Moment, make_loss
from harmoseg.metrics import aggregate, confusion_counts
from harmoseg.models.create import check_imported
from harmoseg.store.card import TaskMode
from harmoseg.store.training_view import TrainingView
from harmoseg.store.transforms import (
    apply_strong,
    apply_transforms,
    draw_strong,
    draw_transforms,
    normalise,
)
from harmoseg.training.batches import Batch, seeded_generator
from harmoseg.training.experiment import Experiment
from harmoseg.training.ranks import rank, summed, synchronise_batch_norm, world_size


class Objective(nn.Module):
    """BCE + (1 - Dice), or another base, + the sum of weight x term.

    ``terms(logits, target)`` names every part. `across_ranks` is that of `HarmonizedLoss`. A loss
    named by its import path sees the batch of its own process only, in float32.

    Raises HarmosegError where a loss cannot be imported or made.
    """

    def __init__(self, method: Method, mode: TaskMode, *, across_ranks: bool = False) -> None:
        super().__init__()
        self.mode: TaskMode = mode
        self.method = method
        shared: Any = {"reduction": method.reduction, "across_ranks": across_ranks}
        # Dice and the first term of the spectrum are taken in one sweep with BCE. The correlation
        # is told for every method, and counts in none that does not name it.
        bare = [term for term in method.terms if not term.loss.options]
        swept = next((term for term in bare if term.loss.name in ("scc", *BANDS)), None)
        dice = next((term for term in bare if term.loss.name == "dice"), None)
        bands: Any = swept.loss.name if swept and swept.loss.name != "scc" else None
        self.harmonized = HarmonizedLoss(
            mode, spectral_weight=swept.weight if swept else 0.0, bands=bands, **shared
        )
        self.dice_weight = dice.weight if dice else 0.0
        self.base = None if method.base is None else make_loss(method.base, mode, **shared)
        others = [term for term in method.terms if term is not swept and term is not dice]
        self.weights = [term.weight for term in others]
        self.others = nn.ModuleList(make_loss(term.loss, mode, **shared) for term in others)
        self._mapped = [loss for loss in self._losses if getattr(loss, "takes_map", False)]
        self._scheduled = [loss for loss in self._losses if getattr(loss, "schedule", ())]

    @property
    def takes_maps(self) -> bool:
        """Return whether a loss takes a map of the truth."""
        return bool(self._mapped)

    @property
    def is_scheduled(self) -> bool:
        """Return whether a loss depends on the epoch or on the step."""
        return bool(self._scheduled)

    def make_maps(self, target: NDArray[Any], channels: int) -> tuple[Tensor, ...]:
        """Return the maps of class indices (B, *S) that ``terms`` takes; in any thread."""
        return tuple(loss.make_map(target, channels) for loss in self._mapped)

    def set_moment(self, moment: Moment) -> None:
        """Set the epoch and the step for the losses that depend on them."""
        for loss in self._scheduled:
            loss.moment = moment

    def forward(self, logits: Tensor, target: Tensor, maps: Sequence[Tensor] = ()) -> Tensor:
        """Return the scalar loss."""
        return self.terms(logits, target, maps)["total"]

    def terms(
        self, logits: Tensor, target: Tensor, maps: Sequence[Tensor] = ()
    ) -> dict[str, Tensor]:
        """Return the scalars ``pixel``, ``dice``, ``spectral`` and ``total``.

        Beside them ``base``, where it is another than BCE + Dice, and ``own``, ``own2`` and so on
        for the terms that these are not. Without `maps` the losses make their own.
        """
        given = dict(zip(self._mapped, maps, strict=True)) if maps else {}
        terms = self.harmonized.terms(logits, target)
        if self.base is not None:
            terms["base"] = _ask(self.base, logits, target, given)
            terms["total"] = terms["base"] + self.harmonized.spectral_weight * terms["spectral"]
        if self.dice_weight:
            terms["total"] = terms["total"] + self.dice_weight * terms["dice"]
        pairs = zip(self.others, self.weights, strict=True)
        for number, (loss, weight) in enumerate(pairs, 1):
            name = "own" if number == 1 else f"own{number}"
            terms[name] = _ask(loss, logits, target, given)
            terms["total"] = terms["total"] + weight * terms[name]
        return terms

    @property
    def _losses(self) -> list[Any]:
        return [*([] if self.base is None else [self.base]), *self.others]


def _ask(
    loss: nn.Module, logits: Tensor, target: Tensor, maps: Mapping[nn.Module, Tensor]
) -> Tensor:
    value: Tensor = loss(logits, target, *([maps[loss]] if loss in maps else []))
    return value


class TrainedNetwork(pl.LightningModule):
    """Train one experiment's network with its objective.

    A step returns the loss and its terms. On validation it logs the Dice similarity per case at
    training resolution (``val_dsc``) and the loss (``val_total``). Several processes share every
    batch, and train what one would: sums of the loss and statistics of batch normalisation go
    over all of them.
    """

    def __init__(
        self, experiment: Experiment, info: ModelInfo, *, validation_cases: int = 0
    ) -> None:
        super().__init__()
        self.experiment, self.info = experiment, info
        method = parse_method(experiment.method)
        self.network = build_network(experiment, info)
        # Of several processes the loss is that of the whole batch.
        self.loss = Objective(method, experiment.mode, across_ranks=method.reduction == "batch")
        self._validation_loss = Objective(method, experiment.mode)
        self._counts = np.zeros((validation_cases, len(experiment.classes), 4), np.int64)
        self._loss_sum = torch.zeros(2, dtype=torch.float64)  # of losses, and of slices

    def configure_model(self) -> None:
        """Join the batch statistics of several processes."""
        if self.trainer.world_size > 1:
            self.network = synchronise_batch_norm(self.network, self.trainer.strategy.root_device)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Augment, predict, and return the loss with its terms."""
        images, labels, _, *maps = batch
        if not maps:
            # Byte for byte from the memory map to the device; the rest is done there.
            images, labels = self._augment(self.current_epoch, batch_idx, images, labels)
        self.loss.set_moment(self._moment(batch_idx))
        terms = self.loss.terms(self.logits(images), labels.long(), *maps)
        self.log("loss", terms["total"].detach(), prog_bar=True, logger=False)
        told = {name: value.detach() for name, value in terms.items()}
        return {"loss": terms["total"], "terms": told}

    def prepare(self, epoch: int, number: int, batch: Batch) -> Callable[[], Batch]:
        """Augment a batch on the processor, and return the call that adds the losses' maps."""
        images, labels, owners = batch
        images, labels = self._augment(epoch, number, images, labels)
        channels = self.info.channels_out
        return lambda: (images, labels, owners, self.loss.make_maps(labels.numpy(), channels))

    def on_validation_epoch_start(self) -> None:
        """Validate with the loss of the last training step."""
        self._validation_loss.set_moment(self._moment(int(self.trainer.num_training_batches) - 1))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the overlap of every case, and sum the loss."""
        images, labels, owners = batch
        logits = self.logits(images)
        count, loss = len(images), self._validation_loss(logits, labels.long())
        self._loss_sum += torch.tensor([count * float(loss), count], dtype=torch.float64)
        predicted = labels_of_logits(logits, self.experiment.mode).cpu().numpy()
        classes = len(self.experiment.classes)
        for owner, mask, label in zip(
            owners.tolist(), predicted, labels.cpu().numpy(), strict=True
        ):
            # Slices of a volume count together: the case is what is scored.
            self._counts[owner] += confusion_counts(mask, label, classes)

    def on_validation_epoch_end(self) -> None:
        """Log the DSC per case, and the loss."""
        counts = summed(torch.tensor(self._counts, device=self.device)).cpu().numpy()
        loss, slices = summed(self._loss_sum.to(self.device)).tolist()
        self._counts[:] = 0
        self._loss_sum.zero_()
        score = aggregate("per_image", "DSC", counts).value
        # Without foreground in the truth the score says nothing of the network, also where it is
        # defined: any mark makes it 0. The best epoch is then chosen by the loss.
        if counts[:, 1:, [0, 2]].any():
            # The same in every process already; to say so spares a remark of Lightning's.
            self.log("val_dsc", score, prog_bar=True, sync_dist=True)
        self.log("val_total", loss / slices, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """SGD with polynomial decay at every step of the optimiser."""
        options = self.experiment.options
        common: dict[str, Any] = {
            "lr": options.learning_rate,
            "weight_decay": options.weight_decay,
            # One sweep over each parameter where there were five, on CPU and CUDA.
            "fused": self.device.type in ("cpu", "cuda"),
        }
        parameters = self.network.parameters()
        optimizer: torch.optim.Optimizer
        if options.optimizer == "adamw":
            optimizer = torch.optim.AdamW(parameters, **common)
        else:
            optimizer = torch.optim.SGD(parameters, momentum=options.momentum, **common)
        steps = int(self.trainer.estimated_stepping_batches)

        def decay(step: int) -> float:
            return float(max(0.0, 1 - step / steps) ** options.decay_power)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, decay)
        interval: Literal["step"] = "step"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval},
        }

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, and free the gradients at once: memory is fullest at the end of a forward pass.

        Lightning frees them after the next one.
        """
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm that the options say.

        Here, since Lightning refuses to clip for a fused optimiser, which with a gradient scaler
        would see scaled gradients. bfloat16 needs no scaler.
        """
        limit = self.experiment.options.clip_norm
        if limit > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), limit)

    def _augment(
        self, epoch: int, number: int, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch as seed, epoch and its number in the epoch determine."""
        if not self.experiment.options.augment:
            return images, labels
        generator = seeded_generator(self.experiment.seed, epoch, number + 1)
        # Drawn for the whole batch, of which this process may have a share.
        whole = len(images) * world_size()
        mine = slice(rank(), None, world_size())
        if self.experiment.options.augment == "strong":
            return apply_strong(images, labels, draw_strong(images.shape, whole, generator)[mine])
        drawn = draw_transforms(whole, images.shape[2], images.shape[3], generator)
        return apply_transforms(images, labels, drawn[mine])

    def _moment(self, number: int) -> Moment:
        """Return the moment of a batch, by its number in the current epoch."""
        epoch, epochs = self.current_epoch, self.experiment.options.epochs
        batches = int(self.trainer.num_training_batches)
        return Moment(epoch, epochs, epoch * batches + number, epochs * batches)

    def logits(self, images: Tensor) -> Tensor:
        """Predict from bytes: (B, C, H, W) to logits (B, classes, H, W)."""
        prepared = normalise(images).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(prepared)
        return logits


def check_method(experiment: Experiment) -> list[str]:
    """Return what to know of an experiment's objective; raise HarmosegError where it is unfit."""
    method, options = parse_method(experiment.method), experiment.options
    objective = Objective(method, experiment.mode)
    check = partial(
        check_objective,
        objective,
        mode=experiment.mode,
        classes=len(experiment.classes),
        space=(experiment.height, experiment.width),
        refuse=not options.no_contract,
    )
    try:
        remarks = check(method.losses)
        if objective.is_scheduled:  # it was asked at the end of training; at the beginning too
            objective.set_moment(Moment(0, options.epochs, 0, options.epochs))
            remarks += [f"at the first step, {remark}" for remark in check(())]
        return remarks
    except HarmosegError as error:
        raise HarmosegError(f"method {experiment.method!r}: {error}") from error


def build_network(experiment: Experiment, info: ModelInfo) -> nn.Module:
    """Build the network of an experiment; one of somebody's own is checked first."""
    if not is_imported_model(info.name):
        return info.build(weights=experiment.options.weights)
    network = info.build()
    space = (experiment.height, experiment.width)
    check_imported(info.name, network, experiment.channels, info.channels_out, space)
    return network


def model_info(experiment: Experiment, view: TrainingView) -> ModelInfo:
    """Describe the network of an experiment, for the store that it is trained on."""
    return ModelInfo(
        name=parse_method(experiment.method).model,
        encoder=experiment.options.encoder,
        card=view.info.card,
        height=experiment.height,
        width=experiment.width,
        channels=experiment.channels,
        volumes=view.volumes,
        trained={
            "method": experiment.method,
            "seed": experiment.seed,
            "store": experiment.store_name,
            "store_fingerprint": experiment.store_fingerprint,
            "precision": experiment.options.precision,
            "encoder_weights": experiment.weights_sha256 or experiment.options.weights,
            "run": experiment.key,
            **({"source": experiment.model_sha256} if experiment.model_sha256 else {}),
        },
    )
