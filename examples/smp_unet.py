"""HarmonizedLoss with a network of segmentation-models-pytorch, several classes, rings."""

import segmentation_models_pytorch as smp
import torch

from harmoseg import HarmonizedLoss

network = smp.Unet("resnet18", encoder_weights=None, classes=4)
loss = HarmonizedLoss("multiclass", bands="rings", ignore_index=255)
images, masks = torch.rand(2, 3, 64, 64), torch.randint(0, 4, (2, 64, 64))
value = loss(network(images), masks)
value.backward()
