"""`Gallery`: pictures of cases for the report, without which it is made of numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Label = NDArray[np.uint8]
Run = tuple[str, str]
"""Method and seed."""


@dataclass(frozen=True, eq=False)
class GalleryCase:
    """One case to look at, at one resolution.

    Args:
        name: The case, as in the scores.
        image: Pixels (H, W, C), C 1 or 3, in bytes.
        truth: Class indices (H, W); 0 is the background.
        note: What else to say of the picture, such as the plane of a volume.
        aspect: Height of the source over its width.
        labels: Prediction (H, W) of every run that has one.
        cams: Activation map (h, w), 0 to 255, of every run that has one.
    """

    name: str
    image: NDArray[np.uint8]
    truth: Label
    note: str = ""
    aspect: float = 1.0
    labels: Mapping[Run, Label] = field(default_factory=dict)
    cams: Mapping[Run, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GalleryPart:
    """The cases of one test set under the networks of one training set.

    `classes` names the foreground: label k is ``classes[k - 1]``; `colours` (#RRGGBB) are theirs.
    """

    trained_on: str
    tested_on: str
    classes: tuple[str, ...]
    cases: tuple[GalleryCase, ...]
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """All cases that a report can show."""

    parts: tuple[GalleryPart, ...] = ()

    def part(self, trained_on: str, tested_on: str) -> GalleryPart | None:
        """Return the cases of a test set; None where there are none."""
        return next(
            (
                part
                for part in self.parts
                if (part.trained_on, part.tested_on) == (trained_on, tested_on) and part.cases
            ),
            None,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the foreground classes of all parts, each once."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.classes))
