"""Named losses of frequencies: focal frequency, complex wavelet mutual information."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harmoseg.losses.modes import Mode, Pair, one_hot, probabilities
from harmoseg.losses.shelf import ShelfLoss, check_option


class FocalFrequencyLoss(ShelfLoss):
    """The mean of w |P - Y|^2 over the frequencies of probabilities and truth.

    The transforms are orthonormal; w = |P - Y|^alpha over its largest value in the channel, and
    takes no part in the gradient. With alpha 0 this is the mean squared error, by Parseval's
    theorem.

    Source: Jiang et al., Focal Frequency Loss for Image Reconstruction and Synthesis, ICCV 2021,
    eq. 8 to 10, there on images, here on masks.
    """

    def __init__(self, mode: Mode, *, alpha: float = 1.0, **shared: Any) -> None:
        super().__init__(mode, **shared)
        check_option("alpha", alpha, fits=alpha >= 0, expected="0 or more")
        self.alpha = alpha

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        pred = self.counted(probabilities(self.mode, pair))
        truth = self.counted(one_hot(self.mode, pair))
        axes = tuple(range(2, pred.ndim))
        parts = torch.view_as_real(torch.fft.fftn(pred - truth, dim=axes, norm="ortho"))
        power = parts.square().sum(-1)
        weight = power.detach() ** (self.alpha / 2)
        largest = weight.amax(axes, keepdim=True)
        return (power * weight / torch.where(largest > 0, largest, 1.0)).mean()


class WaveletInformationLoss(ShelfLoss):
    """The negative mutual information of truth and prediction in complex wavelets.

    At every level of a complex steerable pyramid let S be the covariances of the K orientations,
    summed over the pixels. The loss adds log det(S_yy - S_yp (S_pp + e)^-1 S_py + e) over the
    levels, which is lowest where the prediction determines the truth, and averages over images and
    classes; e = 5e-4. The value grows with the image and can be below 0. Information does not
    depend on the sign: beside cross-entropy only, since alone the loss cannot tell a mask from its
    inverse. 2-D images of 16 pixels or more.

    Departures from the paper: the cross-entropy that the paper adds is the base, and e is added to
    the conditional covariance too, so that an empty mask has a finite loss.

    Source: Lu, Complex Wavelet Mutual Information Loss, ICML 2025 (arXiv 2502.00563), with 4
    levels and 4 orientations; the pyramid is that of Portilla and Simoncelli, IJCV 40 (2000).
    """

    def __init__(
        self, mode: Mode, *, levels: int = 4, orientations: int = 4, **shared: Any
    ) -> None:
        super().__init__(mode, **shared)
        for name, value in (("levels", levels), ("orientations", orientations)):
            fits = isinstance(value, int) and value >= 1
            check_option(name, value, fits=fits, expected="a whole number, 1 or more")
        self.levels, self.orientations = levels, orientations

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        pred = self.counted(probabilities(self.mode, pair))
        truth = self.counted(one_hot(self.mode, pair))
        if pred.ndim != 4 or min(pred.shape[2:]) < 2**self.levels:
            raise ValueError(
                f"cwmi takes 2-D images of {2**self.levels} pixels or more, got logits of shape "
                f"{tuple(pair.logits.shape)}"
            )
        # float64: covariances of a smooth prediction are nearly singular.
        pyramids = (
            steerable_pyramid(x.double(), self.levels, self.orientations) for x in (truth, pred)
        )
        values = [_conditional_log_det(y, p) for y, p in zip(*pyramids, strict=True)]
        return torch.stack(values).sum(0).mean().to(pair.logits.dtype)


_POSITIVE = 5e-4
"""Added to the diagonal of covariances, as in the paper's code."""


def _conditional_log_det(truth: Tensor, pred: Tensor) -> Tensor:
    """Return log det of the truth's covariance given the prediction; features (B, C, K, h, w)."""
    y, p = (x.flatten(3) - x.flatten(3).mean(-1, keepdim=True) for x in (truth, pred))
    identity = _POSITIVE * torch.eye(y.shape[2], dtype=y.dtype, device=y.device)
    cross = y @ p.mH
    explained = cross @ torch.linalg.solve(p @ p.mH + identity, cross.mH)
    factor = torch.linalg.cholesky(y @ y.mH - explained + identity)
    log_det: Tensor = 2 * factor.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
    return log_det


def steerable_pyramid(images: Tensor, levels: int, orientations: int) -> Iterator[Tensor]:
    """Return the oriented bands of images (B, C, H, W), finest first: (B, C, K, h, w), complex.

    The residuals, of the corners of the spectrum and of the coarsest scale, are left out. With them
    the bands would have the images' power, less at most half of what lies at a Nyquist frequency.
    """
    height, width = images.shape[2:]
    rows, columns = (
        torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=images.device).round()
        for n in (height, width)
    )
    spectrum = torch.fft.fft2(images, norm="ortho")
    radius, angle = _polar(rows / height, columns / width)
    spectrum = spectrum * _low_pass(radius, 0.5)
    # Squares of cosines to the power K - 1 add up to 1 / scale^2 over the orientations.
    order = orientations - 1
    scale = 2**order * math.factorial(order)
    scale /= math.sqrt(orientations * math.factorial(2 * order))
    for level in range(levels):
        cut = 0.25 / 2**level
        radius, angle = _polar(rows / height, columns / width)
        high = (1 - _low_pass(radius, cut).square()).clamp_min(0).sqrt()
        bands = []
        for k in range(orientations):
            cosine = torch.cos(angle - math.pi * k / orientations)
            # One side of the spectrum only, so that bands are complex; the root keeps the power.
            steered = torch.where(cosine > 1e-12, scale * cosine.abs() ** order, 0.0)
            bands.append(torch.fft.ifft2(spectrum * (math.sqrt(2) * high * steered), norm="ortho"))
        yield torch.stack(bands, 2)
        spectrum = spectrum * _low_pass(radius, cut)
        # Nothing is left above `cut`: half of the frequencies are enough.
        kept = [x.abs() <= len(x) / 4 for x in (rows, columns)]
        rows, columns = rows[kept[0]], columns[kept[1]]
        spectrum = spectrum[..., kept[0], :][..., kept[1]]


def _polar(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return radius, in cycles per pixel, and angle of every frequency."""
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.hypot(x, y), torch.atan2(y, x)


def _low_pass(radius: Tensor, cut: float) -> Tensor:
    """Return a filter: 1 up to half of `cut`, 0 from `cut`, a cosine of the octave between."""
    octave = torch.log2((2 * radius / cut).clamp(1, 2))
    return torch.cos(math.pi / 2 * octave)
