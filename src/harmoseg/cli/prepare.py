"""harmoseg prepare: from images and masks to a prepared store."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.folder import FolderOptions, SplitRule
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset, prepare_folder
from harmoseg.datasets.readers import READERS
from harmoseg.datasets.sources import SourceOptions
from harmoseg.errors import HarmosegError
from harmoseg.store.inspecting import remarks_of
from harmoseg.store.reading import read_info

SUMMARY = SUMMARIES["prepare"]


def make_parser() -> Parser:
    """Describe the command and its datasets."""
    parser = Parser(
        prog="harmoseg prepare", description=f"{SUMMARY} Everything else works on stores."
    )
    datasets = parser.add_subcommands(required=True, dest="dataset")
    datasets.add_subcommand("folder", _folder_parser(), help="Your own images and masks.")
    phantom = Parser(description="Make images with known truth, from a seed.")
    phantom.add_class_arguments(PhantomOptions, None)
    datasets.add_subcommand("phantom", phantom, help="Made images, for trying things out.")
    for name in READERS:
        datasets.add_subcommand(name, _dataset_parser(name), help=load_card(name).title)
    return parser


def run(arguments: Namespace) -> None:
    """Prepare the dataset that was named."""
    values = arguments[arguments.dataset].as_dict()
    values.pop("config", None)
    out = values["out"]
    if arguments.dataset == "phantom":
        prepare_phantom(PhantomOptions(**values))
        print(f"prepared {out}")
        return
    options = PrepareOptions(**_taken(values, PrepareOptions))
    if arguments.dataset == "folder":
        if values.pop("test_only"):
            if values["split_file"] is not None:
                raise HarmosegError("--test-only and --split-file contradict each other; use one")
            values |= {"test_fraction": 1.0, "val_fraction": 0.0}
        split = SplitRule(**_taken(values, SplitRule))
        made = prepare_folder(FolderOptions(**values), split, options)
    else:
        choices = SourceOptions(**_taken(values, SourceOptions))
        made = prepare_dataset(arguments.dataset, values["source"], options, choices)
    print(f"prepared {out}" if made else f"{out} is there already, made from the same files")
    info = read_info(out)
    for remark in remarks_of(info):
        print(f"note: {remark}")
    then = "compare" if info.counts.get("train") else "evaluate RUN"
    print(f"look at it: harmoseg info {out} --preview sheet.png; then: harmoseg {then} {out}")


def _folder_parser() -> Parser:
    folder = Parser(description="Prepare any folder of images with a folder of masks.")
    folder.add_argument("--config", action="config", help="YAML file with any of these options.")
    # Lists as several words, which a class's options would only take in brackets.
    folder.add_class_arguments(FolderOptions, None, skip={"classes", "label_values"})
    folder.add_argument(
        "--classes", type=str, nargs="+", default=None, help="Class names, background first."
    )
    folder.add_argument(
        "--label_values",
        type=int,
        nargs="+",
        default=None,
        help="Mask values of the classes, background first, where they are not 0, 1, 2, ...",
    )
    folder.add_class_arguments(PrepareOptions, None)
    folder.add_class_arguments(SplitRule, None)
    folder.add_argument(
        "--test_only",
        type=bool,
        default=False,
        help="Keep every case for testing: the same as --test-fraction 1 --val-fraction 0.",
    )
    return folder


def _dataset_parser(name: str) -> Parser:
    card = load_card(name)
    parser = Parser(
        description=f"Prepare {card.title}. Files: {card.layout}. Splits: {card.split_rule}."
    )
    parser.add_argument("--source", type=Path, required=True, help="The folder that was unpacked.")
    parser.add_class_arguments(PrepareOptions, None)
    parser.add_class_arguments(SourceOptions, None)
    return parser


def _taken(values: dict[str, Any], options: type[Any]) -> dict[str, Any]:
    """Take the fields of an options class out of `values`."""
    return {item.name: values.pop(item.name) for item in fields(options)}
