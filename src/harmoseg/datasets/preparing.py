"""From a dataset's files to a prepared store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.labels import LabelRule, ValueSurvey, count_values, label_rule
from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.pictures import (
    is_grey,
    quiet_decoding,
    read_image,
    read_mask_values,
)
from harmoseg.datasets.splitting import SplitRule, check_listed, split_cases
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.files import sha256_of
from harmoseg.store.layout import Case
from harmoseg.store.writing import writing_store

_THREADS = 4
"""Decoding and resizing leave Python's lock alone, so threads are enough."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FolderOptions:
    """What `prepare_folder` may be told about a folder of images and masks.

    Args:
        images: Folder of images (PNG, JPEG, TIFF or BMP; subfolders included).
        masks: Folder of masks; may be the same folder when masks carry a suffix such as _mask.
        out: The store to write.
        size: Side of the square that networks train on, in pixels.
        name: Name of the dataset; that of the images' parent folder when absent.
        modality: What made the images, for the record.
        classes: Names of the classes, background first.
        label_values: Mask values of the classes, background first, where they are not 0, 1, 2, ...
        threshold: Read masks as binary, foreground above this value.
        channels: 1 or 3; 0 takes 1 when all images are grey.
        skip_unpaired: Leave out images without mask and masks without image.
        overwrite: Replace the store if it exists.
    """

    images: Path
    masks: Path
    out: Path
    size: int = 224
    name: str | None = None
    modality: str = "unknown"
    classes: list[str] | None = None
    label_values: list[int] | None = None
    threshold: int | None = None
    channels: int = 0
    skip_unpaired: bool = False
    overwrite: bool = False


def prepare_folder(options: FolderOptions, split: SplitRule) -> None:
    """Prepare anybody's folder of images and masks; see `FolderOptions` and `SplitRule`.

    Raises HarmosegError, naming the file, for whatever is wrong with the data; nothing is then
    left at `options.out`.
    """
    pairs = pair_files(options.images, options.masks, skip_unpaired=options.skip_unpaired)
    splits, groups = split_cases([pair.case for pair in pairs], split)
    survey = ValueSurvey()
    masks = [pair.mask for pair in pairs]
    for path, values in zip(masks, _parallel(count_values, masks, "masks"), strict=True):
        survey.add(path, values)
    rule = label_rule(survey, label_values=options.label_values, threshold=options.threshold)
    card = _folder_card(options, rule, pairs)
    _write(
        pairs,
        card,
        rule,
        splits,
        groups,
        out=options.out,
        size=options.size,
        overwrite=options.overwrite,
    )


def prepare_kvasir(source: Path, out: Path, *, size: int = 224, overwrite: bool = False) -> None:
    """Prepare Kvasir-SEG from its official layout with the official 880 / 120 split.

    `source` holds ``images/`` and ``masks/``. Raises HarmosegError where files are missing or do
    not fit the split list.
    """
    card = load_card("kvasir-seg")
    splits = load_split("kvasir-seg")
    pairs = pair_files(source / "images", source / "masks")
    cases = [pair.case for pair in pairs]
    check_listed(cases, splits, "kvasir-seg (880 / 120)")
    # Kvasir-SEG names no patients, so every image is a group of its own.
    groups = {case: case for case in cases}
    rule = LabelRule(threshold=127)
    _write(pairs, card, rule, splits, groups, out=out, size=size, overwrite=overwrite)


def _folder_card(options: FolderOptions, rule: LabelRule, pairs: Sequence[Pair]) -> Card:
    classes = options.classes or _default_classes(rule)
    if len(classes) != rule.classes:
        raise HarmosegError(
            f"classes: {len(classes)} name(s) given ({', '.join(classes)}), but the masks have "
            f"{rule.classes} classes, background included"
        )
    if options.channels not in {0, 1, 3}:
        raise HarmosegError(f"channels must be 1 or 3 (or 0 to decide), got {options.channels}")
    channels = options.channels
    if channels == 0:
        channels = 1 if all(is_grey(pair.image) for pair in pairs) else 3
    name = options.name or options.images.resolve().parent.name
    return Card(
        name=name,
        title=name,
        modality=options.modality,
        mode="binary" if rule.classes == 2 else "multiclass",
        classes=tuple(classes),
        channels=channels,
        layout="folder of images and folder of masks",
    )


def _default_classes(rule: LabelRule) -> list[str]:
    if rule.classes == 2:
        return ["background", "foreground"]
    return ["background", *(f"class {value}" for value in rule.values[1:])]


def _write(
    pairs: Sequence[Pair],
    card: Card,
    rule: LabelRule,
    splits: dict[str, str],
    groups: dict[str, str],
    *,
    out: Path,
    size: int,
    overwrite: bool,
) -> None:
    if size < 16:
        raise HarmosegError(f"size must be at least 16 pixels, got {size}")

    def read(pair: Pair) -> tuple[Case, NDArray[np.uint8], NDArray[np.uint8]]:
        image = read_image(pair.image, card.channels)
        label = rule.apply(read_mask_values(pair.mask), pair.mask)
        if image.shape[:2] != label.shape:
            raise HarmosegError(
                f"sizes differ: {pair.image} is {image.shape[1]} x {image.shape[0]} (width x "
                f"height), its mask {pair.mask.name} is {label.shape[1]} x {label.shape[0]}; "
                "an image and its mask must cover the same pixels"
            )
        case = Case(
            case=pair.case,
            group=groups[pair.case],
            split=splits[pair.case],  # type: ignore[arg-type]  # checked by split_cases
            height=label.shape[0],
            width=label.shape[1],
            image=pair.image.name,
            mask=pair.mask.name,
            image_sha256=sha256_of(pair.image),
            mask_sha256=sha256_of(pair.mask),
        )
        return case, image, label

    shape = (size, size, card.channels)
    with writing_store(out, card, count=len(pairs), shape=shape, overwrite=overwrite) as writer:
        for case, image, label in _parallel(read, pairs, "images"):
            writer.add(case, image, label)
        writer.finish({"label_rule": {"threshold": rule.threshold, "values": list(rule.values)}})


def _parallel(work: Callable[[Item], Result], items: Sequence[Item], what: str) -> Iterator[Result]:
    """Work on all items with threads, in order, a few ahead of the reader, with a progress bar."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        with (
            quiet_decoding(),
            tqdm(total=len(items), desc=what, unit="file", disable=None) as progress,
        ):
            for batch in _batched(items, 64):
                # One batch in memory at a time, however large the dataset is.
                for result in pool.map(work, batch):
                    yield result
                    progress.update()
    finally:
        # On an error or an interruption, what was not begun is dropped.
        pool.shutdown(cancel_futures=True)


def _batched(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces of `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
