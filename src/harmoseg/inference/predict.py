"""Predict a file or a folder with a model: decoding, network and writing side by side.

Three ordered maps (`harmoseg.parallel`) lie around the network: threads decode and cut the next
cases, put predicted planes together, and write masks. None of them runs far ahead, so that memory
does not grow with the number of inputs.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harmoseg.datasets.pictures import quiet_decoding
from harmoseg.errors import HarmosegError
from harmoseg.files import printable, read_json
from harmoseg.inference.inputs import (
    Case,
    Input,
    find_inputs,
    problem_of,
    read_case,
    searched_folder,
)
from harmoseg.inference.options import MODEL_FILE, Device, PredictionOptions, resolve_precision
from harmoseg.inference.output_folder import FAILED, PredictionFolder, Row
from harmoseg.inference.planes import Plane, Window, gaussian, predict_planes, taper
from harmoseg.inference.predictor import BATCH, Predictor, choose_device
from harmoseg.inference.saved_model import ModelInfo, load_model
from harmoseg.inference.writing import outputs_of, write_outputs
from harmoseg.parallel import ordered_map
from harmoseg.progress import Progress
from harmoseg.store.writing import check_apart


@dataclass(frozen=True)
class Predictions:
    """Outcomes of the inputs, in order of their names.

    `done_before` counts those that an earlier call had predicted, `others` the files of other kinds
    by their ending. `remark` is what a person should know of the options, if anything.
    """

    rows: tuple[Row, ...]
    done_before: int
    others: Counter[str]
    remark: str = ""

    @property
    def failed(self) -> tuple[Row, ...]:
        """Return the inputs that could not be predicted."""
        return tuple(row for row in self.rows if row.status == FAILED)

    @property
    def told(self) -> str:
        """Return the outcome in one line."""
        done = len(self.rows) - len(self.failed)
        parts = [f"{done} of {len(self.rows)} predicted"]
        if self.done_before:
            parts[0] += f" ({self.done_before} of them before)"
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        if self.others:
            kinds = ", ".join(f"{count} {name}" for name, count in self.others.most_common(4))
            parts.append(f"{self.others.total()} file(s) of other kinds skipped ({kinds})")
        return "; ".join(parts)


def predict(
    model: Path,
    source: Path,
    out: Path,
    options: PredictionOptions | None = None,
    *,
    batch_size: int = BATCH,
    device: Device = "auto",
    overwrite: bool = False,
) -> Predictions:
    """Predict a file, or all files below a folder, into the folder `out`.

    `model` is a model folder or a finished run. A second call with the same model and options
    predicts what is not done yet. An input that cannot be predicted does not stop the others: its
    row says why.

    Raises HarmosegError where nothing can begin: no model, nothing that this model predicts, an
    output that overlaps the input or was made with another model or other options.
    """
    options = options or PredictionOptions()
    if batch_size < 1:
        raise HarmosegError(f"batch_size must be 1 or more, got {batch_size}")
    check_apart(out, searched_folder(source))
    chosen = choose_device(device)
    if chosen == "cuda" and not torch.cuda.is_available():
        raise HarmosegError("device is cuda, but PyTorch finds no such device; use cpu or auto")
    options = replace(options, precision=resolve_precision(options.precision, chosen))
    opened = load_model(model)
    info = opened.info
    found, others = find_inputs(source)
    inputs = [replace(item, problem=problem_of(item, info, options)) for item in found]
    if all(item.problem for item in inputs):
        more = f" (and {len(inputs) - 1} more like it)" if len(inputs) > 1 else ""
        raise HarmosegError(f"{inputs[0].problem}{more}")
    predictor = Predictor(
        [opened.network],
        info.mode,
        chosen,
        bf16=options.precision == "bf16",
        flips=options.tta,
    )
    claim = _claim(model, source, info, options)
    with PredictionFolder(out, claim, info.card.classes[1:], overwrite) as folder:
        before = _predict_all(folder, inputs, info, predictor, options, batch_size)
        rows = tuple(folder.rows[printable(item.name)] for item in inputs)
    return Predictions(rows, before, others, _remark(info, options))


def _remark(info: ModelInfo, options: PredictionOptions) -> str:
    """Return a remark where a sliding window shows another scale than training did."""
    if options.window != "sliding" or info.card.tile == info.height:
        return ""
    seen = f"squares of {info.card.tile} px" if info.card.tile else "whole planes"
    return (
        f"this model was trained on {seen} resized to {info.width} x {info.height}; under a "
        "sliding window it sees another scale, which can make masks much worse: look at them, or "
        "leave --window out"
    )


def _claim(
    model: Path, source: Path, info: ModelInfo, options: PredictionOptions
) -> dict[str, Any]:
    """Return what determines the masks, and how to read them."""
    card = info.card
    values = {
        "harmoseg": version("harmoseg"),
        "input": str(source.resolve()),
        "model": {
            "seal": read_json(model / MODEL_FILE, what="the description of a model")["seal"],
            "name": info.name,
            "encoder": info.encoder,
            "trained": dict(info.trained),
        },
        "classes": list(card.classes),
        "image_masks": "0 and 255" if card.mode == "binary" else "class indices with a palette",
        "volume_masks": "class indices",
        "options": asdict(options),
    }
    # As it will be read again: tuples are lists there.
    return dict(json.loads(json.dumps(values)))


def _predict_all(
    folder: PredictionFolder,
    inputs: Sequence[Input],
    info: ModelInfo,
    predictor: Predictor,
    options: PredictionOptions,
    batch_size: int,
) -> int:
    """Predict what is not done; return how much was done before."""
    before = 0

    def read(item: Input) -> Case | Row | None:
        """Read an input; return a row where that fails, nothing where it was done before."""
        try:
            if item.problem:
                raise HarmosegError(item.problem)
            if folder.is_done(item, outputs_of(item, options)):
                return None
            return read_case(item, info, options)
        except Exception as error:  # a stranger's file: decoders raise whatever it leads them to
            return _failure(item, error)

    def record(row: Row) -> None:
        folder.add(row)
        progress.update()

    def cases() -> Iterator[tuple[Case, tuple[int, ...], list[Window]]]:
        nonlocal before
        for found in decoded:
            if isinstance(found, Case):
                yield found, found.image.shape, found.windows
            elif found is None:
                before += 1
                progress.update()
            else:
                record(found)

    def decide(plane: Plane[Case]) -> Plane[Case]:
        started = time.perf_counter()
        _ = plane.label  # kept by the plane
        plane.seconds += time.perf_counter() - started
        return plane

    def write(item: _Masks) -> Row:
        return _write(folder.path, item, info, options)

    with (
        quiet_decoding(),
        Progress(len(inputs), "predicting") as progress,
        closing(ordered_map(read, inputs, memory=lambda item: item.memory)) as decoded,
    ):
        weigh = taper if options.window == "whole" else gaussian
        predicted = predict_planes(predictor, cases(), weigh=weigh, batch_size=batch_size)
        decided = ordered_map(decide, predicted, eager=True)
        masks = _whole_cases(decided, keep=options.probabilities)
        try:
            for row in ordered_map(write, masks, memory=lambda item: item.memory, eager=True):
                record(row)
        except torch.OutOfMemoryError as error:
            raise HarmosegError(
                f"too little memory on {predictor.device} for batches of {batch_size} images; "
                "pass a smaller --batch-size, or --device cpu"
            ) from error
    return before


@dataclass(eq=False)
class _Masks:
    """A case between the network and the disk.

    `label` is (D, H, W), `probabilities` (D, C, H, W) where they are kept, and `seconds` what was
    spent on it so far.
    """

    case: Case
    label: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None
    seconds: float

    @property
    def memory(self) -> int:
        """Return the bytes that it takes."""
        kept = 0 if self.probabilities is None else self.probabilities.nbytes
        return self.label.nbytes + kept


def _whole_cases(planes: Iterable[Plane[Case]], *, keep: bool) -> Generator[_Masks]:
    """Collect the planes of every case."""
    masks: _Masks | None = None
    for plane in planes:
        if masks is None:
            shape = plane.item.image.shape
            label = np.empty(shape[:3], np.uint8)
            kept = np.empty((shape[0], *plane.probabilities.shape), np.float32) if keep else None
            masks = _Masks(plane.item, label, kept, plane.item.seconds)
        masks.label[plane.number] = plane.label
        if masks.probabilities is not None:
            masks.probabilities[plane.number] = plane.probabilities
        masks.seconds += plane.seconds
        if plane.last:
            yield masks
            masks = None


def _write(out: Path, masks: _Masks, info: ModelInfo, options: PredictionOptions) -> Row:
    started = time.perf_counter()
    case, label = masks.case, masks.label
    try:
        write_outputs(out, case, info.card, label, masks.probabilities, overlay=options.overlays)
    except Exception as error:  # a stranger's file again: its header may hold what cannot be kept
        return _failure(case.item, error, "its mask cannot be written")
    is_image = case.item.kind == "image"
    # Several times faster than a histogram, which takes its input in 64 bits.
    counts = [int(np.count_nonzero(label == c)) for c in range(1, len(info.classes))]
    return Row(
        case.item.name,
        case.item.kind,
        label.shape[1:] if is_image else label.shape,
        case.spacing,
        masks.seconds + time.perf_counter() - started,
        tuple(counts),
        mask=outputs_of(case.item, options)[0],
        sha256=case.sha256,
    )


def _failure(item: Input, error: Exception, what: str = "cannot be read") -> Row:
    line = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        line = f"{item.files[0]}: too little memory for it ({line}); crop it, or free memory"
    elif not isinstance(error, HarmosegError):
        line = f"{item.files[0]}: {what} ({type(error).__name__}: {line}); replace the file"
    return Row(item.name, item.kind, error=line)
