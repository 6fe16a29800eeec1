"""What a mask's spectrum looks like: its power, and the log-magnitude map of the figures."""

from __future__ import annotations

import torch
from torch import Tensor


def power_spectrum(mask: Tensor, *, spatial_dims: int = 2) -> Tensor:
    """Return |P|^2 of a mask (..., *S) at every frequency, in the order of `torch.fft.fftfreq`.

    Scaled so that it adds up to the sum of squares over the pixels. float32 at least.
    """
    axes = tuple(range(-spatial_dims, 0))
    dtype = torch.promote_types(mask.dtype, torch.float32)
    parts = torch.view_as_real(torch.fft.fftn(mask.to(dtype), dim=axes, norm="ortho"))
    power: Tensor = parts.square().sum(-1)
    return power


def log_magnitude(mask: Tensor, *, spatial_dims: int = 2) -> Tensor:
    """Return log(1 + |P|) of a mask (..., *S), the zero frequency in the middle, as it is pictured.

    |P| is the magnitude of the plain, unscaled transform.
    """
    axes = tuple(range(-spatial_dims, 0))
    count = torch.Size(mask.shape[-spatial_dims:]).numel()
    magnitude = (power_spectrum(mask, spatial_dims=spatial_dims) * count).sqrt()
    shifted: Tensor = torch.fft.fftshift(torch.log1p(magnitude), dim=axes)
    return shifted
