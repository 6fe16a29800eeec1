"""A trainer of one's own: three short epochs, to see that a training runs.

nnU-Net takes several folders, separated as those in PATH are::

    export nnUNet_extTrainer=$(python -m harmoseg.integrations.nnunet):examples/nnunet/trainers
"""

from typing import Any

import torch

from harmoseg.integrations.nnunet.trainers.harmoseg_trainers import nnUNetTrainerHarmonized


class nnUNetTrainerHarmonizedTry(nnUNetTrainerHarmonized):  # noqa: N801
    # nnU-Net reads the names of these arguments, so that they cannot be *args.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 3
        self.num_iterations_per_epoch = 12
        self.num_val_iterations_per_epoch = 4
