"""Evaluation: scored at native resolution, written down, read back."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harmoseg import HarmosegError
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.evaluation import evaluate as module
from harmoseg.evaluation.evaluate import evaluate, format_summary, open_evaluation
from harmoseg.evaluation.predicting import predict_cases
from harmoseg.store.reading import open_store
from harmoseg.training.experiment import TrainingOptions
from harmoseg.training.run import train


@pytest.fixture(scope="module")
def run(phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    options = TrainingOptions(encoder="resnet18", epochs=1, batch_size=4, validation_fraction=0.25)
    train(phantom_store, out, method="unet", seed=0, options=options)
    return out


def test_an_evaluation_is_written_and_read_back(run, phantom_store, tmp_path) -> None:
    found = evaluate(run, phantom_store, tmp_path / "e")
    again = open_evaluation(tmp_path / "e")
    assert again.cases == found.cases and np.array_equal(again.counts, found.counts)
    assert again.summary == found.summary
    with (tmp_path / "e" / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 * 4
    assert {row["class"] for row in rows} == {"background", "organ", "vessel", "lesion"}
    for row in rows:
        tp, fp, fn = (int(row[name]) for name in ("tp", "fp", "fn"))
        if row["DSC"]:
            assert float(row["DSC"]) == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-6)
        else:
            assert tp + fp + fn == 0
    assert "8 cases at native resolution" in format_summary(found)


class Oracle(nn.Module):
    """Say exactly what the stored labels say, in the order of the test rows."""

    def __init__(self, store) -> None:
        super().__init__()
        self.rows = iter(store.rows("test"))
        self.store = store

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        labels = [self.store.labels[next(self.rows)] for _ in images]
        return 40 * (torch.from_numpy(np.stack(labels)).float()[:, None] - 0.5)


def test_a_perfect_network_is_perfect_at_another_resolution(folder_data) -> None:
    from harmoseg.datasets.preparing import FolderOptions, prepare_folder
    from harmoseg.datasets.splitting import SplitRule

    images, masks = folder_data(size=96)
    out = images.parent / "store"
    prepare_folder(FolderOptions(images, masks, out, size=48), SplitRule(test_fraction=1.0))
    store = open_store(out)
    predicted = dict(
        predict_cases(Oracle(store), store, store.rows("test"), mode="binary", bf16=False)
    )
    for row, label in predicted.items():
        truth = store.native_label(row)
        assert label.shape == truth.shape == (96, 96)
        assert 2 * (label & truth).sum() / (label.sum() + truth.sum()) > 0.97


def test_what_does_not_fit_is_named(run, phantom_store, binary_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="mode is binary, the run was trained with multiclass"):
        evaluate(run, binary_store, tmp_path / "e")
    with pytest.raises(HarmosegError, match=r"no case has the split 'val'; found {'train': 12"):
        evaluate(run, phantom_store, tmp_path / "e", split="val")
    other = tmp_path / "other"
    prepare_phantom(PhantomOptions(other, count=4, size=48))
    with pytest.raises(HarmosegError, match="height is 48, the run was trained with 32"):
        evaluate(run, other, tmp_path / "e")
    renamed = tmp_path / "renamed"

    shutil.copytree(phantom_store, renamed)
    description = (phantom_store / "store.json").read_text()
    (renamed / "store.json").write_text(description.replace("lesion", "tumour"))
    with pytest.raises(HarmosegError, match="classes are .*tumour.* trained with .*lesion"):
        evaluate(run, renamed, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_damaged_evaluation_is_named(run, phantom_store, tmp_path) -> None:
    out = tmp_path / "e"
    evaluate(run, phantom_store, out)
    with pytest.raises(HarmosegError, match="exists already"):
        evaluate(run, phantom_store, out)
    lines = (out / "cases.csv").read_text().splitlines()
    (out / "cases.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(HarmosegError, match="31 rows do not fit summary.json"):
        open_evaluation(out)
    (out / "cases.csv").write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",x"]))
    with pytest.raises(HarmosegError, match="a count is no number"):
        open_evaluation(out)
    summary = json.loads((out / "summary.json").read_text())
    (out / "summary.json").write_text(json.dumps(summary | {"schema": 0}))
    with pytest.raises(HarmosegError, match="schema version 0"):
        open_evaluation(out)


def test_an_interrupted_evaluation_leaves_nothing(
    run, phantom_store, tmp_path, monkeypatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "confusion_counts", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, phantom_store, tmp_path / "e")
    assert list(tmp_path.iterdir()) == []
