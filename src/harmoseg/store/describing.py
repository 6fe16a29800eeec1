"""What a store holds, in words."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from harmoseg.store.reading import Store


def describe_store(store: Store) -> str:
    """Say what a store holds: card, counts, sizes, share of the pixels of every class."""
    info, card = store.info, store.info.card
    pixels = count_pixels(store)
    shares = ", ".join(
        f"{name} {100 * count / pixels.sum():.2f} %"
        for name, count in zip(card.classes, pixels, strict=True)
    )
    lines = {
        "dataset": f"{card.title} ({card.modality}, {card.mode})",
        "cases": ", ".join(f"{count} {split}" for split, count in info.counts.items()),
        "subsets": _describe_subsets(store),
        "groups": _describe_groups(store),
        "slices": _describe_slices(store),
        "training size": f"{info.width} x {info.height} px, {info.channels} channel(s)",
        "native sizes": _describe_sizes(store),
        "spacing": _describe_spacing(store),
        "pixel shares": shares,
        "licence": card.licence or "not stated",
        "notes": card.notes,
        "fingerprint": info.fingerprint,
    }
    return "\n".join(f"{name + ':':<15}{text}" for name, text in lines.items() if text)


def count_pixels(store: Store) -> NDArray[np.int64]:
    """Count the pixels of every class over all slices, at training resolution."""
    classes = len(store.info.card.classes)
    # Slice by slice: all labels at once would be eight times their size.
    return sum(
        (np.bincount(label.ravel(), minlength=classes) for label in store.labels),
        start=np.zeros(classes, dtype=np.int64),
    )


def _describe_subsets(store: Store) -> str:
    counts = Counter(case.subset for case in store.cases if case.subset)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _describe_groups(store: Store) -> str:
    groups = {case.group for case in store.cases}
    if groups == {case.case for case in store.cases}:
        return "none known: every case is a group of its own"
    return f"{len(groups)}, none of them on two sides"


def _describe_slices(store: Store) -> str:
    if len(store.slices) == len(store.cases):
        return ""
    empty = int((store.slices[:, -1] == 0).sum())
    rule = "not trained on" if store.info.card.empty_slices == "drop" else "kept"
    return f"{len(store.slices)}, {empty} of them without foreground ({rule} in training)"


def _describe_sizes(store: Store) -> str:
    volumes = any(case.depth > 1 for case in store.cases)
    shapes = sorted({(case.width, case.height, case.depth) for case in store.cases})
    texts = [" x ".join(map(str, shape[: 3 if volumes else 2])) for shape in shapes]
    unit = "voxels" if volumes else "px"
    return f"{texts[0]} {unit}" if len(texts) == 1 else f"{texts[0]} to {texts[-1]} {unit}"


def _describe_spacing(store: Store) -> str:
    known = np.asarray([case.spacing for case in store.cases if case.spacing])
    if not len(known):
        return ""
    (z0, y0, x0), (z1, y1, x1) = known.min(0), known.max(0)
    return (
        f"{x0:.2f} x {y0:.2f} x {z0:.2f} to {x1:.2f} x {y1:.2f} x {z1:.2f} mm "
        "(width, height, depth)"
    )
