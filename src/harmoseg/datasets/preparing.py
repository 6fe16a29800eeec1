"""Preparing a store from a dataset's files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.folder import FolderOptions, SplitRule, list_folder
from harmoseg.datasets.readers import list_dataset
from harmoseg.datasets.sources import (
    READING,
    Listing,
    SourceCase,
    SourceOptions,
    check_complete,
    hash_files,
    in_parallel,
)
from harmoseg.errors import HarmosegError
from harmoseg.files import check_replaceable, read_json
from harmoseg.store.inspecting import is_whole
from harmoseg.store.layout import INFO_FILE, SCHEMA, Case
from harmoseg.store.reading import read_info
from harmoseg.store.tiling import CutSample, cut
from harmoseg.store.writing import check_apart, writing_store

REPLACE = "choose another output, or pass --overwrite to replace it"


@dataclass(frozen=True)
class PrepareOptions:
    """Options of making a store.

    Args:
        out: The store to write.
        size: Side of the square that networks see, in pixels.
        tile: Side, in pixels of the source, of the squares that images are cut into; 0 shows every
            image whole. What the dataset's card says when absent.
        overwrite: Replace the store if it exists.
    """

    out: Path
    size: int = 224
    tile: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first option that cannot be."""
        if self.size < 16:
            raise HarmosegError(f"size must be at least 16 pixels, got {self.size}")
        if self.tile is not None and self.tile != 0 and self.tile < 16:
            raise HarmosegError(f"tile must be 0 or at least 16 pixels, got {self.tile}")


def prepare_dataset(
    name: str, source: Path, options: PrepareOptions, choices: SourceOptions | None = None
) -> bool:
    """Prepare one of the package's datasets from its official files; see `prepare_listing`.

    Raises HarmosegError also where cases are missing, unless the choices allow it, and where the
    store would lie in a folder of the dataset's files.
    """
    choices = choices or SourceOptions()
    listing = list_dataset(name, source, choices)
    check_complete(listing, choices)
    check_apart(options.out, *{file.parent for item in listing.cases for file in item.files})
    return prepare_listing(listing, options)


def prepare_folder(
    folder: FolderOptions, split: SplitRule, options: PrepareOptions, *, cure: str = REPLACE
) -> bool:
    """Prepare a folder; return False where the store is there already, made from the same.

    `cure` as for `prepare_listing`. Raises HarmosegError, naming the file, for whatever is wrong
    with the data, and where the output lies among the images or masks; nothing is then left at
    `options.out`.
    """
    check_replaceable(options.out, mark=INFO_FILE, overwrite=True)
    check_apart(options.out, folder.images, folder.masks)
    return prepare_listing(list_folder(folder, split), options, cure=cure)


def store_of_folder(
    source: Path,
    run: Path,
    *,
    images: str | None = None,
    masks: str | None = None,
    size: int | None = None,
) -> tuple[Path, str]:
    """Return the store to train on, and a line that says what was done for it.

    A prepared store is taken as it is, and nothing is said. A folder with the subfolders `images`
    and `masks` (so called by default) is prepared with the defaults of `prepare_folder`, for
    networks that see `size` pixels (224), into RUN-store beside the run.

    Raises HarmosegError where `source` is neither, where options of preparing are given for a
    prepared store, and as `prepare_folder` does.
    """
    if (source / INFO_FILE).exists():
        given = {"images": images, "masks": masks, "size": size}
        unused = [f"--{name}" for name, value in given.items() if value is not None]
        if unused:
            raise HarmosegError(
                f"{source}: a prepared store; {', '.join(unused)} would change nothing: leave "
                "it out, or give the folder of images and masks"
            )
        return source, ""
    parts = [source / (images or "images"), source / (masks or "masks")]
    missing = [path.name for path in parts if not path.is_dir()]
    if missing:
        raise HarmosegError(
            f"{source}: neither a prepared store ({INFO_FILE} is missing) nor a folder of images "
            f"and masks (no {' and no '.join(missing)} in it); name the subfolders with --images "
            "and --masks, or prepare a store: harmoseg prepare --help"
        )
    check_apart(run, *parts)
    run = run.resolve()
    store = run.with_name(f"{run.name}-store")
    options = PrepareOptions(store) if size is None else PrepareOptions(store, size)
    folder = FolderOptions(parts[0], parts[1])
    cure = (
        "made from other files, for another size, or by an earlier version; remove it, or choose "
        "another --out"
    )
    if not prepare_folder(folder, SplitRule(), options, cure=cure):
        return store, f"{store} is there already, made from the same files"
    return store, f"prepared {store} from {source} (cases: {read_info(store).told_counts()})"


def prepare_listing(listing: Listing, options: PrepareOptions, *, cure: str = REPLACE) -> bool:
    """Write the store of a listing; return False where it is there already, made from the same.

    Whether it is the same is told by the hashes of all files and by every option; where it is, but
    damaged, it is made again. `cure` says what to do where another store is there. Raises
    HarmosegError, naming the file, for whatever is wrong with the data; nothing is then left at
    `options.out`.
    """
    tile = listing.card.tile if options.tile is None else options.tile
    card = replace(listing.card, tile=tile)
    hashes = list(in_parallel(lambda item: hash_files(item.files), listing.cases, "hashing"))
    recipe = _recipe(replace(listing, card=card), hashes, options.size)
    if not options.overwrite and _recipe_of(options.out) == recipe:
        if is_whole(options.out):
            return False
        # Made from the same files, it holds nothing that making it again does not give back.
        options = replace(options, overwrite=True)
    if options.out.exists() and not options.overwrite:
        raise HarmosegError(f"{options.out}: exists already; {cure}")
    if listing.survey is not None:
        card = replace(listing.survey(), tile=tile)
    shape = (options.size, options.size, card.channels)

    def work(item: tuple[SourceCase, str]) -> tuple[Case, CutSample, NDArray[np.uint8], str]:
        source, digest = item
        sample = source.read()
        slices = cut(sample, size=options.size, tile=tile)
        depth, height, width = sample.label.shape
        case = Case(
            case=source.case,
            group=source.group,
            split=source.split,
            subset=source.subset,
            slices=len(slices.slices),
            depth=depth,
            height=height,
            width=width,
            spacing=sample.spacing,
            affine=sample.affine,
            image=source.image,
            mask=source.mask,
            sha256=digest,
        )
        return case, slices, sample.label, sample.remark

    with writing_store(options.out, card, shape=shape, overwrite=options.overwrite) as writer:
        items = list(zip(listing.cases, hashes, strict=True))
        made = in_parallel(work, items, "preparing", memory=lambda item: item[0].memory)
        foreground = False
        remarks = list(listing.remarks)
        for case, slices, native, remark in made:
            writer.add(case, slices, native)
            remarks += [remark] if remark else []
            foreground = foreground or bool(native.any())
        if not foreground:
            raise HarmosegError(
                f"{card.title}: not one pixel of foreground in {len(items)} mask(s), the first of "
                f"them {items[0][0].mask}; check that these are the masks, and with which values"
            )
        determined_by = dict(listing.determined_by)
        writer.finish({"recipe": recipe, "determined_by": determined_by, "remarks": remarks})
    return True


def _recipe(listing: Listing, hashes: list[str], size: int) -> str:
    """Hash all that determines a store: files, options, card, and how the code reads and writes."""
    cases = [
        [item.case, item.group, item.split, item.subset, item.image, item.mask, digest]
        for item, digest in zip(listing.cases, hashes, strict=True)
    ]
    card = asdict(listing.card)
    if card["version"] == 1:  # written before cards had versions, a store has no word of it
        del card["version"]
    determining = [SCHEMA, READING, size, card, dict(listing.determined_by), cases]
    return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()


def _recipe_of(out: Path) -> object:
    """Return the recipe that a store was made by, None where there is no telling."""
    try:
        provenance = read_json(out / INFO_FILE, what="the description of a store")["provenance"]
        return provenance["recipe"]
    except (HarmosegError, KeyError, TypeError):
        return None
