"""A sheet of every corruption at every severity, to judge the ladders by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.explain.preview import fullest_plane, save_png
from harmoseg.store.corruptions import LADDERS, Corruption, corrupt
from harmoseg.store.reading import Store


def write_corruption_sheet(store: Store, path: Path, *, seed: int = 0) -> None:
    """Draw a random case of a store under every corruption into a PNG file.

    A row per corruption: the clean image, then severities 1 to 5. Of a volume the plane with the
    most foreground is shown, of a tile its fullest square; both are corrupted as a whole, as in
    an evaluation.
    """
    if path.suffix.lower() != ".png":
        raise HarmosegError(f"{path}: a sheet is a PNG file; give a name that ends in .png")
    number = int(np.random.default_rng(seed).integers(len(store.cases)))
    rows = store.rows_of(number)
    case = store.cases[number].case
    images = store.images[rows.start : rows.stop]
    shown = fullest_plane(store.labels[rows.start : rows.stop])
    severities = max(len(ladder) for ladder in LADDERS.values())
    side = 1.7
    figure = Figure(
        figsize=(side * (severities + 1), (side + 0.25) * len(LADDERS) + 0.4), layout="constrained"
    )
    grid = figure.subplots(len(LADDERS), severities + 1, squeeze=False)
    for axes, (name, ladder) in zip(grid, LADDERS.items(), strict=True):
        _show(axes[0], images[shown], "clean")
        for place, level in zip(axes[1:], ladder, strict=True):
            corruption = Corruption(name, level)
            _show(place, corrupt(images, corruption, case=case, seed=seed)[shown], str(corruption))
    title = f"{store.info.card.title}: {case[:40]}, severities 1 to {severities}"
    figure.suptitle(title, fontsize=9, parse_math=False)  # a name is text, not a formula
    save_png(figure, path)


def _show(axes: Axes, image: NDArray[np.uint8], title: str) -> None:
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=7)
    axes.set_axis_off()
