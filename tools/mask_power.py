"""Measure in which octaves the power of real masks lies; write a table and a figure.

    python tools/mask_power.py STORE [STORE ...] --out results/mask-power

Reads prepared stores (harmoseg prepare). The figure also shows what a ring sees of lost detail.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from harmoseg import make_rings, power_spectrum, ring_correlation, spectral_correlation
from harmoseg.files import make_folder, write_csv
from harmoseg.report.figures.style import PALETTE
from harmoseg.store.reading import Store, open_store

_COLUMNS = ("store", "cases", "size", "lowest_cycles", "share_percent")
_BLUR = 9


def octave_shares(store: Store) -> tuple[list[int], np.ndarray]:
    """Give every octave's lower edge, in cycles per image, and its mean share of mask power."""
    rings = make_rings((store.info.height, store.info.width))
    index = rings.index.flatten()
    shares = []
    for label in store.labels:
        mask = torch.from_numpy(label > 0).float()
        power = power_spectrum(mask).flatten().double()
        if power.sum() > 0:
            shares.append(torch.bincount(index, weights=power) / power.sum())
    side = max(store.info.height, store.info.width)
    return [round(edge * side) for edge in rings.edges], torch.stack(shares).mean(0).numpy()


def lost_detail(store: Store) -> tuple[float, np.ndarray]:
    """Correlate masks with blurred copies of themselves: over the full spectrum, and per ring."""
    masks = torch.from_numpy(np.asarray(store.labels[:200]) > 0).float()[:, None]
    blurred = torch.nn.functional.avg_pool2d(masks, _BLUR, stride=1, padding=_BLUR // 2)
    full = spectral_correlation(blurred, masks).item()
    return full, ring_correlation(blurred, masks).correlation[0].numpy()


def main() -> None:
    """Measure every store; write mask_power.csv and mask_power.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows, blurred_rows = [], []
    for colour, path in zip(PALETTE, options.stores, strict=False):
        store = open_store(path)
        edges, shares = octave_shares(store)
        full, rings = lost_detail(store)
        name = store.info.card.title
        left.plot(range(len(edges)), 100 * shares, "o-", color=colour, label=name)
        right.plot(range(len(edges)), rings, "o-", color=colour, label=name)
        right.axhline(full, color=colour, linewidth=0.8, linestyle="dashed")
        for edge, share in zip(edges, shares, strict=True):
            size = f"{store.info.height}x{store.info.width}"
            values = (name, len(store.cases), size, edge, f"{100 * share:.4f}")
            rows.append(dict(zip(_COLUMNS, values, strict=True)))
        blurred_rows += [
            {"store": name, "lowest_cycles": edge, "correlation": f"{value:.4f}"}
            for edge, value in zip(["all", *edges], [full, *rings], strict=True)
        ]
    left.set_yscale("log")
    left.set_title("Share of mask power, percent", loc="left", fontsize=10)
    right.set_title(
        f"Correlation after a {_BLUR} px blur; dashed: all together",
        loc="left",
        fontsize=10,
    )
    longest = max(
        (make_rings((s.info.height, s.info.width)) for s in map(open_store, options.stores)),
        key=len,
    )
    ticks = ["0", *(str(2**i) for i in range(len(longest) - 1))]
    for axes in (left, right):
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlabel("octave, from ... cycles per image")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    make_folder(options.out)
    write_csv(options.out / "mask_power.csv", _COLUMNS, rows)
    columns = ("store", "lowest_cycles", "correlation")
    write_csv(options.out / "after_blur.csv", columns, blurred_rows)
    figure.savefig(options.out / "mask_power.png", dpi=120)


if __name__ == "__main__":
    main()
