"""Commands on losses, networks and runs: xray, train, predict, explain, export, info.

What needs torch is imported within a command: it takes seconds, and --help should not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path
from typing import Literal

from harmoseg.cli.parsing import Parser
from harmoseg.errors import HarmosegError
from harmoseg.inference.options import Device, PredictionOptions, is_model
from harmoseg.store.layout import Split
from harmoseg.store.writing import check_apart_from_sources
from harmoseg.training.options import Execution, TrainingOptions

_MOST_TOLD = 20


@dataclass(frozen=True)
class ImageFolder:
    """For a folder of images and masks.

    Args:
        images: Its subfolder of images; images if absent.
        masks: Its subfolder of masks; masks if absent.
        size: Side of what the network sees; 224 if absent.
    """

    images: str | None = None
    masks: str | None = None
    size: int | None = None


def xray(
    losses: Sequence[str],
    *,
    mode: Literal["binary", "multiclass", "multilabel"] = "binary",
    store: Path | None = None,
    html: Path | None = None,
    json: Path | None = None,
) -> None:
    """Examine losses.

    Whether a loss is safe to train with, which details its gradient sees, how much of it is Dice or
    cross-entropy in disguise, where it pulls, what it costs.

    Args:
        losses: Names of losses such as scc, rings or 'tversky(alpha=0.3,beta=0.7)', or import paths
            such as monai.losses.TverskyLoss.
        mode: The problem that the losses are asked on.
        store: Ask on masks of this store, not on the phantom's.
        html: Write a page with figures to this file.
        json: Write all numbers to this file.
    """
    from harmoseg.diagnostics.card_printing import cards_to_html, cards_to_text
    from harmoseg.diagnostics.loss_card import examine
    from harmoseg.diagnostics.probe import make_question
    from harmoseg.files import write_text
    from harmoseg.losses.method import parse_loss

    parsed = [parse_loss(text) for text in losses]
    question = make_question(mode, store)
    cards = [examine(loss, question) for loss in parsed]
    print(cards_to_text(cards))
    if html is not None:
        write_text(html, cards_to_html(cards))
        print(f"wrote {html}")
    if json is not None:
        write_text(json, dumps([loads(card.to_json()) for card in cards], indent=2) + "\n")
        print(f"wrote {json}")


def train(
    store: Path,
    *,
    out: Path,
    method: str = "unet+scc",
    seed: int = 0,
    folder: ImageFolder,
    options: TrainingOptions,
    execution: Execution,
) -> None:
    """Train one method on a store, or on a folder of images and masks.

    Interrupted, the same command continues.

    Args:
        store: The prepared store, or a folder of images and masks, which is prepared first.
        out: The run folder to write.
        method: model[+term[:weight]][@reduction], for example unet, unet+scc:0.5, unet+scc@sample.
        seed: Seed of everything random.
        folder: A folder of images and masks.
        options: The training.
        execution: The machine.
    """
    from harmoseg.datasets.preparing import store_of_folder
    from harmoseg.training.ranks import process_number
    from harmoseg.training.run import train as train_run

    store, told = store_of_folder(store, out, **asdict(folder))
    check_apart_from_sources(out, store)
    if told and not process_number():
        print(told)
    train_run(store, out, method=method, seed=seed, options=options, execution=execution)
    if not process_number():
        print(f"trained {out}; next: harmoseg evaluate {out} {store}")


def predict(
    model: Path,
    input: Path,
    out: Path,
    *,
    options: PredictionOptions,
    batch_size: int = 16,
    device: Device = "auto",
    overwrite: bool = False,
) -> int:
    """Predict, print what failed; return the exit status.

    Interrupted and called again, it predicts what is not done yet. Exit status: 0 without failures,
    1 where some files failed, 2 where nothing could begin.

    Args:
        model: A model folder or a finished run.
        input: A file or a folder: PNG, JPEG, TIFF, BMP, NIfTI, DICOM, HDF5 (array image).
        out: The folder to write; it mirrors the input's names.
        options: The masks.
        batch_size: Images that the network sees at a time.
        device: Where the network runs.
        overwrite: Replace predictions that were made with another model or other options.
    """
    from harmoseg.inference.predict import predict as predict_files

    found = predict_files(
        model, input, out, options, batch_size=batch_size, device=device, overwrite=overwrite
    )
    for row in found.failed[:_MOST_TOLD]:
        print(f"failed: {row.error}", file=sys.stderr)
    if len(found.failed) > _MOST_TOLD:
        more = len(found.failed) - _MOST_TOLD
        print(f"and {more} more: see {out / 'predictions.csv'}", file=sys.stderr)
    if found.remark:
        print(f"note: {found.remark}")
    print(found.told)
    print(f"wrote {out}")
    return 1 if found.failed else 0


def explain(summary: str) -> Parser:
    """Make the parser of `explain`: a run, or data."""
    run = Parser.of(
        _explain_run,
        "Draw the spectral maps of a run's masks with their correlation to the truth's, and "
        "Grad-CAM at named layers (pip install 'harmoseg[report]').",
    )
    data = Parser.of(
        _explain_data,
        "Draw where images and masks have their power, and what small changes of masks do in space "
        "and in the spectrum.",
    )
    return Parser.of_several(
        "what",
        {
            "run": (run, "A trained run: spectral maps of its masks, Grad-CAM."),
            "data": (data, "A store: its spectra, and changes of its masks."),
        },
        prog="harmoseg explain",
        description=f"{summary} Every figure is written as PNG and SVG.",
    )


def _explain_run(
    run: Path,
    store: Path,
    *,
    out: Path,
    beside: Sequence[Path] = (),
    layer: Sequence[str] = ("encoder", "decoder"),
    target: str | None = None,
    cases: Sequence[str] = ("4",),
    split: Split = "test",
) -> None:
    """Draw spectral maps and Grad-CAM of a run.

    Args:
        run: The run folder.
        store: The store whose cases are shown.
        out: The folder to write into.
        beside: Further runs to show beside it, such as the same network with another loss.
        layer: Layers for Grad-CAM: encoder, bottleneck, decoder, or dotted names of modules.
        target: The class for Grad-CAM; the largest of each case if absent.
        cases: Names of cases, or how many: these are spread from small to large foregrounds.
        split: Of which split they are.
    """
    check_apart_from_sources(out, store)
    from harmoseg.explain.writing import write_run_explanation

    _print_written(
        write_run_explanation(
            [run, *beside], store, out, layers=layer, split=split, cases=cases, target=target
        )
    )


def _explain_data(
    store: Path, *, out: Path, cases: Sequence[str] = ("64",), split: Split = "train"
) -> None:
    """Draw spectra of a store.

    Args:
        store: The store to look at.
        out: The folder to write into.
        cases: Names of cases, or how many: these are spread from small to large foregrounds.
        split: Of which split they are.
    """
    check_apart_from_sources(out, store)
    from harmoseg.explain.writing import write_data_explanation

    _print_written(write_data_explanation(store, out, split=split, cases=cases))


def _print_written(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"wrote {path}")


def export(
    model: Path,
    out: Path,
    *,
    format: Literal["onnx", "torch", "monai"] = "onnx",
    batch: int = 0,
    overwrite: bool = False,
) -> None:
    """Export a model, and print what was written.

    Args:
        model: The model folder or finished run.
        out: The file to write, explained by OUT.json; for monai, the folder.
        format: The network alone as onnx (NAME.onnx) or torch, a program of torch.export
            (NAME.pt2); or monai, a bundle with preprocessing.
        batch: Fix the number of images of a network alone; 0 leaves it free.
        overwrite: Replace what is there already.
    """
    if format == "monai":
        from harmoseg.integrations.monai_bundle import export_bundle

        out = export_bundle(model, out, overwrite=overwrite)
        print(f"wrote {out}: how to run it is in {out / 'docs' / 'README.md'}")
        return
    from harmoseg.inference.exporting import export_onnx, export_torch
    from harmoseg.inference.saved_model import load_model

    export_network = {"onnx": export_onnx, "torch": export_torch}[format]
    export_network(load_model(model), out, batch=batch, overwrite=overwrite)
    print(f"wrote {out} and {out}.json")


def info(
    path: Path | None = None,
    *,
    preview: Path | None = None,
    corruptions: Path | None = None,
    model: str | None = None,
    encoder: str = "resnet50",
    size: int = 224,
    channels: int = 3,
    classes: int = 1,
    weights: str | None = None,
) -> None:
    """Print the description of a store, a model or a network; write pictures where asked.

    Args:
        path: The prepared store, model folder or finished run; none where --model is given.
        preview: Of a store: PNG file for ten random samples with masks.
        corruptions: Of a store: PNG file for a random case under every corruption at five
            severities.
        model: A network to describe: unet or transunet.
        encoder: Its encoder.
        size: Side of its images, in pixels.
        channels: Channels of its images.
        classes: Channels of its output.
        weights: imagenet or a .safetensors file: shows the card of the encoder's weights.
    """
    if path is not None and model is None:
        if is_model(path):
            from harmoseg.inference.describing import describe_model

            print(describe_model(path))
        else:
            _describe_store(path, preview, corruptions)
    elif path is None and model is not None:
        from harmoseg.inference.describing import describe_network

        print(
            describe_network(
                model,
                encoder=encoder,
                size=size,
                channels=channels,
                classes=classes,
                weights=weights,
            )
        )
    else:
        raise HarmosegError(
            "info takes the path of a store or a model, or --model with the name of a network, "
            "and one of the two"
        )


def _describe_store(path: Path, preview: Path | None, corruptions: Path | None) -> None:
    from harmoseg.store.inspecting import describe_store
    from harmoseg.store.reading import open_store

    store = open_store(path)
    for picture in filter(None, (preview, corruptions)):
        check_apart_from_sources(picture, path)
    print(describe_store(store))
    if preview is not None:
        from harmoseg.explain.preview import write_preview

        write_preview(store, preview)
        print(f"wrote {preview}")
    if corruptions is not None:
        from harmoseg.explain.preview import write_corruption_sheet

        write_corruption_sheet(store, corruptions)
        print(f"wrote {corruptions}")
