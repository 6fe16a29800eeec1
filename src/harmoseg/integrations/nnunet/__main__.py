"""``python -m harmoseg.integrations.nnunet``: print the folder for ``nnUNet_extTrainer``."""

from __future__ import annotations

from harmoseg.integrations.nnunet import trainer_folder

if __name__ == "__main__":
    print(trainer_folder())
