"""Training refuses an objective that cannot lead to the truth, unless it is told to go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harmoseg import HarmosegError
from harmoseg.files import read_json
from harmoseg.losses.method import parse_method
from harmoseg.training.experiment import Experiment, TrainingOptions, read_experiment
from harmoseg.training.run import train

TINY = TrainingOptions(encoder="tu-test_resnet", epochs=1, batch_size=4, validation_fraction=0.25)


def test_an_unfit_objective_is_refused_or_kept_in_mind(binary_store: Path, tmp_path: Path) -> None:
    method, out = "unet=torch.nn.MSELoss", tmp_path / "run"
    with pytest.raises(
        HarmosegError, match=r"noise.*MSELoss\(input=probabilities\).*--no-contract"
    ):
        train(binary_store, out, method=method, seed=0, options=TINY)
    assert not out.exists()
    train(binary_store, out, method=method, seed=0, options=replace(TINY, no_contract=True))
    done = read_json(out / "done.json", what="the end mark of a run")
    assert "leads away from the truth" in done["contract"][0]
    # It says whether a run is trained, not what it is.
    experiment = read_experiment(out)
    asked = replace(experiment, options=replace(experiment.options, no_contract=False))
    assert experiment.options.no_contract and asked.key == experiment.key


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("unet", "349671089473"),
        ("unet+scc", "83d0412b9c91"),
        ("unet+rings:1@sample", "e225489dc7b1"),
        ("unet+dice:2", "b96e89f0e705"),
        ("unet=focal+rings:1", "4867387ebf79"),
        ("transunet+boundary:0.01+midrings@sample", "7b70d91baea7"),
        ("unet+tversky(alpha=0.3,beta=0.7):1", "69883402e0ff"),
        (
            "unet+monai.losses.FocalLoss(gamma=3,use_softmax=true,weight=[1,2.5]):0.5",
            "bcaf81468d14",
        ),
    ],
)
def test_old_methods_have_the_keys_that_they_had(method, key) -> None:
    experiment = Experiment(
        method=str(parse_method(method)),
        seed=1,
        options=TrainingOptions(),
        weights_sha256=None,
        store_name="s",
        store_fingerprint="f",
        mode="binary",
        classes=("a", "b"),
        height=8,
        width=8,
        channels=3,
    )
    assert experiment.key == key
