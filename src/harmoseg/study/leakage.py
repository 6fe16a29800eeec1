"""How many scored cases show what a training case shows."""

from __future__ import annotations

import numpy as np

from harmoseg.datasets.similarity import Fingerprints, find_copies, fingerprint
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store

_KNOWN: dict[tuple[str, Split, str], int] = {}
"""By the stores' fingerprints: a process asks of one store for every report of it."""


def count_copies(store: Store, split: Split, trained: Store) -> int:
    """Count the cases of a split of which some slice is a copy of one that was trained on.

    Compared at training resolution, by `find_copies`; ``harmoseg verify`` lists the pairs.
    """
    key = (store.info.fingerprint, split, trained.info.fingerprint)
    if key not in _KNOWN:
        scored, known = _fingerprints(store, split), _fingerprints(trained, "train")
        _KNOWN[key] = len({scored.owners[pair.left][0] for pair in find_copies(scored, known)})
    return _KNOWN[key]


def _fingerprints(store: Store, split: Split) -> Fingerprints:
    found = Fingerprints()
    for number in store.cases_of(split):
        for row in store.rows_of(number):
            mark = fingerprint(np.asarray(store.images[row]))
            if mark is not None:
                found.add((number, row), mark)
    return found
