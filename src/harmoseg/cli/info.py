"""harmoseg info: what a store, a trained model or a network is, in words and in pictures."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.errors import HarmosegError
from harmoseg.inference.options import is_model

SUMMARY = SUMMARIES["info"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg info", description=SUMMARY)
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        default=None,
        help="The prepared store, model folder or finished run; none where --model is given.",
    )
    parser.add_argument(
        "--preview",
        type=Path,
        default=None,
        help="Of a store: PNG file for ten random samples with masks.",
    )
    parser.add_argument(
        "--corruptions",
        type=Path,
        default=None,
        help="Of a store: PNG file for a random case under every corruption at five severities.",
    )
    parser.add_argument(
        "--model", type=str, default=None, help="A network to describe: unet or transunet."
    )
    parser.add_argument("--encoder", type=str, default="resnet50", help="Its encoder.")
    parser.add_argument("--size", type=int, default=224, help="Side of its images, in pixels.")
    parser.add_argument("--channels", type=int, default=3, help="Channels of its images.")
    parser.add_argument("--classes", type=int, default=1, help="Channels of its output.")
    parser.add_argument(
        "--weights",
        type=str,
        default=None,
        help="imagenet or a .safetensors file: shows the card of the encoder's weights.",
    )
    return parser


def run(arguments: Namespace) -> None:
    """Print the description; write the pictures where asked."""
    if (arguments.path is None) == (arguments.model is None):
        raise HarmosegError(
            "info takes the path of a store or a model, or --model with the name of a network, "
            "and one of the two"
        )
    if arguments.model is not None:
        # Here and not above: torch takes seconds to import, and a store needs none of it.
        from harmoseg.inference.describing import describe_network

        print(
            describe_network(
                arguments.model,
                encoder=arguments.encoder,
                size=arguments.size,
                channels=arguments.channels,
                classes=arguments.classes,
                weights=arguments.weights,
            )
        )
    elif is_model(arguments.path):
        from harmoseg.inference.describing import describe_model

        print(describe_model(arguments.path))
    else:
        _describe_store(arguments)


def _describe_store(arguments: Namespace) -> None:
    from harmoseg.store.inspecting import describe_store
    from harmoseg.store.reading import open_store
    from harmoseg.store.writing import check_apart_from_sources

    store = open_store(arguments.path)
    for picture in (arguments.preview, arguments.corruptions):
        if picture is not None:
            check_apart_from_sources(picture, arguments.path)
    print(describe_store(store))
    if arguments.preview is not None:
        from harmoseg.explain.preview import write_preview

        write_preview(store, arguments.preview)
        print(f"wrote {arguments.preview}")
    if arguments.corruptions is not None:
        from harmoseg.explain.preview import write_corruption_sheet

        write_corruption_sheet(store, arguments.corruptions)
        print(f"wrote {arguments.corruptions}")
