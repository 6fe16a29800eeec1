"""Trainers for nnU-Net v2: its own objective and the spectral term.

nnU-Net (2.8 or newer) looks for trainers in the folders that its variable ``nnUNet_extTrainer``
names. ``python -m harmoseg.integrations.nnunet`` prints the one to put there::

    export nnUNet_extTrainer=$(python -m harmoseg.integrations.nnunet)
    nnUNetv2_train 27 2d 0 -tr nnUNetTrainerHarmonized
"""

from __future__ import annotations

from pathlib import Path


def trainer_folder() -> Path:
    """Return the folder that nnU-Net is to search for trainers; it holds nothing else."""
    return Path(__file__).parent / "trainers"
