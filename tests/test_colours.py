"""Colours of classes: distinct, and those of a card."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from harmoseg.colours import class_colours, colour_codes, distinct_colours
from harmoseg.store.card import Card


def card_of(classes: int, colours: tuple[str, ...] = ()) -> Card:
    names = ("background", *(f"class {number}" for number in range(1, classes)))
    return Card(
        name="x", title="x", modality="CT", mode="multiclass", classes=names, colours=colours
    )


def test_every_class_has_a_colour_of_its_own_and_none_is_that_of_the_background() -> None:
    for count in (1, 2, 8, 9, 14, 15, 40, 255):
        colours = distinct_colours(count)
        assert len(colours) == len(set(colours)) == count
        assert colour_codes(colours).max(axis=1).min() > 100
    # Few colours stay as they are when more are asked for.
    assert distinct_colours(40)[:9] == distinct_colours(9)


def test_the_colours_of_eight_classes_are_told_apart() -> None:
    codes = colour_codes(distinct_colours(8)).astype(int)
    distances = [np.linalg.norm(a - b) for a, b in combinations(codes, 2)]
    assert min(distances) > 50


def test_a_card_has_as_many_colours_as_foreground_classes() -> None:
    assert len(class_colours(card_of(10))) == 9
    own = ("#010203", "#040506")
    assert class_colours(card_of(3, own)) == own
