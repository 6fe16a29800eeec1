"""HarmonizedLoss on a volume, with a network and tensors of MONAI."""

import torch
from monai.data import MetaTensor
from monai.networks.nets import BasicUNet

from harmoseg import HarmonizedLoss

network = BasicUNet(spatial_dims=3, in_channels=1, out_channels=3, features=(8, 8, 16, 16, 16, 8))
loss = HarmonizedLoss("multiclass", include_background=False)
volume = MetaTensor(torch.rand(1, 1, 32, 32, 32))
labels = MetaTensor(torch.randint(0, 3, (1, 1, 32, 32, 32)))
loss(network(volume), labels).backward()
