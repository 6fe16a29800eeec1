"""The registry of measures: what a column of a table of scores means.

Nothing downstream reads a meaning from a column's name: it asks the `Measure` that goes with it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from harmoseg.errors import HarmosegError

Direction = Literal["higher", "lower"]
Per = Literal["class", "case"]

_OF_CASE = "calibration counts every pixel of a case, whatever its class"
_EITHER_EMPTY = "undefined where prediction or truth is empty"


@dataclass(frozen=True)
class Measure:
    """One measure: the column that holds it, and how its values are read and printed.

    Args:
        name: Column in a table of scores.
        title: Heading in tables and figures.
        family: The measure without its unit and parameters: ``HD95`` of ``HD95_pooled_mm``.
        unit: Unit of printed values: ``points``, ``mm``, ``px``, ``cycles/px``, or empty.
        scale: Factor from stored to printed values; 100 for shares, which are stored as fractions.
        direction: Which values are better.
        low: Smallest possible stored value; None without a bound.
        high: Largest possible stored value; None without a bound.
        per: Whether every class of a case has a value, or the case as a whole.
        decimals: Decimals of a printed value, at least.
        needs_both: Whether it is undefined for a class that is in the truth and was missed, so that
            a mean over classes must not leave that class out.
        definition: Formula or definition, and where it is undefined.
    """

    name: str
    title: str
    family: str = ""
    unit: str = ""
    scale: float = 1.0
    direction: Direction = "higher"
    low: float | None = None
    high: float | None = None
    per: Per = "class"
    decimals: int = 1
    needs_both: bool = False
    definition: str = ""

    @property
    def heading(self) -> str:
        """Return the title with the unit, unless that is points or missing."""
        return self.title if self.unit in ("", "points") else f"{self.title} ({self.unit})"

    @property
    def sign(self) -> int:
        """Return 1 where larger values are better, -1 where smaller ones are."""
        return -1 if self.direction == "lower" else 1

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest possible printed value."""
        low = -math.inf if self.low is None else self.low * self.scale
        return low, math.inf if self.high is None else self.high * self.scale

    @property
    def is_share(self) -> bool:
        """Return whether values are stored as fractions and printed in points."""
        return self.unit == "points"


def _share(name: str, definition: str, **changes: Any) -> Measure:
    values = {"title": name, "family": name, "unit": "points", "scale": 100.0, "high": 1.0}
    return Measure(name, definition=definition, low=0.0, **{**values, **changes})


def _number(name: str, title: str, definition: str, **changes: Any) -> Measure:
    values = {"family": title, "decimals": 3, "low": 0.0}
    return Measure(name, title, definition=definition, **{**values, **changes})


_BOTH_EMPTY = "undefined where truth and prediction are empty"
_LOWER_OF_CASE: dict[str, Any] = {"direction": "lower", "per": "case"}
_FIXED = {
    measure.name: measure
    for measure in (
        _share("DSC", f"2 TP / (2 TP + FP + FN); {_BOTH_EMPTY}"),
        _share("IoU", f"TP / (TP + FP + FN); {_BOTH_EMPTY}"),
        _share("SE", "TP / (TP + FN); undefined where the truth is empty"),
        _share("SP", "TN / (TN + FP); undefined where the truth fills the image"),
        _share("ACC", "(TP + TN) / all pixels"),
        _share("precision", "TP / (TP + FP); undefined where the prediction is empty"),
        _share(
            "DSC_transunet",
            "DSC by the rule of published Synapse tables: 1 for a false positive on an empty "
            "truth, 0 where both are empty",
            title="DSC (TransUNet rule)",
        ),
        _share(
            "clDice",
            "centreline Dice: overlap of each skeleton with the other mask; undefined where truth "
            "and prediction are empty",
        ),
        _number(
            "betti0_error",
            "Betti-0 error",
            "difference of the numbers of connected parts; undefined where truth and prediction "
            "are empty",
            direction="lower",
            decimals=1,
        ),
        _share(
            "agreement",
            "mean Dice of the pairs of members of an ensemble, at training resolution; undefined "
            "where no member marks the class",
        ),
        _share(
            "confidence",
            "mean probability of the class over the pixels that the ensemble gave it, at training "
            "resolution; undefined where there are none",
        ),
        _share("ECE", f"expected calibration error; {_OF_CASE}", **_LOWER_OF_CASE),
        _share(
            "ECE_rescaled",
            f"ECE under the temperature that was fitted on validation cases; {_OF_CASE}",
            title="ECE rescaled",
            **_LOWER_OF_CASE,
        ),
        _number(
            "NLL_rescaled",
            "NLL rescaled",
            f"NLL under the temperature that was fitted on validation cases; {_OF_CASE}",
            **_LOWER_OF_CASE,
        ),
        _share("MCE", f"maximum calibration error; {_OF_CASE}", **_LOWER_OF_CASE),
        _share("ACE", f"mean calibration error over bins; {_OF_CASE}", **_LOWER_OF_CASE),
        _number(
            "Brier", "Brier", f"mean squared error of probabilities; {_OF_CASE}", **_LOWER_OF_CASE
        ),
        _number("NLL", "NLL", f"mean negative log-likelihood; {_OF_CASE}", **_LOWER_OF_CASE),
        _number(
            "cutoff_cycles_per_px",
            "Cutoff",
            "frequency where the ring correlation of prediction and truth falls below 0.5, at "
            "training resolution",
            unit="cycles/px",
        ),
        _number(
            "log_magnitude_r",
            "Log-magnitude r",
            "correlation of the log-magnitude spectra of prediction and truth",
            low=-1.0,
            high=1.0,
        ),
    )
}

_DISTANCE = re.compile(r"(HD95|HD|ASSD)(?:_(pooled|max))?_(mm|px)")
_SURFACE_DICE = re.compile(r"NSD_(\d+(?:\.\d+)?(?:e-?\d+)?)(mm|px)")
_DISTANCES = {
    "HD95": "95th percentile of the surface distances",
    "HD": "largest surface distance",
    "ASSD": "average symmetric surface distance",
}
_FAMILIES = {"dice": "DSC", "dsc": "DSC", "iou": "IoU", "jaccard": "IoU", "hd95": "HD95"}
"""Names of other people for measures that harmoseg knows."""


def known_measure(column: str) -> Measure | None:
    """Return the registered measure of a column; None for a column of somebody else."""
    if column in _FIXED:
        return _FIXED[column]
    if found := _DISTANCE.fullmatch(column):
        name, definition, unit = found.groups()
        return Measure(
            column,
            name if definition in (None, "pooled") else f"{name} {definition}",
            name,
            unit,
            direction="lower",
            low=0.0,
            needs_both=True,
            definition=f"{_DISTANCES[name]}; {_EITHER_EMPTY}",
        )
    if found := _SURFACE_DICE.fullmatch(column):
        tolerance, unit = found.groups()
        return _share(
            column,
            f"share of the surfaces within {tolerance} {unit}; {_EITHER_EMPTY}",
            title=f"NSD {tolerance} {unit}",
            family="NSD",
            needs_both=True,
        )
    return None


_UNITS = {"fraction": (100.0, "points"), "percent": (100.0, "points"), "none": (1.0, "")}


def declare_measure(text: str) -> tuple[Measure, bool]:
    """Read the declaration of a measure, ``NAME:DIRECTION:UNIT``.

    DIRECTION is ``higher`` or ``lower``; UNIT is ``fraction``, ``percent``, ``none``, or any other
    unit such as ``mm``. Returns the measure, and whether its column holds percent, which are
    divided by 100 on reading. Raises HarmosegError naming the part that is wrong.
    """
    name, *rest = (part.strip() for part in text.rsplit(":", 2))
    if len(rest) != 2 or not name or not rest[1]:
        raise HarmosegError(
            f"measure {text!r} is not of the form NAME:DIRECTION:UNIT, for example "
            "Dice:higher:percent or HD95:lower:mm"
        )
    direction, unit = rest
    if direction not in get_args(Direction):
        raise HarmosegError(f"measure {text!r}: direction {direction!r}; expected higher or lower")
    scale, printed = _UNITS.get(unit, (1.0, unit))
    share = printed == "points"
    measure = Measure(
        name,
        name,
        _FAMILIES.get(name.lower(), name),
        printed,
        scale,
        cast(Direction, direction),
        low=0.0 if share else None,
        high=1.0 if share else None,
        decimals=1 if printed in ("points", "mm", "px") else 3,
        definition="declared by the user",
    )
    return measure, unit == "percent"
