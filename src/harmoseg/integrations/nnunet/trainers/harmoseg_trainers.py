"""nnU-Net trainers with the spectral term.

nnU-Net puts this folder on Python's path and imports the file as ``harmoseg_trainers``; from
elsewhere it is ``harmoseg.integrations.nnunet.trainers.harmoseg_trainers``.
"""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from harmoseg.integrations.nnunet.loss import NNUNetSettings, make_loss
from harmoseg.losses.spectral import Bands

_DEVICE = torch.device("cuda")  # nnU-Net's own default


class nnUNetTrainerHarmonized(nnUNetTrainer):  # noqa: N801  # nnU-Net finds trainers by such names
    """nnU-Net's trainer on the paper's objective: CE or BCE + (1 - Dice) + 0.2 (1 - SCC).

    But for the spectral term it is `nnUNetTrainer`, which is therefore its control. A subclass may
    set `spectral_weight` and `bands`, see `harmoseg.HarmonizedLoss`.
    """

    spectral_weight: float = 0.2
    bands: Bands = None

    def _build_loss(self) -> nn.Module:
        """Make the loss; nnU-Net calls this when the network is built."""
        configuration, labels = self.configuration_manager, self.label_manager
        scales = self._get_deep_supervision_scales()
        settings = NNUNetSettings(
            regions=labels.has_regions,
            ignore_label=labels.ignore_label,
            batch_dice=configuration.batch_dice,
            spacing=tuple(map(float, configuration.spacing)),
            scales=None if scales is None else tuple(tuple(map(float, s)) for s in scales),
            distributed=self.is_ddp,
        )
        # As nnU-Net: uncompiled DDP stops where an output of the network has no gradient at all.
        last_weight = 1e-6 if self.is_ddp and not self._do_i_compile() else 0.0
        return make_loss(
            settings,
            spectral_weight=self.spectral_weight,
            bands=self.bands,
            last_weight=last_weight,
        )


class nnUNetTrainerHarmonizedRings(nnUNetTrainerHarmonized):  # noqa: N801
    """The same with ``bands="rings"``: every octave of the spectrum counts equally."""

    bands: Bands = "rings"


class nnUNetTrainerHarmonized_5epochs(nnUNetTrainerHarmonized):  # noqa: N801
    """`nnUNetTrainerHarmonized` for a try, as nnU-Net has trainers of 5 epochs."""

    # nnU-Net reads the names of these arguments, so that they cannot be *args.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = _DEVICE,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 5


class nnUNetTrainerHarmonizedRings_5epochs(nnUNetTrainerHarmonized_5epochs):  # noqa: N801
    """`nnUNetTrainerHarmonizedRings` for a try."""

    bands: Bands = "rings"
