"""HarmonizedLoss in a plain PyTorch loop."""

import torch

from harmoseg import HarmonizedLoss

network = torch.nn.Conv2d(3, 1, 3, padding=1)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
loss = HarmonizedLoss("binary")
for _ in range(3):
    images, masks = torch.rand(4, 3, 32, 32), (torch.rand(4, 1, 32, 32) > 0.7).float()
    optimizer.zero_grad()
    loss(network(images), masks).backward()
    optimizer.step()
