"""Choose how the rings from 1/32 to 1/4 cycles per pixel are weighed; write a table.

    python tools/choose_midrings.py STORE [STORE ...] --out results/xray/midrings.csv

Every candidate is asked on graded predictions of masks of prepared stores, as `harmoseg xray` does.
`even` is the effective number of octaves (the exponential of the entropy) that the gradient's power
is spread over within 1/32 to 1/4; 3 is the most. `inside` is the share of power there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import nn

from harmoseg import SpectralCorrelationLoss
from harmoseg.diagnostics.contract import order_checks
from harmoseg.diagnostics.gradients import measure_likeness, measure_spectrum
from harmoseg.diagnostics.probe import ask, make_question
from harmoseg.files import write_csv
from harmoseg.losses import spectral
from harmoseg.spectrum import radial_frequency

_OCTAVES = slice(2, 5)
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def candidates(shape: tuple[int, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Return rings of weights f^-a, then one ratio of weights f^a: the whitened spectrum."""
    for power in _POWERS:
        spectral.MIDRING_WEIGHTS = tuple(2.0 ** (-power * i) for i in range(3))
        yield f"rings, weights f^-{power:g}", SpectralCorrelationLoss("binary", bands="midrings")
    radius = radial_frequency(shape)
    inside = (radius >= 1 / 32 - 1e-9) & (radius < 1 / 4 - 1e-9)
    for power in (0, 1, 2, 3):
        weights = inside * radius.clamp_min(1e-9) ** power
        yield f"one ratio, weights f^{power}", SpectralCorrelationLoss("binary", bands=weights)


def main() -> None:
    """Ask every candidate on every store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for store in arguments.stores:
        question = make_question("binary", store)
        shape = tuple(question.masks.shape[1:])
        for name, loss in candidates(shape):
            answers = ask(loss, question)
            found = measure_spectrum(question, answers)
            octaves = np.asarray(found.shares[_OCTAVES])
            share = octaves / octaves.sum()
            failed = [c for c in order_checks(question, answers) if c.status == "fail"]
            rows.append(
                {
                    "candidate": name,
                    "store": store.name,
                    "1/32 to 1/16": f"{octaves[0]:.3f}",
                    "1/16 to 1/8": f"{octaves[1]:.3f}",
                    "1/8 to 1/4": f"{octaves[2]:.3f}",
                    "inside": f"{octaves.sum():.3f}",
                    "even": f"{np.exp(-(share * np.log(share)).sum()):.2f}",
                    "explained": f"{measure_likeness(question, answers).explained:.2f}",
                    "failed_order_checks": len(failed),
                }
            )
            print(*rows[-1].values(), sep="  ", flush=True)
    write_csv(arguments.out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
