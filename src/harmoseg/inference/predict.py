"""Predict a file or a folder with a model: decoding, network and writing side by side.

Threads decode and cut the next cases while the network predicts; one thread puts planes together
behind it, in order, and others write. All of them leave Python's lock alone for most of their
time, and no queue between them grows with the number of inputs.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harmoseg.datasets.pictures import quiet_decoding
from harmoseg.datasets.sources import hash_files, work_ahead
from harmoseg.errors import HarmosegError
from harmoseg.files import printable, read_json
from harmoseg.inference.decoding import Case, problem_of, read_case
from harmoseg.inference.inputs import Input, find_inputs, searched_folder
from harmoseg.inference.options import Device, PredictionOptions
from harmoseg.inference.output_folder import FAILED, PredictionFolder, Row
from harmoseg.inference.postprocess import Behind, Pending, Planes
from harmoseg.inference.predictor import BATCH, Predictor, batched, choose_device
from harmoseg.inference.saved import MODEL_FILE, ModelInfo, load_model
from harmoseg.inference.windows import WEIGHTS, Window, cut_windows, stack_windows
from harmoseg.inference.writing import outputs_of, write_outputs
from harmoseg.models.precision import resolve_precision
from harmoseg.progress import Progress
from harmoseg.store.apart import check_apart


@dataclass(frozen=True)
class Predictions:
    """What became of the inputs, in order of their names.

    `done_before` counts those that an earlier call had predicted, `others` the files of other kinds
    by their ending. `remark` is what a person should know of the options, if anything.
    """

    rows: tuple[Row, ...]
    done_before: int
    others: Counter[str]
    remark: str = ""

    @property
    def failed(self) -> tuple[Row, ...]:
        """Give the inputs that could not be predicted."""
        return tuple(row for row in self.rows if row.status == FAILED)

    @property
    def told(self) -> str:
        """Say it in one line."""
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
    found = find_inputs(source)
    inputs = [
        replace(item, problem=problem_of(item, info, options)) if not item.problem else item
        for item in found.inputs
    ]
    if all(item.problem for item in inputs):
        more = f" (and {len(inputs) - 1} more like it)" if len(inputs) > 1 else ""
        raise HarmosegError(f"{inputs[0].problem}{more}")
    predictor = Predictor(
        opened.network.to(chosen),
        info.card.mode,
        chosen,
        bf16=options.precision == "bf16",
        flips=options.tta,
    )
    claim = _claim(model, source, info, options)
    with PredictionFolder(out, claim, info.card.classes[1:], overwrite) as folder:
        before = _predict_all(folder, inputs, info, predictor, options, batch_size)
        rows = tuple(folder.rows[printable(item.name)] for item in inputs)
    return Predictions(rows, before, found.others, _remark(info, options))


def _remark(info: ModelInfo, options: PredictionOptions) -> str:
    """Say where a sliding window shows a network another scale than training did."""
    if options.window != "sliding" or info.card.tile == info.height:
        return ""
    seen = f"squares of {info.card.tile} px" if info.card.tile else "whole planes"
    return (
        f"this model was trained on {seen} resized to {info.width} x {info.height}; under a "
        "sliding window it sees another scale, which can make masks much worse: look at them, or "
        "leave --window out"
    )


def predict_image(
    image: NDArray[np.uint8], info: ModelInfo, predictor: Predictor, options: PredictionOptions
) -> NDArray[np.float32]:
    """Predict one image or volume (D, H, W, C) in memory: probabilities (D, C, H, W)."""
    planes = Planes(image.shape, WEIGHTS[options.window], keep=True)
    for batch in batched(cut_windows(image, info, options)):
        predicted = predictor.probabilities(stack_windows(batch, predictor))
        for window, probabilities in zip(batch, predicted, strict=True):
            planes.add(window, probabilities)
    planes.finish()
    if planes.kept is None:
        raise RuntimeError("a case without planes")
    return planes.kept


def _claim(
    model: Path, source: Path, info: ModelInfo, options: PredictionOptions
) -> dict[str, Any]:
    """Say what determines the masks, and how they are to be read."""
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
        """Read an input; give a row where that fails, nothing where it was done before."""
        try:
            if item.problem:
                raise HarmosegError(item.problem)
            if folder.row(item.name) and folder.is_done(
                item.name, hash_files(item.files), outputs_of(item, options)
            ):
                return None
            return read_case(item, info, options)
        except Exception as error:  # a stranger's file: decoders raise whatever it leads them to
            return _failure(item, error)

    def pending(cases: Iterable[Case | Row | None]) -> Iterator[tuple[Pending, Window]]:
        nonlocal before
        for case in cases:
            if isinstance(case, Case):
                planes = Planes(case.image.shape, WEIGHTS[options.window], options.probabilities)
                made = Pending(case, planes, case.seconds)
                yield from ((made, window) for window in case.windows)
            elif case is None:
                before += 1
                progress.update()
            else:
                record(case)

    def record(row: Row) -> None:
        folder.add(row)
        progress.update()

    def write(item: Pending) -> Row:
        return _write(folder.path, item, info, options)

    with ExitStack() as stack:
        stack.enter_context(quiet_decoding())
        progress = stack.enter_context(Progress(len(inputs), "predicting"))
        behind = stack.enter_context(Behind(write, record))
        cases = stack.enter_context(
            closing(work_ahead(read, inputs, memory=lambda item: item.memory))
        )
        batches = (
            (batch, stack_windows([window for _, window in batch], predictor))
            for batch in batched(pending(cases), batch_size)
        )
        try:
            for batch, probabilities, seconds in predictor.in_order(batches):
                behind.add(batch, probabilities, seconds / len(batch))
        except torch.OutOfMemoryError as error:
            raise HarmosegError(
                f"too little memory on {predictor.device} for batches of {batch_size} images; "
                "pass a smaller --batch-size, or --device cpu"
            ) from error
    return before


def _write(out: Path, item: Pending, info: ModelInfo, options: PredictionOptions) -> Row:
    started = time.perf_counter()
    case, label = item.case, item.planes.label
    try:
        write_outputs(out, case, info.card, label, item.planes.kept, overlay=options.overlays)
    except Exception as error:  # a stranger's file again: its header may hold what cannot be kept
        return _failure(case.item, error, "its mask cannot be written")
    is_image = case.item.kind == "image"
    # Several times faster than a histogram, which takes its input in 64 bits.
    counts = [int(np.count_nonzero(label == c)) for c in range(1, len(info.card.classes))]
    return Row(
        case.item.name,
        case.item.kind,
        label.shape[1:] if is_image else label.shape,
        case.spacing,
        item.seconds + time.perf_counter() - started,
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
