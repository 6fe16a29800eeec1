"""Anybody's folder of images with a folder of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from harmoseg.datasets.label_values import LabelRule, ValueSurvey, count_values
from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.picture_cases import picture_case, read_picture_pair
from harmoseg.datasets.pictures import is_grey
from harmoseg.datasets.preparing import REPLACE, PrepareOptions, prepare_listing
from harmoseg.datasets.sources import Listing, in_parallel, make_listing
from harmoseg.datasets.splitting import SplitRule, split_cases
from harmoseg.errors import HarmosegError
from harmoseg.files import check_replaceable, read_json
from harmoseg.store.card import Card, check_class_names
from harmoseg.store.layout import INFO_FILE, Split
from harmoseg.store.output_check import check_apart
from harmoseg.store.tiling import Sample


@dataclass(frozen=True)
class FolderOptions:
    """What may be told about a folder of images and masks.

    Args:
        images: Folder of images (PNG, JPEG, TIFF or BMP; subfolders included).
        masks: Folder of masks; may be the same folder when masks carry a suffix such as _mask.
        name: Name of the dataset; that of the images' parent folder when absent.
        modality: What made the images, for the record.
        classes: Names of the classes, background first.
        label_values: Mask values of the classes, background first, where they are not 0, 1, 2, ...
        threshold: Read masks as binary, foreground above this value.
        channels: 1 or 3; 0 takes 1 when all images are grey.
        skip_unpaired: Leave out images without mask and masks without image.
    """

    images: Path
    masks: Path
    name: str | None = None
    modality: str = "unknown"
    classes: list[str] | None = None
    label_values: list[int] | None = None
    threshold: int | None = None
    channels: int = 0
    skip_unpaired: bool = False

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first option that cannot be."""
        if self.channels not in {0, 1, 3}:
            raise HarmosegError(f"channels must be 1 or 3 (or 0 to decide), got {self.channels}")
        check_class_names("classes", self.classes or ())


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
    counts = read_json(store / INFO_FILE, what="the description of a store")["counts"]
    told = ", ".join(f"{count} {split}" for split, count in counts.items())
    return store, f"prepared {store} from {source} (cases: {told})"


def list_folder(options: FolderOptions, split: SplitRule) -> Listing:
    """List the cases of a folder; the classes are known after the listing's survey."""
    pairs = pair_files(
        options.images,
        options.masks,
        skip_unpaired=options.skip_unpaired,
        cure="add or rename the files, or pass --skip-unpaired to leave them out",
    )
    splits, groups = split_cases([pair.case for pair in pairs], split)
    survey = _Survey(options, pairs)
    cases = [
        picture_case(
            pair,
            cast(Split, splits[pair.case]),  # checked by split_cases
            roots=(options.images, options.masks),
            read=survey.read,
            group=groups[pair.case],
        )
        for pair in pairs
    ]
    given = asdict(options)
    # Where the folders lie does not decide what is in them.
    determined_by = {
        key: given[key] for key in ("classes", "label_values", "threshold", "channels")
    }
    return make_listing(
        survey.card(()),
        cases,
        roots=[options.images, options.masks],
        determined_by=determined_by,
        survey=survey.run,
    )


@dataclass
class _Survey:
    """What is known of a folder's classes and channels only after reading all of it."""

    options: FolderOptions
    pairs: Sequence[Pair]
    rule: LabelRule | None = None
    channels: int = field(default=0)

    def run(self) -> Card:
        """Read all masks, and decide how to read them."""
        masks = [mask for pair in self.pairs for mask in pair.masks]
        values = ValueSurvey()
        for path, found in zip(masks, in_parallel(count_values, masks, "masks"), strict=True):
            values.add(path, found)
        rule = values.rule(self.options.label_values, self.options.threshold)
        classes = self.options.classes or _default_classes(rule)
        if len(classes) != rule.classes:
            raise HarmosegError(
                f"classes: {len(classes)} name(s) given ({', '.join(classes)}), but the masks "
                f"have {rule.classes} classes, background included"
            )
        self.rule = rule
        self.channels = self.options.channels
        if self.channels == 0:
            self.channels = 1 if all(is_grey(pair.image) for pair in self.pairs) else 3
        return self.card(tuple(classes))

    def card(self, classes: tuple[str, ...]) -> Card:
        """Describe the folder, as far as it is known."""
        name = self.options.name or self.options.images.resolve().parent.name
        return Card(
            name=name,
            title=name,
            modality=self.options.modality,
            mode="binary" if len(classes) == 2 else "multiclass",
            classes=classes,
            channels=self.channels,
            layout="folder of images and folder of masks",
        )

    def read(self, pair: Pair) -> Sample:
        """Read one case, once the survey has been run."""
        if self.rule is None:
            self.run()
        return read_picture_pair(pair, channels=self.channels, rule=cast(LabelRule, self.rule))


def _default_classes(rule: LabelRule) -> list[str]:
    if rule.classes == 2:
        return ["background", "foreground"]
    return ["background", *(f"class {value}" for value in rule.values[1:])]
