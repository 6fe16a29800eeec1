"""How much of a prediction's time is not the network's.

python benchmarks/predicting.py --images 500 --out predicting.md

The whole of `predict` on a folder of phantom-like PNG images of 224 to 500 px, reading and writing
included, takes turns with the network alone on the same images, already in memory, in the same
batches and the same precision. The model is a UNet with ResNet-18 and random weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import Target, markdown_table, publish, targets_table
from PIL import Image
from scipy.ndimage import gaussian_filter

from harmoseg.datasets.pictures import read_image
from harmoseg.inference.options import PredictionOptions, resolve_precision
from harmoseg.inference.predict import predict
from harmoseg.inference.predictor import BATCH, choose_device
from harmoseg.inference.saved_model import ModelInfo, load_model, save_model
from harmoseg.store.card import Card
from harmoseg.store.tiling import resize_image
from harmoseg.store.transforms import images_to_tensor, normalise

SIZE = 224
LEAST = 0.9


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    rows, targets = [], []
    for mode, channels in (("binary", 3), ("multiclass", 1)):
        with tempfile.TemporaryDirectory() as folder:
            whole, alone = measure(Path(folder), mode, channels, arguments)
        ratios = [b / a for a, b in zip(whole, alone, strict=True)]
        ratio = statistics.median(ratios)
        name = f"{mode}, {channels} channel(s)"
        rows.append(
            [
                name,
                f"{arguments.images / statistics.median(whole):.1f}",
                f"{arguments.images / statistics.median(alone):.1f}",
                f"{ratio:.3f}",
                f"{min(ratios):.3f} to {max(ratios):.3f}",
            ]
        )
        targets.append(Target(name, f">= {LEAST} x network", f"{ratio:.3f} x", ratio >= LEAST))
    header = ["images", "predict, images/s", "network alone, images/s", "ratio", "range"]
    publish(
        "Throughput of predicting a folder",
        [
            targets_table(targets),
            f"Medians of {arguments.rounds} rounds, each of one `predict` of {arguments.images} "
            "PNG images of 224 to 500 px (opening the model, decoding, a UNet with ResNet-18 at "
            f"{SIZE} px, masks at the images' size, table) and of the network alone on the same "
            f"tensors, on {choose_device()} in {resolve_precision('auto')}.",
            markdown_table(header, rows),
        ],
        arguments.out,
    )


def measure(
    folder: Path, mode: str, channels: int, arguments: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Time predictions and the network alone, in turns."""
    classes = ("background", "organ", "vessel", "lesion")[: 2 if mode == "binary" else 4]
    card = Card("t", "T", "made", mode, classes, channels=channels)
    info = ModelInfo("unet", "resnet18", card, SIZE, SIZE, channels)
    torch.manual_seed(0)
    save_model(folder / "model", info, info.build().state_dict())
    paths = make_images(folder / "images", arguments.images, channels)
    device = choose_device()
    network = load_model(folder / "model").network.to(device)
    images = [resize_image(read_image(path, channels).pixels, SIZE, SIZE) for path in paths]
    batches = [
        normalise(images_to_tensor(np.stack(images[i : i + BATCH])).to(device)).contiguous(
            memory_format=torch.channels_last
        )
        for i in range(0, len(images), BATCH)
    ]
    bf16 = resolve_precision("auto") == "bf16"
    whole, alone = [], []
    for turn in range(arguments.rounds + 1):
        start = time.perf_counter()
        found = predict(
            folder / "model", folder / "images", folder / f"out{turn}", PredictionOptions()
        )
        middle = time.perf_counter()
        assert not found.failed and len(found.rows) == len(paths)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            for batch in batches:
                network(batch)
        if device == "cuda":
            torch.cuda.synchronize()
        whole.append(middle - start)
        alone.append(time.perf_counter() - middle)
    # The first turn fills caches.
    return whole[1:], alone[1:]


def make_images(folder: Path, count: int, channels: int) -> list[Path]:
    """Write phantom-like images: smooth shapes on a textured ground, 224 to 500 px."""
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = []
    for i in range(count):
        height, width = random.integers(224, 501, 2)
        y, x = np.mgrid[:height, :width]
        middle = random.uniform(0.3, 0.7, 2) * (height, width)
        inside = np.hypot(y - middle[0], x - middle[1]) < 0.2 * min(height, width)
        texture = gaussian_filter(random.normal(size=(height, width)), 3) * 150
        values = np.clip(90 + 70 * inside + texture + random.normal(0, 4, inside.shape), 0, 255)
        image = values.astype(np.uint8)
        if channels == 3:
            image = np.stack([image, image // 2, 255 - image], axis=2)
        paths.append(folder / f"{i:04d}.png")
        Image.fromarray(image).save(paths[-1])
    return paths


if __name__ == "__main__":
    main()
