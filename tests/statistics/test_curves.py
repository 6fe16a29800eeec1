"""Calibration after rescaling: bins kept apart, and gains that one number gives called so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harmoseg import compare
from harmoseg.scores.table import RESCALED, Scores
from harmoseg.statistics.blocks import split_into_blocks
from harmoseg.statistics.curves import explained_by_temperature, pooled_bins


def with_calibration(made, *, gain: float, gain_rescaled: float) -> Scores:
    """Make two methods with ECE around 5 points, the second lower by some gains."""
    random = np.random.default_rng(0)
    plain = made.make_scores({"a": np.full((3, 20), 80.0), "b": np.full((3, 20), 80.0)})
    frame = plain.frame.copy()
    lower = (frame["method"] == "b").to_numpy()
    for name, amount in (("ECE", gain), ("ECE_rescaled", gain_rescaled)):
        # A measure of a case has one value in all of its rows.
        case = frame.groupby(["method", "seed", "case"], observed=True).ngroup().to_numpy()
        noise = random.normal(0, 0.1, case.max() + 1)
        frame[name] = (5 - amount * lower + noise[case]) / 100
    return Scores.of(frame)


@pytest.mark.parametrize(("gain", "rescaled", "said"), [(2, 0, 1), (2, 2, 0), (0, 0, 0)])
def test_a_gain_that_one_number_gives_is_called_so(made, gain, rescaled, said) -> None:
    scores = with_calibration(made, gain=gain, gain_rescaled=rescaled)
    found = explained_by_temperature(compare(scores, reference="a"))
    assert len(found) == said
    if said:
        assert "b is better calibrated than a" in found[0] and "a single number gives" in found[0]


def test_rescaled_bins_are_pooled_apart(made) -> None:
    before, after = made.make_bins(0.8), made.make_bins(1.0)
    after["convention"] += RESCALED
    scores = made.make_scores({"a": np.full((2, 4), 80.0)}, bins={"a": pd.concat([before, after])})
    (block,) = split_into_blocks(scores)
    plain = pooled_bins(scores, block, "a")
    rescaled = pooled_bins(scores, block, "a", rescaled=True)
    assert plain.error == pytest.approx(10) and rescaled.error == pytest.approx(0)
    assert plain.convention == rescaled.convention == "foreground"
