"""The view of a store for training: the training part, and a validation part carved from it.

The cases of the test split are dropped when the view is made, so that no code behind it can read
them, by mistake or otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.store.layout import SLICE_FIELDS, Case, StoreInfo
from harmoseg.store.reading import Store, open_store

_CARVING_SEED = 0
"""Seed of the validation part, the same in every run, so that runs with other seeds compare."""


class Part:
    """Some cases of a store, whose slices are fetched as batches.

    `cases` are the cases, and `owners` (slices,) says which of them each slice shows.
    """

    def __init__(self, store: Store, cases: list[int], *, empty_slices: bool) -> None:
        rows = [np.asarray(store.rows_of(number), dtype=np.int64) for number in cases]
        owners = np.repeat(np.arange(len(cases)), [len(item) for item in rows])
        joined = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        if not empty_slices:
            full = store.slices[joined, SLICE_FIELDS.index("foreground")] > 0
            joined, owners = joined[full], owners[full]
        self._rows = joined
        self._images = store.images
        self._labels = store.labels
        self.owners: NDArray[np.int64] = owners
        self.cases: tuple[Case, ...] = tuple(store.cases[number] for number in cases)

    def __len__(self) -> int:
        """Count the slices."""
        return len(self._rows)

    @property
    def has_foreground(self) -> bool:
        """Return whether any slice shows foreground at training resolution."""
        return any(self._labels[row].any() for row in self._rows)

    def batch(self, positions: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read images (B, H, W, C) and labels (B, H, W) at positions 0 ... len - 1."""
        rows = self._rows[positions]
        return self._images[rows], self._labels[rows]


@dataclass(frozen=True)
class TrainingView:
    """The training and validation parts of a store; `validation` may be empty.

    `exchanged` names the group that validates in place of a drawn one, because the draw held no
    foreground; None where the draw stands.
    """

    info: StoreInfo
    train: Part
    validation: Part
    exchanged: str | None = None

    @property
    def volumes(self) -> bool:
        """Return whether any case is a volume rather than a plain image."""
        return any(case.depth > 1 for case in (*self.train.cases, *self.validation.cases))


def open_training_view(path: Path, *, validation_fraction: float) -> TrainingView:
    """Open a store for training.

    The store's own ``val`` split validates where there is one. Otherwise `validation_fraction` of
    the training cases is carved off by whole groups, the same ones in every run. Where the groups
    drawn hold no foreground, which no score could be taken of, one of them is exchanged.

    Raises HarmosegError where the store has no training case, or too few groups to carve from.
    """
    if not 0 <= validation_fraction < 1:
        raise HarmosegError(
            f"validation_fraction must be at least 0 and below 1, got {validation_fraction}"
        )
    store = open_store(path)
    train = store.cases_of("train")
    if not train:
        raise HarmosegError(
            f"{path}: no case has the split 'train' (found {store.info.told_counts()}); this store "
            "can be evaluated on, not trained on"
        )
    validation = store.cases_of("val")
    exchanged = None
    if not validation and validation_fraction > 0:
        train, validation, exchanged = _carve(store, train, validation_fraction)
    drop = store.info.card.empty_slices == "drop"
    return TrainingView(
        store.info,
        Part(store, train, empty_slices=not drop),
        # What is validated on is scored whole, as the test cases are.
        Part(store, validation, empty_slices=True),
        exchanged,
    )


def _carve(
    store: Store, cases: list[int], fraction: float
) -> tuple[list[int], list[int], str | None]:
    """Split cases into those that train and those that validate; name the group exchanged."""
    groups = sorted({store.cases[number].group for number in cases})
    if len(groups) < 2:
        raise HarmosegError(
            f"{store.path}: all training cases are of one group ({groups[0]!r}), so no validation "
            "part can be carved from them; prepare with a val split, or set validation_fraction 0 "
            "and select last"
        )
    wanted = max(1, round(fraction * len(cases)))
    chosen: list[str] = []
    count = 0
    order = np.random.default_rng(_CARVING_SEED).permutation(len(groups))
    for position in order[:-1]:
        if count >= wanted:
            break
        chosen.append(groups[position])
        count += sum(store.cases[number].group == groups[position] for number in cases)
    exchanged = None
    if not any(_shows_foreground(store, cases, group) for group in chosen):
        others = (groups[position] for position in order[len(chosen) :])
        showing = [group for group in others if _shows_foreground(store, cases, group)]
        if len(showing) > 1:  # the only one there is has to be learned from
            exchanged = showing[0]
            chosen[-1] = exchanged
    kept = [number for number in cases if store.cases[number].group not in chosen]
    return kept, [number for number in cases if store.cases[number].group in chosen], exchanged


def _shows_foreground(store: Store, cases: list[int], group: str) -> bool:
    """Return whether some slice of a group shows foreground at training resolution."""
    return any(
        store.labels[row].any()
        for number in cases
        if store.cases[number].group == group
        for row in store.rows_of(number)
    )
