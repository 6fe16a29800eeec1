"""BTSeg: brain tumours in contrast-enhanced T1 MRI slices (Cheng, figshare 1512427)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from harmoseg.datasets.arrays import read_hdf5, sample_of_arrays
from harmoseg.datasets.catalogue import load_card, load_list
from harmoseg.datasets.pairing import picture_case, read_black_and_white
from harmoseg.datasets.readers.common import (
    USUAL,
    check_published,
    check_sizes,
    chosen_split,
    draw_order,
    files_below,
    pairs_in,
)
from harmoseg.datasets.sources import (
    Listing,
    SourceCase,
    SourceOptions,
    find_root,
    make_listing,
    relative_name,
)
from harmoseg.errors import HarmosegError
from harmoseg.store.layout import Split
from harmoseg.store.tiling import Sample

_TUMOURS = {"1": "meningioma", "2": "glioma", "3": "pituitary"}
_TEST_SHARE = 0.2
_SIZES = ((512, 512), (256, 256))
_MATLAB_5 = b"MATLAB 5.0"


def list_btseg(source: Path, options: SourceOptions) -> Listing:
    """List the slices, from the official ``N.mat`` files or from ``images/`` and ``masks/``.

    The split ``folds`` tests one of the author's five folds. ``patients`` draws a fifth of the
    patients by a hash of their name. It needs the ``.mat`` files, which alone name the patient,
    and all of them, whatever `allow_missing` says.
    """
    card = load_card("btseg")
    split = chosen_split(options, "folds", "patients", in_folds=["folds"])
    rows = {row["case"]: row for row in load_list("btseg")}
    folds = {int(row["fold"]) for row in rows.values()}
    fold = max(folds) if options.fold is None else options.fold
    if fold not in folds:
        raise HarmosegError(f"fold {fold}: expected one of {sorted(folds)}")
    files = files_below(source, card.title)
    matlab = [path for path in files if path.suffix.lower() == ".mat" and path.stem.isdigit()]
    if matlab:
        patients = {path.stem: _patient(path) for path in matlab}
        found = sorted(patients)
    else:
        root = find_root(source, *USUAL, dataset=card.title)
        pairs = pairs_in(root, *USUAL)
        patients, found = {}, [pair.case for pair in pairs]
        if split == "patients":
            raise HarmosegError(
                f"{source}: images and masks name no patients; a split by patient needs the "
                "official .mat files (without it, use --split folds)"
            )
    if split == "patients" and len(set(found) & rows.keys()) < len(rows):
        # With some of them absent others would change sides.
        raise HarmosegError(
            f"{source}: {len(found)} slices, and the split 'patients' needs all {len(rows)}: it "
            "draws from all patients, and those of the missing slices are not known; complete the "
            "download, or take another split with --split folds"
        )
    check_published(found, rows, "BTSeg (3064 slices)", options)
    sides = (
        _by_patient(patients)
        if split == "patients"
        else {case: "test" if int(row["fold"]) == fold else "train" for case, row in rows.items()}
    )
    subsets = {case: _TUMOURS[row["label"]] for case, row in rows.items()}
    cases: list[SourceCase]
    remarks: list[str] = []
    if matlab:
        cases = [
            SourceCase(
                case=path.stem,
                group=patients[path.stem],
                split=sides[path.stem],
                subset=subsets[path.stem],
                image=relative_name(path, source),
                mask=relative_name(path, source),
                files=(path,),
                read=partial(_read_matlab, path),
            )
            for path in matlab
        ]
    else:
        remarks = [
            "this form names no patients: every slice is its own group",
            *check_sizes(pairs, _SIZES, len(rows), card.title),
        ]
        read = partial(read_black_and_white, channels=1)
        cases = [
            picture_case(pair, sides[pair.case], root, read=read, subset=subsets[pair.case])
            for pair in pairs
        ]
    counts: Counter[str] = Counter(sides[case] for case in (rows if split == "folds" else found))
    return make_listing(
        replace(card, counts=dict(counts)),
        cases,
        roots=[source],
        determined_by={"split": split, "fold": fold if split == "folds" else None},
        remarks=remarks,
    )


def _by_patient(patients: dict[str, str]) -> dict[str, Split]:
    """Test whole patients, in the order of a hash of their name, until a fifth is reached."""
    members: dict[str, list[str]] = defaultdict(list)
    for case, patient in patients.items():
        members[patient].append(case)
    sides: dict[str, Split] = {}
    tested = 0
    for patient in draw_order(members, "btseg"):
        side: Split = "test" if tested < _TEST_SHARE * len(patients) else "train"
        tested += len(members[patient]) if side == "test" else 0
        sides |= dict.fromkeys(members[patient], side)
    return sides


def _patient(path: Path) -> str:
    """Read the patient of a slice; raise HarmosegError for a file that is not of version 7.3."""
    if not h5py.is_hdf5(path):
        with path.open("rb") as stream:
            version = "version 5" if stream.read(10) == _MATLAB_5 else "of an unknown kind"
        raise HarmosegError(
            f"{path}: a MATLAB file {version}, expected version 7.3 (HDF5) as published; download "
            "it again, or save it with '-v7.3'"
        )
    (codes,) = read_hdf5(path, "cjdata/PID")
    try:  # a MATLAB string: character codes in a column
        text = "".join(chr(code) for code in codes.ravel().tolist())
    except (TypeError, ValueError, OverflowError) as error:
        raise HarmosegError(f"{path}: cjdata/PID is no text ({error})") from error
    # MATLAB writes an empty string as two zeros: all patients without a name would be one.
    if not text.strip() or not text.isprintable():
        raise HarmosegError(f"{path}: cjdata/PID is {text!r}, expected a name; replace the file")
    return text


def _read_matlab(path: Path) -> Sample:
    image, mask = read_hdf5(path, "cjdata/image", "cjdata/tumorMask")
    if image.ndim != 2 or mask.ndim != 2:
        raise HarmosegError(
            f"{path}: arrays of shape {[image.shape, mask.shape]}, expected two dimensions"
        )
    # MATLAB stores columns first, so HDF5 shows every array transposed.
    return sample_of_arrays(
        image.T[None],
        mask.T[None],
        path,
        classes={0: 0, 1: 1},
        window=(float(np.min(image)), float(np.max(image))),
    )
