"""How many scored cases show what a training case shows."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from harmoseg.datasets.verification.similarity import Fingerprints, find_copies, fingerprint
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store


def count_copies(store: Store, split: Split) -> int:
    """Count the cases of a split of which some slice is a copy of a training case's.

    Compared at training resolution, by `find_copies`; ``harmoseg verify`` lists the pairs.
    """
    return _count(str(store.path), store.info.fingerprint, split)


# A report asks once for its warnings, and studies of one process share stores.
@functools.lru_cache(maxsize=32)
def _count(path: str, fingerprint_of_store: str, split: Split) -> int:
    del fingerprint_of_store  # part of the key alone
    store = open_store(Path(path))
    scored, trained = (_fingerprints(store, name) for name in (split, "train"))
    return len({scored.owners[pair.left][0] for pair in find_copies(scored, trained)})


def _fingerprints(store: Store, split: Split) -> Fingerprints:
    found = Fingerprints()
    for number in store.cases_of(split):
        for row in store.rows_of(number):
            mark = fingerprint(np.asarray(store.images[row]))
            if mark is not None:
                found.add((number, row), mark)
    return found
