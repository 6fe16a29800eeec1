"""Take a trained network elsewhere: ONNX, or PyTorch's own exported program."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, sha256_of, whole_file, write_json
from harmoseg.inference.saved_model import SavedModel
from harmoseg.store.transforms import normalisation

SCHEMA = 1
INPUT = "images"
OUTPUT = "logits"

_FREE_SIZE = (64, 96)
"""Height and width that a network is followed at where both are free: neither equal nor 1."""
_TOLERANCE = 1e-4


def export_onnx(model: SavedModel, out: Path, *, batch: int = 0, overwrite: bool = False) -> None:
    """Write a network as an ONNX file, with ``OUT.json`` beside it that says how to use it.

    `batch` fixes the number of images, 0 leaves it free. Height and width are free for UNet where
    its encoder allows, else those of the model.

    Raises HarmosegError where the network cannot be exported, `out` is there already (unless
    `overwrite`) or does not end in ``.onnx``, or the extra ``export`` is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise HarmosegError(
            f"ONNX export needs {' and '.join(missing)}; install with: "
            "pip install 'harmoseg[export]'"
        )

    def write(program: ExportedProgram, file: Path) -> None:
        exported = torch.onnx.export(
            program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
        )
        if exported is None:
            raise HarmosegError(f"{out}: torch.onnx made no program of this network")
        exported.save(file, external_data=False)

    _export(model, out, write, form="onnx", suffix=".onnx", batch=batch, overwrite=overwrite)


def export_torch(model: SavedModel, out: Path, *, batch: int = 0, overwrite: bool = False) -> None:
    """Write a network as a program of `torch.export` (``.pt2``), with ``OUT.json`` beside it.

    As `export_onnx`; it needs PyTorch alone, and neither segmentation-models-pytorch nor harmoseg
    to run.
    """

    def write(program: ExportedProgram, file: Path) -> None:
        # Not to the file's name: PyTorch reports no OSError where that cannot be written.
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        file.write_bytes(buffer.getbuffer())

    _export(model, out, write, form="torch", suffix=".pt2", batch=batch, overwrite=overwrite)


def _export(
    model: SavedModel,
    out: Path,
    write: Callable[[ExportedProgram, Path], None],
    *,
    form: str,
    suffix: str,
    batch: int,
    overwrite: bool,
) -> None:
    if out.suffix != suffix:
        raise HarmosegError(f"{out}: the format {form} is written to a file NAME{suffix}")
    if batch < 0:
        raise HarmosegError(f"batch must be 1 or more, or 0 to leave it free, got {batch}")
    if out.exists() and not overwrite:
        raise HarmosegError(
            f"{out}: exists already; choose another output, or pass --overwrite to replace it"
        )
    make_folder(out.parent)
    with _quiet():
        program = _follow(model, batch)
        with whole_file(out) as partial:
            write(program, partial)
            # Before the file gets its name: nothing is left where either cannot be written.
            description = _describe(model, program, partial, form, out.name)
            write_json(out.with_name(f"{out.name}.json"), description)


def _follow(model: SavedModel, batch: int) -> ExportedProgram:
    """Follow a network through one forward pass, with free sizes where that works."""
    reasons: list[str] = []
    for free in (True, False) if model.info.name == "unet" else (False,):
        try:
            program = _follow_at(model, batch, free=free)
            if free and not all(isinstance(size, torch.SymInt) for size in _shape(program)[2:]):
                continue  # the encoder ties itself to the size that it was followed at
            _check_same(model, program, batch or 2)
            return program
        except HarmosegError:
            raise
        except Exception as error:  # whatever PyTorch's compiler raises
            reasons.append(" ".join(str(error).split())[:300])
    raise HarmosegError(
        f"{model.path}: torch.export cannot follow {model.info.name} with encoder "
        f"{model.info.encoder} ({'; '.join(reasons)}); choose another encoder"
    )


def _follow_at(model: SavedModel, batch: int, *, free: bool) -> ExportedProgram:
    info = model.info
    size = _FREE_SIZE if free else (info.height, info.width)
    images = torch.zeros(batch or 2, info.channels, *size)
    shapes: dict[int, Any] = {} if batch else {0: Dim("batch", min=1)}
    if free:
        shapes |= {2: Dim.AUTO, 3: Dim.AUTO}
    # The parameters want no gradient: otherwise the program would carry what training needs.
    with torch.no_grad():
        return torch.export.export(
            model.network.cpu().eval(), (images,), dynamic_shapes=(shapes or None,), strict=False
        )


def _check_same(model: SavedModel, program: ExportedProgram, batch: int) -> None:
    """Raise HarmosegError unless the program gives what the network gives, at the model's size."""
    info = model.info
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, info.channels, info.height, info.width, generator=generator)
    with torch.no_grad():
        difference = (program.module()(images) - model.network(images)).abs().max().item()
    if not difference <= _TOLERANCE:
        raise HarmosegError(
            f"{model.path}: the exported network differs from the original by {difference:.2g} "
            f"(at most {_TOLERANCE} is expected); nothing was written"
        )


def _shape(program: ExportedProgram) -> tuple[int | torch.SymInt, ...]:
    """Return the shape (B, C, H, W) of what a program takes, a symbol where it is free."""
    name = program.graph_signature.user_inputs[0]
    node = next(node for node in program.graph.nodes if node.name == name)
    value: Tensor = node.meta["val"]
    return tuple(value.shape)


def _describe(
    model: SavedModel, program: ExportedProgram, file: Path, form: str, name: str
) -> dict[str, object]:
    """Describe the input and output of a program, for people who have the two files alone."""
    info, card = model.info, model.info.card
    mean, std = normalisation(info.channels)
    axes = zip(("batch", "channels", "height", "width"), _shape(program), strict=True)
    binary = card.mode == "binary"
    return {
        "schema": SCHEMA,
        "format": form,
        "file": name,
        "sha256": sha256_of(file),
        "input": {
            "name": INPUT,
            "type": "float32",
            "shape": [size if isinstance(size, int) else name for name, size in axes],
            "trained_at": [info.height, info.width],
            "preprocessing": "bytes / 255, then (value - mean) / std per channel",
            "mean": mean,
            "std": std,
        },
        "output": {
            "name": OUTPUT,
            "shape": ["batch", info.channels_out, "height", "width"],
            "meaning": "logits of the foreground: sigmoid, foreground above 0.5"
            if binary
            else "logits of every class: softmax over axis 1, the greatest decides",
        },
        "classes": list(card.classes),
        "mode": card.mode,
        "model": {"name": info.name, "encoder": info.encoder, "trained": dict(info.trained)},
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks on their own workings off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
