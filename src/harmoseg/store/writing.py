"""Writing a prepared store, case by case, in constant memory."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoseg.errors import HarmosegError
from harmoseg.files import folder_in_progress, sha256_of, write_csv, write_json
from harmoseg.store.card import Card
from harmoseg.store.layout import (
    CASE_COLUMNS,
    CASES_FILE,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SCHEMA,
    SLICE_COLUMNS,
    SLICES_FILE,
    SPLITS,
    Case,
    Slice,
    native_name,
)
from harmoseg.store.tiling import CutSample


class StoreWriter:
    """Append cases to a store that is being made; use `writing_store` to get one."""

    def __init__(self, folder: Path, card: Card, shape: tuple[int, int, int]) -> None:
        self._folder = folder
        self._card = card
        self._shape = shape
        self._cases: list[Case] = []
        self._slices: list[tuple[str, Slice]] = []
        self._native_hash = hashlib.sha256()
        self._images = _GrowingArray(folder / IMAGES_FILE, shape)
        self._labels = _GrowingArray(folder / LABELS_FILE, shape[:2])
        (folder / NATIVE_FOLDER).mkdir()

    def add(self, case: Case, cut: CutSample, native: NDArray[np.uint8]) -> None:
        """Add the next case: its slices, and its `native` labels (D, H, W) as in the source."""
        name = native_name(len(self._cases), depth=case.depth)
        path = self._folder / NATIVE_FOLDER / name
        if case.depth == 1:
            Image.fromarray(native[0]).save(path, compress_level=1)
        else:
            np.savez_compressed(path, label=native)
        self._native_hash.update(native.tobytes())
        self._images.append(cut.images)
        self._labels.append(cut.labels)
        self._cases.append(case)
        self._slices.extend((case.case, item) for item in cut.slices)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Write the tables and, last, store.json. Raises HarmosegError where no case was added."""
        if not self._cases:
            raise HarmosegError("no case was added: a store needs one or more")
        self._images.finish()
        self._labels.finish()
        write_csv(self._folder / CASES_FILE, CASE_COLUMNS, (case.to_row() for case in self._cases))
        rows = ({"case": name, **asdict(item)} for name, item in self._slices)
        write_csv(self._folder / SLICES_FILE, SLICE_COLUMNS, rows)
        hashes = {
            CASES_FILE: sha256_of(self._folder / CASES_FILE),
            SLICES_FILE: sha256_of(self._folder / SLICES_FILE),
            IMAGES_FILE: self._images.hash.hexdigest(),
            LABELS_FILE: self._labels.hash.hexdigest(),
            NATIVE_FOLDER: self._native_hash.hexdigest(),
        }
        counts: Counter[str] = Counter(case.split for case in self._cases)
        height, width, channels = self._shape
        write_json(
            self._folder / INFO_FILE,
            {
                "schema": SCHEMA,
                "card": asdict(self._card),
                "height": height,
                "width": width,
                "channels": channels,
                "counts": {split: counts[split] for split in SPLITS if counts[split]},
                "fingerprint": fingerprint_of(self._cases, hashes, self._card),
                "hashes": hashes,
                "provenance": dict(provenance),
            },
        )

    def close(self) -> None:
        """Close the files."""
        self._images.close()
        self._labels.close()


def fingerprint_of(cases: Sequence[Case], hashes: Mapping[str, str], card: Card) -> str:
    """Return the hash of everything that can change a result; see `StoreInfo`."""
    # By content: the same pictures under other file names are the same data.
    contents = [{**row.to_row(), **_NOT_CONTENT} for row in cases]
    determining = [
        json.dumps(contents, sort_keys=True),
        *(hashes[name] for name in (SLICES_FILE, IMAGES_FILE, LABELS_FILE, NATIVE_FOLDER)),
        card.mode,
        *card.classes,
    ]
    return hashlib.sha256("\n".join(determining).encode()).hexdigest()


_NOT_CONTENT = {"image": "", "mask": "", "sha256": ""}


@contextmanager
def writing_store(
    out: Path, card: Card, *, shape: tuple[int, int, int], overwrite: bool = False
) -> Iterator[StoreWriter]:
    """Make the store `out` with slices of `shape` (H, W, C).

    The folder appears under its name only after the block has ended well; the block must call
    `StoreWriter.finish`.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(folder_in_progress(out, mark=INFO_FILE, overwrite=overwrite))
        writer = StoreWriter(folder, card, shape)
        stack.callback(writer.close)
        yield writer
        if not (folder / INFO_FILE).exists():
            raise RuntimeError("StoreWriter.finish was not called")


class _GrowingArray:
    """A .npy file of uint8 that grows along its first axis, hashed as it is written.

    Written as a plain stream rather than through a memory map, whose pages would stay in the
    process's memory until the system takes them back.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.hash = hashlib.sha256()
        self._shape = shape
        self._count = 0
        self._stream = path.open("wb")
        self._stream.write(self._header())

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Write rows (n, *shape)."""
        if rows.shape[1:] != self._shape or rows.dtype != np.uint8:
            raise HarmosegError(
                f"{rows.dtype} rows of shape {rows.shape[1:]}, expected uint8 {self._shape}"
            )
        data = np.ascontiguousarray(rows).data
        self._stream.write(data)
        self.hash.update(data)
        self._count += len(rows)

    def finish(self) -> None:
        """Write the header anew, now with the final number of rows."""
        self._stream.seek(0)
        self._stream.write(self._header())
        self._stream.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._stream.close()

    def _header(self) -> bytes:
        # NumPy pads headers so that the first axis can grow without a change of length.
        buffer = io.BytesIO()
        fields = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(buffer, fields)
        return buffer.getvalue()
