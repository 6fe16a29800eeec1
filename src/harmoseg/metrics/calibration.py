"""Calibration of predicted probabilities, from bins that are filled block by block.

No pixel is kept: every block of pixels is added to the sums of a few bins and forgotten, so that a
billion pixels need no more memory than a thousand. The sums are whole numbers of a small unit
(fixed point), and so do not depend on the order in which pixels, images or workers arrive.

One temperature for all probabilities of a network can be fitted and applied: Guo et al., On
Calibration of Modern Neural Networks, ICML 2017, section 4.2. Softmax of logits over a temperature
T is the softmax power p^(1/T) of the probabilities, so probabilities are enough, and what was
averaged or resized before can be rescaled all the same. Labels stay what they are.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from harmoseg.errors import HarmosegError
from harmoseg.metrics.overlap import divide_defined

Convention = Literal["foreground", "top-label"]
"""``foreground``: binary; the confidence is the probability of foreground, the outcome whether the
pixel is foreground. ``top-label``: multiclass; the confidence is the largest probability, the
outcome whether its class is the true one.
"""

Probabilities = NDArray[np.floating[Any]]
_Float = TypeVar("_Float", bound=np.floating[Any])

# Pixels at a time: what is worked on stays in the processor's cache. Measured: three times faster
# than blocks of 2^17.
_BLOCK = 2**15
# The unit of the sums. Within a block they are exact in float64, since 2^15 x 2^28 x 17 < 2^53; in
# int64 they hold 2 x 10^9 pixels that are all as wrong as can be, many more of any other kind. It
# rounds a pixel by 2e-9, less than float32 does.
_UNIT = 2.0**-28
# Probabilities are kept this far from 0 and 1, or one pixel would make a log-likelihood or a logit
# infinite: the resolution of float32 at 1. A pixel contributes 15.94 at most.
_LEAST = float(np.finfo(np.float32).eps)
_TEMPERATURES = (0.05, 20.0)  # that are tried; a network that is never wrong would want 0
_SUMS = ("count", "hits", "confidence", "scores")
_SUM_TOLERANCE = 1e-2  # that float16 probabilities of many classes keep


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """The sums that calibration errors and reliability diagrams are made of.

    `count`, `hits` and `confidence` are (bins,): how many pixels fell in a bin, for how many of
    them the outcome was true, and the sum of their confidences. `scores` is (2,): the sums of the
    squared errors (Brier) and of the negative log-likelihoods. Bins are of equal width and contain
    their lower edge; the last contains 1 too. All are int64; sums are in units of 2^-28.

    Every value is NaN where no pixel was counted.
    """

    convention: Convention
    count: NDArray[np.int64]
    hits: NDArray[np.int64]
    confidence: NDArray[np.int64]
    scores: NDArray[np.int64]

    @classmethod
    def empty(cls, convention: Convention, bins: int = 15) -> CalibrationBins:
        """Make bins with nothing in them; 15 is the number of Guo et al., ICML 2017."""
        if convention not in get_args(Convention):
            raise HarmosegError(
                f"convention is {convention!r}, expected one of {', '.join(get_args(Convention))}"
            )
        if bins < 1:
            raise HarmosegError(f"{bins} bins asked for, expected 1 or more")
        count, hits, confidence = np.zeros((3, bins), dtype=np.int64)
        return cls(convention, count, hits, confidence, np.zeros(2, dtype=np.int64))

    def __add__(self, other: CalibrationBins) -> CalibrationBins:
        """Pool two sets of bins; raises HarmosegError where they are not of one kind."""
        if (self.convention, self.count.size) != (other.convention, other.count.size):
            raise HarmosegError(
                f"{self.count.size} bins of convention {self.convention!r} cannot be added to "
                f"{other.count.size} of {other.convention!r}; count both in the same way"
            )
        sums = {name: own + getattr(other, name) for name, own in self._sums().items()}
        return CalibrationBins(self.convention, **sums)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as plain arrays, for example for `numpy.savez`."""
        return {"convention": np.asarray(self.convention), **self._sums()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CalibrationBins:
        """Make bins of what `as_arrays` gave; raises HarmosegError for anything else."""
        expected = {"convention", *_SUMS}
        if set(arrays) != expected:
            raise HarmosegError(
                f"calibration bins need the arrays {', '.join(sorted(expected))}, found "
                f"{', '.join(sorted(arrays))}"
            )
        blank = cls.empty(str(arrays["convention"]), len(arrays["count"]))  # type: ignore[arg-type]
        sums = {name: np.array(arrays[name]) for name in _SUMS}
        for name, like in blank._sums().items():
            found = sums[name]
            if found.shape != like.shape or found.dtype != like.dtype or (found < 0).any():
                raise HarmosegError(
                    f"calibration sums of {found.dtype} and shape {found.shape} found, expected "
                    f"{like.dtype} of shape {like.shape}, none negative"
                )
        return cls(blank.convention, **sums)

    def to_lists(self) -> dict[str, Any]:
        """Return everything as JSON can hold it, exactly."""
        return {name: array.tolist() for name, array in self.as_arrays().items()}

    @classmethod
    def from_lists(cls, values: Mapping[str, Any]) -> CalibrationBins:
        """Make bins of what `to_lists` returned; raise HarmosegError for anything else."""
        return cls.from_arrays({name: np.asarray(value) for name, value in values.items()})

    @property
    def pixels(self) -> int:
        """Count all pixels."""
        return int(self.count.sum())

    @property
    def mean_confidence(self) -> NDArray[np.float64]:
        """Average the confidence in every bin, (bins,); NaN in an empty one."""
        return divide_defined(self.confidence * _UNIT, self.count)

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Return the share of true outcomes in every bin, (bins,); NaN in an empty one."""
        return divide_defined(self.hits, self.count)

    def ece(self) -> float:
        """Return the expected calibration error: the mean gap of the bins, weighted by pixels."""
        # Summing differences of sums needs no division by the counts of empty bins.
        return self._per_pixel(np.abs(self.hits - self.confidence * _UNIT).sum())

    def mce(self) -> float:
        """Return the maximum calibration error: the largest gap of a bin that holds a pixel."""
        gaps = self._gaps()
        return float(gaps.max()) if gaps.size else np.nan

    def ace(self) -> float:
        """Return the average calibration error: the mean gap of the bins that hold a pixel."""
        gaps = self._gaps()
        return float(gaps.mean()) if gaps.size else np.nan

    def brier(self) -> float:
        """Return the mean squared error of the probabilities.

        ``foreground``: of the probability of foreground, in [0, 1]. ``top-label``: summed over the
        classes, in [0, 2].
        """
        return self._per_pixel(self.scores[0] * _UNIT)

    def nll(self) -> float:
        """Return the mean negative log-likelihood of the true labels, in nats.

        Probabilities below 1.2e-7 count as 1.2e-7, so that one pixel adds 15.94 at most.
        """
        return self._per_pixel(self.scores[1] * _UNIT)

    def _gaps(self) -> NDArray[np.float64]:
        gaps = np.abs(self.frequency - self.mean_confidence)
        return gaps[self.count > 0]

    def _per_pixel(self, total: float) -> float:
        return float(total / self.pixels) if self.pixels else np.nan

    def _sums(self) -> dict[str, NDArray[np.int64]]:
        return {name: getattr(self, name) for name in _SUMS}


def binary_calibration(
    probabilities: Probabilities,
    truth: NDArray[np.bool_] | NDArray[np.integer],
    *,
    where: NDArray[np.bool_] | None = None,
    bins: int = 15,
) -> CalibrationBins:
    """Fill bins by the ``foreground`` convention.

    `probabilities` of foreground in [0, 1], `truth` of booleans or of zeros and ones, and the mask
    `where` of the pixels that count (all by default) are of one shape, whatever it is. Pool images
    by adding what this returns for each.

    Raises HarmosegError for shapes that differ, for probabilities outside [0, 1] or NaN, and for
    other values of truth, where these count.
    """
    probabilities, truth = np.asarray(probabilities), np.asarray(truth)
    _check_inputs(probabilities, probabilities.shape, truth, where)
    filled = CalibrationBins.empty("foreground", bins)
    for p, y in _blocks(probabilities[None], truth, where):
        _check_values(p, y, 2)
        _fill(filled, p[0], y.astype(np.bool_, copy=False))
    return filled


def multiclass_calibration(
    probabilities: Probabilities,
    truth: NDArray[np.integer],
    *,
    where: NDArray[np.bool_] | None = None,
    bins: int = 15,
) -> CalibrationBins:
    """Fill bins by the ``top-label`` convention.

    `probabilities` is (C, *S), adding up to 1 over the classes; `truth` (*S) holds their indices;
    `where` (*S) marks the pixels that count, all by default. Of equal probabilities the first is
    the top label. Raises HarmosegError as `binary_calibration` does, and for probabilities that do
    not add up to 1.
    """
    probabilities, truth = np.asarray(probabilities), np.asarray(truth)
    _check_inputs(probabilities, probabilities.shape[1:], truth, where)
    filled = CalibrationBins.empty("top-label", bins)
    for p, y in _blocks(probabilities, truth, where):
        _check_values(p, y, len(p))
        _fill_top_label(filled, p, y)
    return filled


def top_label(probabilities: NDArray[_Float]) -> tuple[NDArray[np.uint8], NDArray[_Float]]:
    """Return the most probable class (*S) of probabilities (C, *S), and its probability (*S).

    Of equal probabilities the first counts. Plane by plane over the classes: several times faster
    than `numpy.argmax` along the first axis. Raises HarmosegError for more than 256 classes.
    """
    if len(probabilities) > 256:
        raise HarmosegError(f"{len(probabilities)} classes found, expected 256 at most")
    best = probabilities[0].copy()
    label = np.zeros(best.shape, np.uint8)
    for c in range(1, len(probabilities)):
        # Later classes have larger indices: a maximum, ten times faster than putting by a mask.
        above = (probabilities[c] > best).view(np.uint8)
        np.maximum(label, np.multiply(above, np.uint8(c), out=above), out=label)
        np.maximum(best, probabilities[c], out=best)
    return label, best


def pool_calibration(parts: Iterable[CalibrationBins]) -> CalibrationBins:
    """Add up the bins of several images; raises HarmosegError where there are none."""
    found = list(parts)
    if not found:
        raise HarmosegError("no calibration bins to pool; score at least one image")
    return reduce(operator.add, found)


def _fill(into: CalibrationBins, p: Probabilities, y: NDArray[np.bool_]) -> None:
    """Add a block (n,) of foreground probabilities; changes `into`."""
    confidence = p.astype(np.float64, copy=False)
    _fill_bins(into, confidence, y)
    error = np.abs(confidence - y)
    into.scores[0] += int(_whole(np.square(error)).sum())
    into.scores[1] += int(_whole(_log_loss(1 - error)).sum())


def _fill_top_label(into: CalibrationBins, p: Probabilities, y: NDArray[np.integer]) -> None:
    """Add a block (C, n) of class probabilities; changes `into`."""
    if not y.size:
        return
    known = np.array(p, np.float64, order="C")
    total = known.sum(0)
    low, high = total.min(), total.max()
    if max(1 - low, high - 1) > _SUM_TOLERANCE:
        raise HarmosegError(
            f"probabilities of a pixel add up to {low:.4g} to {high:.4g}, expected 1; apply "
            "softmax to logits, and score multilabel channels one by one with binary_calibration"
        )
    top, confidence = top_label(p)
    _fill_bins(into, confidence.astype(np.float64), top == y)
    # By place in memory: twice as fast as `numpy.take_along_axis`.
    of_truth = known.ravel().take(y.astype(np.intp) * y.size + np.arange(y.size))
    # sum (p - y)^2 over classes, y being 1 for the true class alone
    squares = np.square(known, out=known).sum(0)
    into.scores[0] += int(_whole(squares - 2 * of_truth + 1).sum())
    into.scores[1] += int(_whole(_log_loss(of_truth)).sum())


def _fill_bins(
    into: CalibrationBins, confidence: NDArray[np.float64], outcome: NDArray[np.bool_]
) -> None:
    bins = into.count.size
    # The last bin is closed: a confidence of 1 belongs to it.
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    # Outcome and bin in one number, so that one count serves both.
    counted = np.bincount(index + bins * outcome, minlength=2 * bins).reshape(2, bins)
    into.count[:] += counted.sum(0)
    into.hits[:] += counted[1]
    into.confidence[:] += np.bincount(index, _whole(confidence), bins).astype(np.int64)


def _whole(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to whole units; float64 adds up a block of them without rounding."""
    units = values * (1 / _UNIT)
    return np.rint(units, out=units)


def _log_loss(p: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.maximum(p, _LEAST)
    return np.negative(np.log(logs, out=logs), out=logs)


def _blocks(
    probabilities: Probabilities, truth: NDArray[Any], where: NDArray[np.bool_] | None
) -> Iterator[tuple[Probabilities, NDArray[Any]]]:
    """Cut (C, *S) and (*S) into blocks (C, n) and (n,) of the pixels that count."""
    p, y = probabilities.reshape(len(probabilities), -1), truth.reshape(-1)
    counts = None if where is None else np.asarray(where).reshape(-1)
    for start in range(0, y.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        if counts is None:
            yield p[:, part], y[part]
        else:
            yield p[:, part][:, counts[part]], y[part][counts[part]]


def _check_inputs(
    probabilities: NDArray[Any],
    space: tuple[int, ...],
    truth: NDArray[Any],
    where: NDArray[np.bool_] | None,
) -> None:
    """Check what does not depend on values."""
    if truth.shape != space:
        raise HarmosegError(
            f"probabilities of shape {probabilities.shape} need a truth of shape {space}, found "
            f"{truth.shape}"
        )
    if probabilities.dtype.kind != "f":
        raise HarmosegError(
            f"probabilities are of {probabilities.dtype}, expected floating point; labels have no "
            "calibration"
        )
    if truth.dtype.kind not in "bui":
        raise HarmosegError(f"the truth is of {truth.dtype}, expected booleans or integers")
    if where is not None and (np.shape(where) != space or np.asarray(where).dtype != np.bool_):
        raise HarmosegError(
            f"where is of {np.asarray(where).dtype} and shape {np.shape(where)}, expected a mask "
            f"of booleans of shape {space}"
        )


def _check_values(p: Probabilities, y: NDArray[Any], classes: int) -> None:
    if not y.size:
        return
    if not (p.min() >= 0 and p.max() <= 1):  # NaN fails both comparisons
        known = p[~np.isnan(p)]
        span = f"from {known.min()} to {known.max()}" if known.size else "without a number"
        raise HarmosegError(
            f"probabilities {span}, {p.size - known.size} of them NaN, found; expected 0 to 1: "
            "apply sigmoid or softmax to logits"
        )
    if y.dtype != np.bool_ and not 0 <= y.min() <= y.max() < classes:
        raise HarmosegError(
            f"the truth holds labels {y.min()} to {y.max()}, expected 0 to {classes - 1}; leave "
            "ignored pixels out with where="
        )


def rescale(probabilities: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float32]:
    """Return the probabilities (C, *S) under a temperature, of the same shape.

    One channel is the probability of foreground, several are those of all classes. 1 changes
    nothing but probabilities within 1.2e-7 of 0 and 1. Raises HarmosegError for a temperature that
    is not above 0.
    """
    if not 0 < temperature < math.inf:
        raise HarmosegError(f"temperature is {temperature}, expected a number above 0")
    scaled = _log_odds(probabilities) / temperature
    if len(probabilities) == 1:
        return np.asarray(1 / (1 + np.exp(-scaled)), np.float32)
    scaled -= scaled.max(0)
    np.exp(scaled, out=scaled)
    return np.asarray(scaled / scaled.sum(0), np.float32)


def fit_temperature(
    probabilities: NDArray[np.floating[Any]], truth: NDArray[np.integer[Any]]
) -> float:
    """Return the temperature between 0.05 and 20 with the least negative log-likelihood.

    `probabilities` are (C, n), `truth` (n,) holds class indices. In float64, to four digits; the
    likelihood has one minimum. Raises HarmosegError without a pixel.
    """
    if not truth.size:
        raise HarmosegError("no pixel to fit a temperature to; give validation cases")
    odds = _log_odds(np.asarray(probabilities, np.float64))
    if len(odds) == 1:
        odds = np.concatenate([np.zeros_like(odds), odds])
    right = np.take_along_axis(odds, truth[None].astype(np.intp), 0)[0]

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float((np.logaddexp.reduce(odds * inverse, 0) - right * inverse).mean())

    low, high = (math.log(bound) for bound in _TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-5})
    # Rounded: the sum over pixels depends on the processor in its last digits.
    return float(f"{math.exp(found.x):.4g}")


def _log_odds(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return what the logits are up to a constant: log p, or log(p / (1 - p)) of one channel."""
    kept = np.clip(probabilities, _LEAST, 1 - _LEAST)
    odds: NDArray[np.floating[Any]] = np.log(kept)
    return odds - np.log1p(-kept) if len(kept) == 1 else odds
