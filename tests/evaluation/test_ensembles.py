"""Ensembles of runs: identical members change nothing, others do not fit; agreement and confidence."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from harmoseg import HarmosegError
from harmoseg.evaluation.evaluate import evaluate
from harmoseg.evaluation.measuring import measure_members, sum_members
from harmoseg.inference.saved_model import load_model, save_model
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train

TINY = TrainingOptions(
    encoder="tu-test_resnet", epochs=1, batch_size=4, validation_fraction=0, select="last"
)


@pytest.fixture(scope="module")
def runs(phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    for seed in (0, 1):
        train(phantom_store, folder / f"{seed}", method="unet", seed=seed, options=TINY)
    return [folder / "0", folder / "1"]


def twin(run: Path, out: Path, **trained: object) -> Path:
    """Copy a model under another key."""
    model = load_model(run)
    info = model.info
    values = {**info.trained, "run": "twin", **trained}
    save_model(out, type(info)(**{**info.__dict__, "trained": values}), model.network.state_dict())
    return out


def test_identical_members_change_nothing(runs, phantom_store, tmp_path) -> None:
    alone = evaluate(runs[0], phantom_store, tmp_path / "alone").scores.frame
    members = [runs[0], twin(runs[0], tmp_path / "twin")]
    found = evaluate(members, phantom_store, tmp_path / "both")
    both = found.scores.frame
    assert set(both["method"]) == {"unet (ensemble of 2)"}
    assert found.summary["run_key"].endswith(" twin")
    for name in ("DSC", "HD95_pooled_px", "ECE", "NLL", "TP"):
        pd.testing.assert_series_equal(both[name], alone[name], rtol=1e-6)
    agreement = both["agreement"].dropna()
    assert len(agreement) and (agreement == 1).all()


def test_an_ensemble_averages_probabilities(runs, phantom_store, tmp_path) -> None:
    kept = []
    for out, given in (("a", runs[0]), ("b", runs[1]), ("both", runs)):
        evaluate(given, phantom_store, tmp_path / out, keep_probabilities=True)
        files = sorted((tmp_path / out / "probabilities" / "clean").glob("*.npy"))
        kept.append(np.stack([np.load(file) for file in files]).astype(np.float64))
    np.testing.assert_allclose(kept[2], (kept[0] + kept[1]) / 2, atol=2e-3)


def test_members_that_do_not_fit_are_named(runs, phantom_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="one run twice"):
        evaluate([runs[0], runs[0]], phantom_store, tmp_path / "e")
    other = twin(runs[0], tmp_path / "other", method="unet+scc")
    with pytest.raises(HarmosegError, match="differ in method: unet and unet\\+scc"):
        evaluate([runs[0], other], phantom_store, tmp_path / "e")
    smaller = Path(shutil.copytree(runs[0], tmp_path / "smaller"))
    model = load_model(runs[0])
    info = type(model.info)(**{**model.info.__dict__, "height": 64})
    save_model(smaller, info, model.network.state_dict())
    with pytest.raises(HarmosegError, match="height is 32, the run was trained with 64"):
        evaluate([runs[0], smaller], phantom_store, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_agreement_and_confidence_are_what_their_definitions_say() -> None:
    random = np.random.default_rng(0)
    planes = [
        torch.tensor(random.dirichlet((1, 1, 1), (3, 5, 6)).transpose(0, 3, 1, 2)).float()
        for _ in range(2)
    ]
    found = measure_members([sum_members([part], 3) for part in planes])
    labels = np.stack([part.argmax(1).numpy() for part in planes], 1)  # members, planes, h, w
    mean = np.stack([part.mean(0).numpy() for part in planes], 1)  # classes, planes, h, w
    for c in (1, 2):
        dice = [
            2 * ((labels[i] == c) & (labels[j] == c)).sum() / ((labels[i] == c).sum() + (labels[j] == c).sum())
            for i, j in itertools.combinations(range(3), 2)
        ]  # fmt: skip
        assert found["agreement"][c] == pytest.approx(np.mean(dice))
        assert found["confidence"][c] == pytest.approx(
            mean[c][mean.argmax(0) == c].mean(), rel=1e-5
        )
    assert np.isnan([found["agreement"][0], found["confidence"][0]]).all()
    binary = torch.zeros(2, 1, 4, 4)
    binary[:, :, 0] = 0.75
    found = measure_members([sum_members([binary], 2)])
    assert found["agreement"][1] == 1 and found["confidence"][1] == pytest.approx(0.75)
    found = measure_members([sum_members([0 * binary], 2)])
    assert np.isnan(found["agreement"][1]) and np.isnan(found["confidence"][1])


def test_a_summary_of_an_ensemble_is_json(runs, phantom_store, tmp_path) -> None:
    evaluate(runs, phantom_store, tmp_path / "e")
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert summary["method"] == "unet (ensemble of 2)" and "agreement" in summary["further"]
