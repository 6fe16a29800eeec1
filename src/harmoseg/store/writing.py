"""Writing a prepared store, case by case, in constant memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.files import folder_in_progress, sha256_of, write_csv, write_json
from harmoseg.store.layout import (
    CASE_COLUMNS,
    CASES_FILE,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SCHEMA,
    SPLITS,
    Case,
    native_name,
)


class StoreWriter:
    """Fill the arrays of a store that is being made; use `writing_store` to get one."""

    def __init__(self, folder: Path, card: Card, count: int, shape: tuple[int, int, int]) -> None:
        self._folder = folder
        self._card = card
        self._cases: list[Case] = []
        self._native_hash = hashlib.sha256()
        self._shape = shape
        self._images = _new_array(folder / IMAGES_FILE, (count, *shape))
        self._labels = _new_array(folder / LABELS_FILE, (count, *shape[:2]))
        (folder / NATIVE_FOLDER).mkdir()

    def add(self, case: Case, image: NDArray[np.uint8], native: NDArray[np.uint8]) -> None:
        """Add the next case: `image` (H', W', C) and `native` labels (H', W') as in the source.

        Both are brought to the store's size here, the labels by majority.
        """
        height, width, _ = self._shape
        index = len(self._cases)
        self._images[index] = resize_image(image, height, width)
        self._labels[index] = resize_label(native, height, width)
        path = self._folder / NATIVE_FOLDER / native_name(index)
        Image.fromarray(native).save(path, compress_level=1)
        self._native_hash.update(native.tobytes())
        self._cases.append(case)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Write the table and, last, store.json."""
        for array, name in ((self._images, "images"), (self._labels, "labels")):
            if len(self._cases) != len(array):
                raise HarmosegError(f"{len(array)} {name} expected, {len(self._cases)} were added")
            array.flush()
        write_csv(self._folder / CASES_FILE, CASE_COLUMNS, (case.to_row() for case in self._cases))
        hashes = {
            name: sha256_of(self._folder / name) for name in (CASES_FILE, IMAGES_FILE, LABELS_FILE)
        }
        hashes[NATIVE_FOLDER] = self._native_hash.hexdigest()
        counts: Counter[str] = Counter(case.split for case in self._cases)
        height, width, channels = self._shape
        determining = [*hashes.values(), self._card.mode, *self._card.classes]
        write_json(
            self._folder / INFO_FILE,
            {
                "schema": SCHEMA,
                "card": asdict(self._card),
                "height": height,
                "width": width,
                "channels": channels,
                "counts": {split: counts[split] for split in SPLITS if counts[split]},
                "fingerprint": hashlib.sha256("\n".join(determining).encode()).hexdigest(),
                "hashes": hashes,
                "provenance": dict(provenance),
            },
        )


@contextmanager
def writing_store(
    out: Path, card: Card, *, count: int, shape: tuple[int, int, int], overwrite: bool = False
) -> Iterator[StoreWriter]:
    """Make the store `out` for `count` cases of `shape` (H, W, C).

    The folder appears under its name only after the block has ended well; the block must call
    `StoreWriter.finish`.
    """
    with folder_in_progress(out, mark=INFO_FILE, overwrite=overwrite) as folder:
        yield StoreWriter(folder, card, count, shape)


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize (H', W', C) to (height, width, C) with antialiasing."""
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[2])


def resize_label(label: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize a label map (H', W') to (height, width): each pixel takes the class that covers most.

    The nearest neighbour would instead move every outline by up to half a pixel, always to the
    same side when the scale is even.
    """
    if label.shape == (height, width):
        return label
    present = np.unique(label)
    shares = [
        np.asarray(
            Image.fromarray((label == value).astype(np.float32)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for value in present
    ]
    majority: NDArray[np.uint8] = present[np.argmax(shares, axis=0)]
    return majority


def _new_array(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    return np.lib.format.open_memmap(path, "w+", np.uint8, shape)
