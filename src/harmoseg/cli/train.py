"""harmoseg train: one method, one seed, one run folder."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.training.options import Execution, TrainingOptions

SUMMARY = SUMMARIES["train"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg train", description=f"{SUMMARY} Interrupted, the same command continues."
    )
    parser.add_argument(
        "store",
        type=Path,
        help="The prepared store, or a folder of images and masks, which is prepared first.",
    )
    parser.add_argument("--out", type=Path, required=True, help="The run folder to write.")
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--method",
        type=str,
        default="unet+scc",
        help="model[+term[:weight]][@reduction], for example unet, unet+scc:0.5, unet+scc@sample.",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of everything random.")
    folder = parser.add_argument_group("For a folder of images and masks")
    folder.add_argument(
        "--images", type=str, default=None, help="Its subfolder of images; images if absent."
    )
    folder.add_argument(
        "--masks", type=str, default=None, help="Its subfolder of masks; masks if absent."
    )
    folder.add_argument(
        "--size", type=int, default=None, help="Side of what the network sees; 224 if absent."
    )
    parser.add_class_arguments(TrainingOptions, None)
    parser.add_class_arguments(Execution, None, skip={"loggers"})
    # Apart: several names after one flag, which a class's argument does not take.
    parser.add_argument(
        "--loggers",
        type=str,
        nargs="*",
        default=[],
        help="Where to write what log.csv has, beside it: tensorboard, csv, or the import path of "
        "a Lightning logger such as lightning.pytorch.loggers.MLFlowLogger.",
    )
    return parser


def run(arguments: Namespace) -> None:
    """Train."""
    # Here and not above: the engine takes seconds to import, and --help should not wait for it.
    from harmoseg.datasets.preparing import store_of_folder
    from harmoseg.store.writing import check_apart_from_sources
    from harmoseg.training.ranks import process_number
    from harmoseg.training.run import train

    values = arguments.as_dict()
    # Options first: a mistake in one must not wait for the data.
    options = TrainingOptions(**{n: values[n] for n in TrainingOptions.__dataclass_fields__})
    execution = Execution(**{n: values[n] for n in Execution.__dataclass_fields__})
    store, told = store_of_folder(
        values["store"],
        values["out"],
        **{name: values[name] for name in ("images", "masks", "size")},
    )
    check_apart_from_sources(values["out"], store)
    if told and not process_number():
        print(told)
    train(
        store,
        values["out"],
        method=values["method"],
        seed=values["seed"],
        options=options,
        execution=execution,
    )
    if not process_number():
        print(f"trained {values['out']}; next: harmoseg evaluate {values['out']} {store}")
