"""harmoseg prepare: from images and masks to a prepared store."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.datasets.preparing import FolderOptions, prepare_folder, prepare_kvasir
from harmoseg.datasets.splitting import SplitRule

SUMMARY = "Turn a dataset's files into a prepared store."


def make_parser() -> Parser:
    """Describe the command and its datasets."""
    parser = Parser(
        prog="harmoseg prepare", description=f"{SUMMARY} Everything else works on stores."
    )
    datasets = parser.add_subcommands(required=True, dest="dataset")
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
    folder.add_class_arguments(SplitRule, None)
    datasets.add_subcommand("folder", folder, help="Your own images and masks.")
    kvasir = Parser(description="Prepare Kvasir-SEG with its official 880 / 120 split.")
    kvasir.add_argument(
        "--source", type=Path, required=True, help="Folder that holds images/ and masks/."
    )
    kvasir.add_argument("--out", type=Path, required=True, help="The store to write.")
    kvasir.add_argument("--size", type=int, default=224, help="Side of the training images.")
    kvasir.add_argument(
        "--overwrite", type=bool, default=False, help="Replace the store if it exists."
    )
    datasets.add_subcommand("kvasir-seg", kvasir, help="Kvasir-SEG polyps, official split.")
    phantom = Parser(description="Make images with known truth, from a seed.")
    phantom.add_class_arguments(PhantomOptions, None)
    datasets.add_subcommand("phantom", phantom, help="Made images, for trying things out.")
    return parser


def run(arguments: Namespace) -> None:
    """Prepare the dataset that was named."""
    values = arguments[arguments.dataset].as_dict()
    values.pop("config", None)
    if arguments.dataset == "kvasir-seg":
        prepare_kvasir(**values)
    elif arguments.dataset == "phantom":
        prepare_phantom(PhantomOptions(**values))
    else:
        split = {name: values.pop(name) for name in SplitRule.__dataclass_fields__}
        prepare_folder(FolderOptions(**values), SplitRule(**split))
    print(f"prepared {values['out']}")
