"""The spectral correlation objective: over the whole spectrum, over rings, over a window."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from harmoseg.losses.modes import (
    Mode,
    Pair,
    TargetCheck,
    align,
    check_mode,
    one_hot,
    probabilities,
)
from harmoseg.losses.sums import Averaging, sweep
from harmoseg.spectrum import (
    Partition,
    Reduction,
    Window,
    check_reduction,
    correlation_ratio,
    make_partition,
    make_rings,
    radial_frequency,
    ring_ratio,
    spectral_sums,
    window_weights,
)

BandName = Literal["rings", "midrings", "low", "mid", "high"]
Bands = BandName | Tensor | None
MIDRING_EDGES = (1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Edges of the rings of ``"midrings"``, in cycles per pixel."""
MIDRING_WEIGHTS = (1.0, 2**-0.75, 2**-1.5)
"""Weights of these rings, f^(-3/4): so the gradient is spread evenly (results/xray)."""


class SpectralCorrelationLoss(nn.Module):
    """The complement of the spectral correlation coefficient, 1 - SCC (eq. 2 of the paper).

    ``loss(logits, target)`` returns a scalar in [0, 2]; shapes are those of `Mode`. It is the
    spectral term of `HarmonizedLoss`, for those who bring their own spatial objective.

    `bands` says which frequencies count:

    - None: all alike, as in the paper. By Parseval's theorem this is the soft Dice with squared
      denominator, and no transform is run.
    - ``"rings"``: the mean of the correlations in octave-wide rings, each of which counts equally
      however little power it has (Fourier ring correlation as a loss).
    - ``"midrings"``: the weighted mean over the octaves from 1/32 to 1/4 cycles per pixel
      (docs/explanation/what-losses-see.md).
    - ``"low"``, ``"mid"``, ``"high"``: details above 16 pixels, from 4 to 16 pixels, below 4.
    - a tensor (*S) of weights >= 0 in the order of `torch.fft.fftfreq`.

    `spacing`, one value per spatial axis, makes rings and windows round in physical space.

    Ignored pixels are set to 0 in prediction and truth alike before the transform: the two agree
    there whatever stands in the logits, so neither value nor gradient depends on it.

    `ignore_index`, `class_weights`, `include_background`, `reduction` and `across_ranks` are those
    of `HarmonizedLoss`. Raises ValueError for unknown options and for shapes that do not fit.
    """

    class_weights: Tensor | None
    band_weights: Tensor | None

    def __init__(
        self,
        mode: Mode,
        *,
        bands: Bands = None,
        spacing: Sequence[float] | None = None,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | Tensor | None = None,
        include_background: bool = True,
        reduction: Reduction = "batch",
        across_ranks: bool = False,
    ) -> None:
        super().__init__()
        self.mode = check_mode(mode)
        self.check_target = TargetCheck()
        self.ignore_index = ignore_index
        self.bands = _check_bands(bands)
        self.spacing = None if spacing is None else tuple(float(d) for d in spacing)
        if across_ranks and reduction == "sample":
            raise ValueError(
                'across_ranks needs reduction "batch": means over samples are not summed over '
                "processes"
            )
        self.averaging = Averaging(
            self.mode, check_reduction(reduction), include_background, across_ranks
        )
        # Buffers, so that they move with .to(); not persistent: they are options, not state.
        self.register_buffer(
            "class_weights", _as_weights(mode, class_weights, include_background), persistent=False
        )
        weights = bands if isinstance(bands, Tensor) else None
        self.register_buffer("band_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar 1 - SCC."""
        pair = align(self.mode, logits, target, self.ignore_index)
        check_classes(self.class_weights, pair.logits.shape[1])
        self.check_target(self.mode, pair)
        if self.bands is not None:
            return self.of_bands(pair)
        sums = sweep(self.mode, pair)
        pooled = self.averaging.pool(sums.cross, sums.pred_square + sums.truth_square)
        return self.averaging.over_classes(1 - correlation_ratio(*pooled), self.class_weights)

    def of_bands(self, pair: Pair) -> Tensor:
        """Return 1 - SCC over rings, a window or weights, through the transform."""
        pred, truth = probabilities(self.mode, pair), one_hot(self.mode, pair)
        partition = self._partition(pred)
        sums = self.averaging.pool(*spectral_sums(pred, truth, partition))
        if self.bands == "rings":
            values = 1 - ring_ratio(*sums).mean(-1)
        elif self.bands == "midrings":
            # The last ring holds all other frequencies: it says how much power rounding leaves.
            ratios = ring_ratio(*sums)[..., :-1]
            weights = ratios.new_tensor(MIDRING_WEIGHTS)
            values = 1 - (ratios * weights).sum(-1) / weights.sum()
        else:
            values = 1 - correlation_ratio(*sums)[..., 0]
        return self.averaging.over_classes(values, self.class_weights)

    def extra_repr(self) -> str:
        """Show the options in the module's printed form."""
        return f"mode={self.mode!r}, bands={self.bands!r}, reduction={self.averaging.reduction!r}"

    def _partition(self, pred: Tensor) -> Partition:
        shape = tuple(int(length) for length in pred.shape[2:])
        if self.band_weights is None:
            return named_partition(str(self.bands), shape, self.spacing, pred.device, pred.dtype)
        if self.band_weights.shape != shape:
            raise ValueError(
                f"bands must hold one weight per frequency, shape {shape}, got "
                f"{tuple(self.band_weights.shape)}"
            )
        index = torch.zeros(shape, dtype=torch.long, device=self.band_weights.device)
        weights = self.band_weights.double()
        return make_partition(index, weights, device=pred.device, dtype=pred.dtype)


def named_partition(
    bands: str,
    shape: tuple[int, ...],
    spacing: tuple[float, ...] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Partition:
    """Return the partition of a band name for masks of `shape`, one ring for a window."""
    return _make_named_partition(bands, shape, spacing, device, dtype)


# A partition depends on nothing that a compiled graph could see change: the graph takes it as a
# constant. This is what torch.compiler.assume_constant_result sets; calling that would import the
# compiler, seconds of work for people who never compile. A test compiles with fullgraph=True.
named_partition._dynamo_marked_constant = True  # type: ignore[attr-defined]


# Made once for a size: finding the rings takes longer than transforming a mask.
@functools.lru_cache(maxsize=16)
def _make_named_partition(
    bands: str,
    shape: tuple[int, ...],
    spacing: tuple[float, ...] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Partition:
    index = torch.zeros(shape, dtype=torch.long)
    weights = torch.ones(shape, dtype=torch.float64)
    if bands == "rings":
        index = make_rings(shape, spacing=spacing).index
    elif bands == "midrings":
        index = _midring_index(shape, spacing)
    else:
        weights = window_weights(cast(Window, bands), shape, spacing=spacing)
    return make_partition(index, weights, device=device, dtype=dtype)


def _midring_index(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> Tensor:
    """Return the ring of every frequency; frequencies in none of the rings have the last number."""
    pixel = 1.0 if spacing is None else min(spacing)
    radius = radial_frequency(shape, spacing=spacing) * pixel
    # Frequencies on an edge may miss it by rounding.
    edges = torch.tensor(MIDRING_EDGES, dtype=torch.float64) - 1e-9
    number = torch.bucketize(radius, edges, right=True) - 1
    last = len(MIDRING_EDGES) - 1
    return torch.where((number < 0) | (number > last), last, number)


def check_classes(class_weights: Tensor | None, channels: int) -> None:
    """Raise ValueError unless there is one class weight per channel, or none at all."""
    if class_weights is not None and class_weights.shape != (channels,):
        raise ValueError(
            f"class_weights must have one value for each of the {channels} classes, got shape "
            f"{tuple(class_weights.shape)}"
        )


def _as_weights(
    mode: str, weights: Sequence[float] | Tensor | None, background: bool
) -> Tensor | None:
    if weights is None:
        return None
    if mode == "binary":
        raise ValueError('class_weights has no meaning for mode "binary": there is one class')
    tensor = torch.as_tensor(weights).float()
    counted = tensor if background or mode == "multilabel" else tensor[1:]
    if not bool((tensor >= 0).all()) or not float(counted.sum()) > 0:
        raise ValueError(
            "class_weights must be 0 or more and not all 0 over the classes that count, got "
            f"{tensor.tolist()}"
        )
    return tensor


def _check_bands(bands: Bands) -> str | None:
    """Return the name of `bands`, "weights" for a tensor; raise ValueError for anything else."""
    if isinstance(bands, Tensor):
        if not bool((bands >= 0).all()) or not float(bands.sum()) > 0:
            raise ValueError("bands must hold weights of 0 or more, and not all 0")
        return "weights"
    if bands is None or (isinstance(bands, str) and bands in get_args(BandName)):
        return bands
    raise ValueError(
        f"bands must be None, a tensor or one of {', '.join(get_args(BandName))}, got {bands!r}"
    )
