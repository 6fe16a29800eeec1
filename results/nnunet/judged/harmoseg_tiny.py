# ruff: noqa: ANN202, B008, D101, N801, N802  (names and defaults are nnU-Net's)
"""Two trainers that differ by the spectral term alone: five epochs of fifty steps."""

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from harmoseg.integrations.nnunet.trainers.harmoseg_trainers import nnUNetTrainerHarmonized


class _Tiny:
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 5
        self.num_iterations_per_epoch = 50
        self.num_val_iterations_per_epoch = 2

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        found = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None  # four times as fast
        return found


class nnUNetTrainerTiny(_Tiny, nnUNetTrainer):
    pass


class nnUNetTrainerHarmonizedTiny(_Tiny, nnUNetTrainerHarmonized):
    pass
