"""HarmonizedLoss in a Lightning module, its terms logged."""

import lightning.pytorch as pl
import torch

from harmoseg import HarmonizedLoss, create_model


class Segmenter(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.loss = create_model("unet", encoder="resnet18"), HarmonizedLoss("binary")

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        self.log_dict(terms := self.loss.terms(self.network(batch[0]), batch[1]))
        return terms["total"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)
