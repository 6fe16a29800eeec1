"""harmoseg explain: pictures of what a network looks at, and of what spectra hold."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.store.layout import Split
from harmoseg.store.writing import check_apart_from_sources

SUMMARY = SUMMARIES["explain"]


def make_parser() -> Parser:
    """Describe the command and what it explains."""
    parser = Parser(
        prog="harmoseg explain", description=f"{SUMMARY} Every figure is written as PNG and SVG."
    )
    what = parser.add_subcommands(required=True, dest="what")
    what.add_subcommand(
        "run", _run_parser(), help="A trained run: spectral maps of its masks, Grad-CAM."
    )
    what.add_subcommand(
        "data", _data_parser(), help="A store: its spectra, and changes of its masks."
    )
    return parser


def _run_parser() -> Parser:
    parser = Parser(
        description="Draw the spectral maps of a run's masks with their correlation to the "
        "truth's, and Grad-CAM at named layers (pip install 'harmoseg[report]')."
    )
    parser.add_argument("run", type=Path, help="The run folder.")
    parser.add_argument("store", type=Path, help="The store whose cases are shown.")
    parser.add_argument("--out", type=Path, required=True, help="The folder to write into.")
    parser.add_argument(
        "--beside",
        type=Path,
        nargs="+",
        default=[],
        help="Further runs to show beside it, such as the same network with another loss.",
    )
    parser.add_argument(
        "--layer",
        type=str,
        nargs="+",
        default=["encoder", "decoder"],
        help="Layers for Grad-CAM: encoder, bottleneck, decoder, or dotted names of modules.",
    )
    parser.add_argument(
        "--target",
        type=str,
        default=None,
        help="The class for Grad-CAM; the largest of each case if absent.",
    )
    _add_cases(parser, count=4, split="test")
    return parser


def _data_parser() -> Parser:
    parser = Parser(
        description="Draw where images and masks have their power, and what small changes of masks "
        "do in space and in the spectrum."
    )
    parser.add_argument("store", type=Path, help="The store to look at.")
    parser.add_argument("--out", type=Path, required=True, help="The folder to write into.")
    _add_cases(parser, count=64, split="train")
    return parser


def _add_cases(parser: Parser, *, count: int, split: Split) -> None:
    parser.add_argument(
        "--cases",
        type=str,
        nargs="+",
        default=[str(count)],
        help="Names of cases, or how many: these are spread from small to large foregrounds.",
    )
    parser.add_argument("--split", type=Split, default=split, help="Of which split they are.")


def run(arguments: Namespace) -> None:
    """Write the figures and say where."""
    chosen = arguments[arguments.what]
    check_apart_from_sources(chosen.out, chosen.store)
    # Here and not above: torch takes seconds to import, and --help should not wait for it.
    if arguments.what == "run":
        from harmoseg.explain.writing import write_run_explanation

        written = write_run_explanation(
            [chosen.run, *chosen.beside],
            chosen.store,
            chosen.out,
            layers=chosen.layer,
            split=chosen.split,
            cases=chosen.cases,
            target=chosen.target,
        )
    else:
        from harmoseg.explain.writing import write_data_explanation

        written = write_data_explanation(
            chosen.store, chosen.out, split=chosen.split, cases=chosen.cases
        )
    for path in written:
        print(f"wrote {path}")
