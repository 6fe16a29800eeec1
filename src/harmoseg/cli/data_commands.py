"""Commands on data: prepare a store, verify files or a store."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from harmoseg.cli.parsing import Parser
from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.folder import FolderOptions, SplitRule
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset, prepare_folder
from harmoseg.datasets.readers import READERS
from harmoseg.datasets.sources import SourceOptions
from harmoseg.datasets.verifying import as_json, tell
from harmoseg.datasets.verifying import verify as verify_files
from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, write_json
from harmoseg.store.inspecting import remarks_of
from harmoseg.store.reading import read_info


def prepare(summary: str) -> Parser:
    """Make the parser of `prepare`: one command for every dataset."""
    commands = {
        "folder": (
            Parser.of(_folder, "Prepare any folder of images with a folder of masks.", config=True),
            "Your own images and masks.",
        ),
        "phantom": (
            Parser.of(_phantom, "Make images with known truth, from a seed."),
            "Made images, for trying things out.",
        ),
    }
    for name in READERS:
        card = load_card(name)
        told = f"Prepare {card.title}. Files: {card.layout}. Splits: {card.split_rule}."
        commands[name] = (Parser.of(partial(_dataset, name), told), card.title)
    return Parser.of_several(
        "dataset",
        commands,
        prog="harmoseg prepare",
        description=f"{summary} Everything else works on stores.",
    )


def _folder(
    *,
    folder: FolderOptions,
    options: PrepareOptions,
    split: SplitRule,
    test_only: bool = False,
) -> None:
    """Prepare a folder of images and masks.

    Args:
        folder: The folder.
        options: The store.
        split: The split.
        test_only: Keep every case for testing: the same as --test-fraction 1 --val-fraction 0.
    """
    if test_only:
        if split.split_file is not None:
            raise HarmosegError("--test-only and --split-file contradict each other; use one")
        split = replace(split, test_fraction=1.0, val_fraction=0.0)
    _print_prepared(options.out, made=prepare_folder(folder, split, options))


def _phantom(*, options: PhantomOptions) -> None:
    """Prepare made images."""
    prepare_phantom(options)
    print(f"prepared {options.out}")


def _dataset(name: str, *, source: Path, options: PrepareOptions, choices: SourceOptions) -> None:
    """Prepare a dataset from its official files.

    Args:
        name: Name of the dataset.
        source: The folder that was unpacked.
        options: The store.
        choices: What the reader is told.
    """
    _print_prepared(options.out, made=prepare_dataset(name, source, options, choices))


def _print_prepared(out: Path, *, made: bool) -> None:
    print(f"prepared {out}" if made else f"{out} is there already, made from the same files")
    info = read_info(out)
    for remark in remarks_of(info):
        print(f"note: {remark}")
    then = "compare" if info.counts.get("train") else "evaluate RUN"
    print(f"look at it: harmoseg info {out} --preview sheet.png; then: harmoseg {then} {out}")


def verify(
    store_or_source: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    fold: int | None = None,
    json: Path | None = None,
    page: Path | None = None,
) -> int:
    """Verify a dataset's files or a store; return the exit status.

    Exit status: 0 without errors, 1 with errors, 2 for a mistake in the command.

    Args:
        store_or_source: A prepared store, or the folder of a dataset's files.
        dataset: Whose files they are, such as kvasir-seg; found out when not given.
        split: Which of the dataset's splits to verify; its usual one when not given.
        fold: The fold that is tested, for datasets whose split is in folds, from 1.
        json: Write all findings to this file.
        page: Write an HTML page with pictures of what was found and of every split.
    """
    if page is not None:
        # Imported here: without a page neither Jinja2 nor the report's room is needed.
        from harmoseg.explain.verification import check_page, write_verification

        check_page(page)
    verification = verify_files(store_or_source, dataset, SourceOptions(split=split, fold=fold))
    print(tell(verification))
    if json is not None:
        make_folder(json.resolve().parent)
        write_json(json, as_json(verification))
        print(f"wrote {json}")
    if page is not None:
        write_verification(verification, page)
        print(f"wrote {page}")
    return verification.status
