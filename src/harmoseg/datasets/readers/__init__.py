"""One reader per dataset: from its official layout to a listing of cases."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from harmoseg.datasets.readers.btseg import list_btseg
from harmoseg.datasets.readers.monuseg import list_monuseg
from harmoseg.datasets.readers.photographs import (
    list_chase,
    list_folders,
    list_isic_2017,
    list_isic_2018,
    list_ph2,
    list_polypgen,
)
from harmoseg.datasets.readers.scans import list_acdc, list_synapse
from harmoseg.datasets.sources import Listing, SourceOptions, named_from_root
from harmoseg.errors import HarmosegError

Reader = Callable[[Path, SourceOptions], Listing]

READERS: Mapping[str, Reader] = {
    "synapse": list_synapse,
    "acdc": list_acdc,
    "kvasir-seg": partial(list_folders, "kvasir-seg"),
    "polypgen": list_polypgen,
    "etis-larib": partial(list_folders, "etis-larib"),
    "cvc-clinicdb": partial(list_folders, "cvc-clinicdb"),
    "isic-2018": list_isic_2018,
    "isic-2017": list_isic_2017,
    "ph2": list_ph2,
    "monuseg": list_monuseg,
    "btseg": list_btseg,
    "chase-db1": list_chase,
    "hrf": partial(list_folders, "hrf"),
}
"""Reader of each dataset, by the name of its card."""


def check_known(name: str) -> None:
    """Raise HarmosegError, with the nearest known name, unless `name` is that of a dataset."""
    if name not in READERS:
        nearest = difflib.get_close_matches(name, READERS, n=1, cutoff=0.0)[0]
        raise HarmosegError(
            f"unknown dataset {name!r}; did you mean {nearest!r}? Known: {', '.join(READERS)}"
        )


def list_dataset(name: str, source: Path, options: SourceOptions) -> Listing:
    """List the cases of one of the package's datasets.

    Raises HarmosegError for an unknown name, and for whatever of the layout, the files or the
    split is not as the dataset's page says.
    """
    check_known(name)
    return named_from_root(READERS[name](source, options))
