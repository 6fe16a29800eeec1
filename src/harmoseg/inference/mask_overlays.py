"""The colours of classes, and drawing the outlines of a mask on its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoseg.colours import distinct_colours, paint_labels
from harmoseg.store.card import Card

Scalar = TypeVar("Scalar", bound=np.generic)

_SMALLEST = 384
"""Smaller pictures are enlarged, so that an outline does not hide what it surrounds."""
_PIXELS_PER_LINE = 400
"""How much of the longer side makes an outline a pixel wider."""


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
