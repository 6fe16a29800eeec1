"""harmoseg train: one method, one seed, one run folder."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser
from harmoseg.training.execution import Execution
from harmoseg.training.experiment import TrainingOptions

SUMMARY = "Train one method on a store."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg train", description=f"{SUMMARY} Interrupted, the same command continues."
    )
    parser.add_argument("store", type=Path, help="The prepared store.")
    parser.add_argument("--out", type=Path, required=True, help="The run folder to write.")
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--method",
        type=str,
        default="unet+scc",
        help="model[+term[:weight]][@reduction], for example unet, unet+scc:0.5, unet+scc@sample.",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of everything random.")
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
    from harmoseg.training.ranks import process_number
    from harmoseg.training.run import train

    values = arguments.as_dict()
    options = {name: values[name] for name in TrainingOptions.__dataclass_fields__}
    execution = {name: values[name] for name in Execution.__dataclass_fields__}
    train(
        values["store"],
        values["out"],
        method=values["method"],
        seed=values["seed"],
        options=TrainingOptions(**options),
        execution=Execution(**execution),
    )
    if not process_number():
        print(f"trained {values['out']}; next: harmoseg evaluate {values['out']} {values['store']}")
