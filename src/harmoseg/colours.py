"""Colours of classes, for previews, overlays and the report."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's colours without black, which cannot be seen on an image, those that mark errors
# in the report last; then lighter ones of the same.
_PALETTE = (
    *("#009E73", "#F0E442", "#D55E00", "#0072B2", "#CC79A7", "#56B4E9", "#E69F00"),
    *("#7FDCC0", "#FBF6B0", "#F2B183", "#85BEE3", "#E9C4DA", "#B9E1F7", "#FFD58A"),
)
_GOLDEN = 0.618034
"""Share of the colour circle between two made colours: the next one falls into the widest gap."""
_TONES = ((1.0, 1.0), (0.55, 0.8), (1.0, 0.65))
"""Saturation and value of made colours, in turn."""


def distinct_colours(count: int) -> list[str]:
    """Return colours (#RRGGBB) of which no two are equal.

    The first seven are told apart with any colour vision, the first 14 with most. Further ones are
    made.
    """
    made = [
        colorsys.hsv_to_rgb(number * _GOLDEN % 1, *_TONES[number % len(_TONES)])
        for number in range(count - len(_PALETTE))
    ]
    codes = ["#" + "".join(f"{round(255 * part):02X}" for part in colour) for colour in made]
    return [*_PALETTE[:count], *codes]


def colour_codes(colours: Sequence[str]) -> NDArray[np.uint8]:
    """Turn #RRGGBB into (n, 3) bytes."""
    return np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in colours], np.uint8)


def paint_labels(label: NDArray[np.uint8], colours: Sequence[str]) -> NDArray[np.uint8]:
    """Paint a label map (H, W) in the colours of its classes: (H, W, 3), the background black."""
    codes = colour_codes(colours)
    painted = codes[(label.astype(np.intp) - 1) % len(codes)]
    painted[label == 0] = 0
    return painted
