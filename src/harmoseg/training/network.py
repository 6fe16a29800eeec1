"""The network in training: one step, one validation, one optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from harmoseg.inference.predictor import labels_of_logits
from harmoseg.inference.saved_model import ModelInfo
from harmoseg.losses.method import is_imported_model, parse_method
from harmoseg.losses.named import Moment
from harmoseg.metrics import aggregate, confusion_counts
from harmoseg.models.create import check_imported
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
from harmoseg.training.objective import Objective
from harmoseg.training.ranks import rank, summed, synchronise_batch_norm, world_size


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
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)

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


def build_network(experiment: Experiment, info: ModelInfo) -> torch.nn.Module:
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
