"""Relative degradation: MedMNIST-C's definition, paired with the reference."""

from __future__ import annotations

import numpy as np
import pytest

from harmoseg.statistics.degradation import (
    degradation_table,
    group_conditions,
    measure_degradation,
)

CONDITIONS = ("gaussian:0.01", "gaussian:0.05", "blur:1.5")


def hurt(loss: float, seed: int) -> dict[str, np.ndarray]:
    """Return clean scores and those under every condition, (3 seeds, 40 cases)."""
    random = np.random.default_rng(seed)
    clean = 80 + np.random.default_rng(0).normal(0, 5, (1, 40)) + random.normal(0, 1, (3, 40))
    steps = dict(zip(CONDITIONS, (2.0, 6.0, 3.0), strict=True))
    return {
        "clean": clean,
        **{
            name: clean - loss * step + random.normal(0, 0.5, clean.shape)
            for name, step in steps.items()
        },
    }


def comparison_of(made, methods: dict[str, dict[str, np.ndarray]]):  # type: ignore[no-untyped-def]
    damaged = {name: {m: found[name] for m, found in methods.items()} for name in CONDITIONS}
    clean = {method: found["clean"] for method, found in methods.items()}
    return made.make_comparison(clean, damaged=damaged)


def relative_balanced_error(mine: dict[str, np.ndarray], base: dict[str, np.ndarray]) -> float:
    """Follow the published evaluation: errors averaged over severities, AlexNet's in the divisor."""
    ratios = []
    for names in (CONDITIONS[:2], CONDITIONS[2:]):
        of_mine, of_base = (
            np.mean([1 - found[name].mean() / 100 for name in names]) for found in (mine, base)
        )
        clean_mine, clean_base = (1 - found["clean"].mean() / 100 for found in (mine, base))
        ratios.append((of_mine - clean_mine) / (of_base - clean_base))
    return float(np.mean(ratios))


def test_it_is_the_relative_error_of_medmnist_c(made) -> None:
    methods = {"unet": hurt(1.0, 1), "unet+scc": hurt(0.7, 2)}
    base, other = measure_degradation(comparison_of(made, methods))
    expected = relative_balanced_error(methods["unet+scc"], methods["unet"])
    assert other.relative.mean == pytest.approx(expected, abs=1e-8)
    assert 0.6 < expected < 0.8
    assert other.corruptions == ("blur", "gaussian") and other.reference == "unet"
    lost = np.mean(
        [
            np.mean([methods["unet+scc"]["clean"] - methods["unet+scc"][name] for name in names])
            for names in (CONDITIONS[:2], CONDITIONS[2:])
        ]
    )
    assert other.lost.mean == pytest.approx(lost, abs=1e-8)
    assert base.difference is None and base.relative.mean == pytest.approx(1)
    assert base.relative.low == pytest.approx(1) == base.relative.high


def test_the_interval_is_that_of_the_ratio_with_patients_redrawn(made) -> None:
    methods = {"unet": hurt(1.0, 1), "unet+scc": hurt(0.7, 2)}
    # One training: the interval is over patients, and a bootstrap of the whole ratio is near.
    single = {m: {name: v[:1] for name, v in found.items()} for m, found in methods.items()}
    _, other = measure_degradation(comparison_of(made, single))
    random = np.random.default_rng(3)
    drawn = []
    for _ in range(2000):
        chosen = random.integers(40, size=40)
        part = {m: {n: v[:, chosen] for n, v in found.items()} for m, found in single.items()}
        drawn.append(relative_balanced_error(part["unet+scc"], part["unet"]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    width = other.relative.high - other.relative.low
    assert other.relative.low == pytest.approx(low, abs=0.15 * width)
    assert other.relative.high == pytest.approx(high, abs=0.15 * width)
    assert other.difference.high < 0 and other.difference.fixed_networks
    assert other.difference.low == pytest.approx(other.relative.low - 1)


def test_identical_methods_lose_alike_and_pairing_leaves_nothing(made) -> None:
    found = hurt(1.0, 1)
    comparison = comparison_of(made, {"unet": found, "unet+scc": found})
    _, other = measure_degradation(comparison)
    assert (other.difference.mean, other.difference.low, other.difference.high) == (0, 0, 0)
    table = degradation_table(comparison)
    assert table.rows[0][3] == "1 by definition" and "MedMNIST-C" in table.caption


def test_a_corruption_that_costs_the_reference_nothing_is_left_out(made) -> None:
    base, other = hurt(1.0, 1), hurt(0.7, 2)
    base["blur:1.5"] = base["clean"] + 1
    _, found = measure_degradation(comparison_of(made, {"unet": base, "unet+scc": other}))
    assert found.corruptions == ("gaussian",) and found.left_out == ("blur",)
    table = degradation_table(comparison_of(made, {"unet": base, "unet+scc": other}))
    assert "Without blur, under which the reference loses nothing." in table.caption


def test_without_corruptions_there_is_no_table(made) -> None:
    clean = {"unet": np.full((2, 5), 70.0), "unet+scc": np.full((2, 5), 71.0)}
    assert degradation_table(made.make_comparison(clean)) is None
    grouped = group_conditions(["clean", "fog", "gaussian:0.01", "gaussian:0.02"])
    assert grouped == {"fog": ("fog",), "gaussian": ("gaussian:0.01", "gaussian:0.02")}
