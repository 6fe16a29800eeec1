"""What a store holds, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from harmoseg.store.layout import StoreInfo
from harmoseg.store.reading import Store


def describe_store(store: Store) -> str:
    """Describe a store: card, counts, sizes, share of the pixels of every class."""
    info, card = store.info, store.info.card
    pixels = count_pixels(store)
    shares = ", ".join(
        f"{name} {100 * count / pixels.sum():.2f} %"
        for name, count in zip(card.classes, pixels, strict=True)
    )
    lines = {
        "dataset": f"{card.title} ({card.modality}, {card.mode})",
        "cases": info.told_counts(),
        "subsets": _describe_subsets(store),
        "groups": _describe_groups(store),
        "slices": _describe_slices(store),
        "training size": f"{info.width} x {info.height} px, {info.channels} channel(s)",
        "native sizes": describe_shapes(
            (case.depth, case.height, case.width) for case in store.cases
        ),
        "spacing": _describe_spacing(store),
        "pixel shares": shares,
        "licence": card.licence or "not stated",
        "notes": card.notes,
        "this copy": "; ".join(remarks_of(info)),
        "fingerprint": info.fingerprint,
    }
    return "\n".join(f"{name + ':':<15}{text}" for name, text in lines.items() if text)


def remarks_of(info: StoreInfo) -> list[str]:
    """Return remarks on this copy: missing cases, and what its reader found."""
    missing = [
        f"{info.counts.get(split, 0)} of {expected} {split}"
        for split, expected in info.card.counts.items()
        if info.counts.get(split, 0) < expected
    ]
    incomplete = [f"not all cases are in it: {', '.join(missing)}"] if missing else []
    return [*incomplete, *map(str, info.provenance.get("remarks", ()))]


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


def describe_shapes(shapes: Iterable[tuple[int, ...]]) -> str:
    """Return the range of widths, heights and depths of shapes (depth, height, width)."""
    known = np.asarray(sorted(set(shapes)))[:, ::-1]
    axes = ("width", "height", "depth") if (known[:, 2] > 1).any() else ("width", "height")
    spans = [
        str(low) if low == high else f"{low}-{high}"
        for low, high in zip(known.min(0), known.max(0), strict=True)
    ][: len(axes)]
    unit = "voxels" if len(axes) == 3 else "px"
    return f"{' x '.join(spans)} {unit}" + ("" if len(known) == 1 else f" ({', '.join(axes)})")


def _describe_spacing(store: Store) -> str:
    known = np.asarray([case.spacing for case in store.cases if case.spacing])
    if not len(known):
        return ""
    (z0, y0, x0), (z1, y1, x1) = known.min(0), known.max(0)
    return (
        f"{x0:.2f} x {y0:.2f} x {z0:.2f} to {x1:.2f} x {y1:.2f} x {z1:.2f} mm "
        "(width, height, depth)"
    )
