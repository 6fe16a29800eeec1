"""Colours of classes, and masks drawn on their images."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from harmoseg.store.card import Card

Scalar = TypeVar("Scalar", bound=np.generic)

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
_SMALLEST = 384
"""Smaller pictures are enlarged, so that an outline does not hide what it surrounds."""
_PIXELS_PER_LINE = 400
"""How much of the longer side makes an outline a pixel wider."""


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


def class_colours(card: Card) -> Sequence[str]:
    """Return a colour (#RRGGBB) for each foreground class of a card: its own, or distinct ones."""
    return card.colours or distinct_colours(max(1, len(card.classes) - 1))


def overlay_size(height: int, width: int) -> tuple[int, int]:
    """Choose the (width, height) of the picture of a plane: its own, or a multiple if small."""
    times = max(1, round(_SMALLEST / max(height, width)))
    return (times * width, times * height)


def draw_outlines(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    colours: Sequence[str],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Draw an image (H, W, C) in `size` (width, height) with the outlines of its classes (H, W).

    Outlines lie inside the class that they surround. Returns (height, width, 3).
    """
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    painted = np.array(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    shown = np.asarray(
        Image.fromarray(np.ascontiguousarray(label)).resize(size, Image.Resampling.NEAREST)
    )
    edge = _inner_edge(shown)
    for _ in range(max(size) // _PIXELS_PER_LINE - 1):
        edge = _widened(edge) & (shown > 0)
    painted[edge] = paint_labels(shown, colours)[edge]
    return painted


def _inner_edge(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the pixels of a class that have another class, or the border, beside them."""
    framed = np.pad(label, 1)
    centre = framed[1:-1, 1:-1]
    differs = np.zeros(label.shape, dtype=bool)
    for other in _beside(framed):
        differs |= centre != other
    edge: NDArray[np.bool_] = (centre > 0) & differs
    return edge


def _widened(edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wider = edge.copy()
    for other in _beside(np.pad(edge, 1)):
        wider |= other
    return wider


def _beside(framed: NDArray[Scalar]) -> tuple[NDArray[Scalar], ...]:
    """Return the pixels above, below, before and after those of a framed array."""
    return framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]
