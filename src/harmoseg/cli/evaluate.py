"""harmoseg evaluate: score a run on a store."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.metrics import Definition, OnEmpty
from harmoseg.store.layout import Split
from harmoseg.store.writing import check_apart_from_sources

SUMMARY = SUMMARIES["evaluate"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg evaluate",
        description=f"{SUMMARY} Interrupted and called again, it continues where it stopped.",
    )
    parser.add_argument("run", type=Path, help="The run folder.")
    parser.add_argument("store", type=Path, help="The store to test on.")
    parser.add_argument(
        "--out", type=Path, default=None, help="Folder to write; RUN/evaluations/STORE if absent."
    )
    parser.add_argument("--split", type=Split, default="test", help="Which split to score.")
    parser.add_argument(
        "--condition",
        type=str,
        nargs="+",
        action="extend",
        default=[],
        help="Corruptions to score beside the clean images: gaussian, gaussian:0.01 (a level), "
        "gaussian@3 (a severity of 1 to 5).",
    )
    parser.add_argument(
        "--corruption_seed", type=int, default=0, help="What corruptions are drawn from."
    )
    parser.add_argument(
        "--tta",
        type=bool,
        default=False,
        help="Average over the image and its mirror images (test-time augmentation).",
    )
    parser.add_argument(
        "--definition",
        type=Definition,
        default="pooled",
        help="Of HD95: the percentile of both directions pooled, or the max of the two.",
    )
    parser.add_argument(
        "--on_empty",
        type=OnEmpty,
        default="nan",
        help="Distances where prediction or truth is empty: nan leaves them out and counts them, "
        "diagonal punishes by that of the image, transunet is the rule of published tables.",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=2.0,
        help="Of the surface Dice (NSD): in mm where the store knows spacings, else in pixels.",
    )
    parser.add_argument(
        "--thin",
        type=bool | None,
        default=None,
        help="Measure centreline Dice and the number of connected parts too; as the dataset's card "
        "says if absent.",
    )
    parser.add_argument(
        "--calibration_band",
        type=float | None,
        default=None,
        help="Calibrate within this distance of the truth's boundary only, not over all pixels.",
    )
    parser.add_argument(
        "--keep_probabilities",
        type=bool,
        default=False,
        help="Keep probabilities at native resolution, in float16: large.",
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="Replace the folder if it exists."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Evaluate and print the summary."""
    from harmoseg.evaluation.case_scores import Measuring
    from harmoseg.evaluation.evaluate import EvaluationOptions, evaluate
    from harmoseg.evaluation.tables import format_summary

    out = arguments.out or arguments.run / "evaluations" / arguments.store.resolve().name
    check_apart_from_sources(out, arguments.store)
    options = EvaluationOptions(
        split=arguments.split,
        corruption_seed=arguments.corruption_seed,
        flips=arguments.tta,
        measuring=Measuring(
            definition=arguments.definition,
            on_empty=arguments.on_empty,
            tolerance=arguments.tolerance,
            calibration_band=arguments.calibration_band,
            thin=arguments.thin,
        ),
    )
    evaluation = evaluate(
        arguments.run,
        arguments.store,
        out,
        conditions=arguments.condition,
        options=options,
        keep_probabilities=arguments.keep_probabilities,
        overwrite=arguments.overwrite,
    )
    print(format_summary(evaluation.summary))
    print(f"wrote {out}")
