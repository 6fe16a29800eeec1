"""What a report shows of single cases: a run's prediction and its Grad-CAM, one slice per case.

Made once, beside the evaluation, so that a report of many runs asks no network again. An exhibit is
the slice of a case with the most foreground, as the network sees it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.errors import HarmosegError
from harmoseg.explain.cam import grad_cam
from harmoseg.prediction.network import choose_device
from harmoseg.store.files import make_folder, write_bytes
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store
from harmoseg.store.tensors import normalise
from harmoseg.training.network import predicted_labels
from harmoseg.training.run import open_run

MOST = 120
"""Cases that are exhibited of a store at most, spread evenly over its order."""
CAM_LAYER = "decoder"
_CAM_SIDE = 64
_BATCH = 8


@dataclass(frozen=True)
class Exhibits:
    """One slice of every exhibited case under one run.

    `rows` (n,) are rows of the store; `labels` (n, H, W) what was predicted there; `cams` (n, h, w)
    the Grad-CAM of the foreground class that the truth has most of, 0 to 255.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.uint8]
    cams: NDArray[np.uint8]


def exhibited_rows(store: Store, split: Split) -> list[int]:
    """Choose the cases, by their place alone and not by any score, and of each its fullest slice."""
    numbers = store.cases_of(split)
    if len(numbers) > MOST:
        numbers = [numbers[i] for i in np.linspace(0, len(numbers) - 1, MOST).round().astype(int)]
    return [
        max(store.rows_of(n), key=lambda row: int(np.count_nonzero(store.labels[row])))
        for n in numbers
    ]


def make_exhibits(run: Path, store: Store, split: Split, out: Path) -> None:
    """Ask a finished run for its exhibits of a store, and write them."""
    experiment, network = open_run(run)
    network = network.to(choose_device()).eval()
    rows = exhibited_rows(store, split)
    labels, cams = [], []
    for part, images in _batches(store, rows):
        with torch.inference_mode():
            logits = network(normalise(images).contiguous(memory_format=torch.channels_last))
        labels.append(predicted_labels(logits.float(), experiment.mode).byte().cpu().numpy())
        classes = [_main_class(store.labels[row]) for row in part]
        cams.append(_cams(network, images, classes))
    make_folder(out.parent)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        rows=np.asarray(rows, np.int64),
        labels=np.concatenate(labels),
        cams=np.concatenate(cams),
    )
    write_bytes(out, buffer.getvalue())


def read_exhibits(path: Path) -> Exhibits | None:
    """Read what `make_exhibits` wrote, None where it is not there. Raises HarmosegError if bad."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return Exhibits(found["rows"], found["labels"], found["cams"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise HarmosegError(
            f"{path}: damaged ({error}); remove it and run the study again"
        ) from error


def _batches(store: Store, rows: Sequence[int]) -> Iterator[tuple[Sequence[int], Tensor]]:
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        images = np.stack([store.images[row] for row in part])
        yield part, torch.from_numpy(images).permute(0, 3, 1, 2).to(choose_device())


def _main_class(truth: NDArray[np.uint8]) -> int:
    """Name the foreground class with the most pixels, the first where there is none."""
    counts = np.bincount(truth[truth > 0].ravel(), minlength=2)
    return int(counts[1:].argmax()) + 1


def _cams(network: nn.Module, images: Tensor, classes: Sequence[int]) -> NDArray[np.uint8]:
    found: list[Tensor | None] = [None] * len(classes)
    for index in set(classes):
        chosen = [i for i, c in enumerate(classes) if c == index]
        maps = grad_cam(network, images[chosen], layer=CAM_LAYER, class_index=index)
        for i, one in zip(chosen, torch.from_numpy(maps), strict=True):
            found[i] = one
    stacked = torch.stack([one for one in found if one is not None])[:, None]
    if stacked.shape[-1] > _CAM_SIDE:
        stacked = F.adaptive_avg_pool2d(stacked, _CAM_SIDE)
    return (255 * stacked[:, 0]).round().byte().numpy()
