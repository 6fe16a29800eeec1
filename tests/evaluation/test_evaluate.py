"""Evaluation: scored at native resolution, written down, read back."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from harmoseg import HarmosegError
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.evaluation import evaluate as module
from harmoseg.evaluation.evaluate import EvaluationOptions, evaluate, open_evaluation
from harmoseg.evaluation.tables import format_summary
from harmoseg.inference.saved_model import ModelInfo, SavedModel, load_model
from harmoseg.locks import locked
from harmoseg.metrics import multiclass_calibration, overlap_metric
from harmoseg.metrics.calibration import fit_temperature, rescale
from harmoseg.store.card import Card
from harmoseg.store.layout import Case
from harmoseg.store.reading import open_store
from harmoseg.store.tiling import Sample, cut
from harmoseg.store.training_view import open_training_view
from harmoseg.store.writing import writing_store
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train


@pytest.fixture(scope="module")
def run(phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    options = TrainingOptions(
        encoder="tu-test_resnet", epochs=1, batch_size=4, validation_fraction=0.25
    )
    train(phantom_store, out, method="unet", seed=0, options=options)
    return out


def test_an_evaluation_is_written_and_read_back(run, phantom_store, tmp_path) -> None:
    found = evaluate(run, phantom_store, tmp_path / "e")
    again = open_evaluation(tmp_path / "e")
    pd.testing.assert_frame_equal(again.scores.frame, found.scores.frame)
    assert again.summary == found.summary
    with (tmp_path / "e" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 * 4
    store = open_store(phantom_store)
    groups = {case.case: case.group for case in store.cases}
    assert all(row["group"] == groups[row["case"]] for row in rows)
    assert (
        {row["trained_on"] for row in rows}
        == {"phantom-multiclass"}
        == {row["tested_on"] for row in rows}
    )
    assert {(row["method"], row["seed"]) for row in rows} == {("unet", "0")}
    assert {row["class"] for row in rows} == {"background", "organ", "vessel", "lesion"}
    for row in rows:
        tp, fp, fn = (int(row[name]) for name in ("TP", "FP", "FN"))
        if row["DSC"]:
            assert float(row["DSC"]) == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-12)
        elif row["class"] == "background":
            assert tp + fp + fn > 0 and row["ECE"]
        else:
            assert tp + fp + fn == 0
    assert "8 cases at native resolution" in format_summary(found.summary)


def test_a_temperature_is_fitted_on_validation_cases_and_judged_beside_none(
    run, phantom_store, tmp_path
) -> None:
    model = load_model(run)
    temperature = model.info.trained["temperature"]
    part = open_training_view(phantom_store, validation_fraction=0.25).validation
    images, labels = part.batch(list(range(len(part))))
    p = model.probabilities(images)
    flat = np.moveaxis(p, 1, 0).reshape(p.shape[1], -1)
    assert temperature == pytest.approx(fit_temperature(flat, labels.ravel()), rel=1e-3)
    found = evaluate(
        run, phantom_store, tmp_path / "e", conditions=["gaussian"], keep_probabilities=True
    )
    frame = found.scores.frame
    assert found.scores.measures["ECE_rescaled"].direction == "lower"
    clean = frame[frame["condition"] == "clean"]
    assert clean["NLL_rescaled"].notna().all()
    assert frame.loc[frame["condition"] != "clean", "NLL_rescaled"].isna().all()
    store = open_store(phantom_store)
    number = store.cases_of("test")[0]
    kept = np.load(tmp_path / "e" / "probabilities" / "clean" / f"{number:06d}.npy")[0]
    bins = multiclass_calibration(
        rescale(kept.astype(np.float32), temperature), store.native_label(number)[0]
    )
    row = clean[clean["case"] == store.cases[number].case].iloc[0]
    assert row["ECE_rescaled"] == pytest.approx(bins.ece(), abs=0.02)  # float16 moves bins
    assert row["NLL_rescaled"] == pytest.approx(bins.nll(), abs=2e-3)


def test_without_validation_cases_there_is_no_temperature(phantom_store, tmp_path) -> None:
    options = TrainingOptions(
        encoder="tu-test_resnet", epochs=1, batch_size=4, validation_fraction=0, select="last"
    )
    train(phantom_store, tmp_path / "run", method="unet", seed=0, options=options)
    assert "temperature" not in load_model(tmp_path / "run").info.trained
    found = evaluate(tmp_path / "run", phantom_store, tmp_path / "e")
    assert "ECE_rescaled" not in found.scores.measures


class Oracle(nn.Module):
    """Say exactly what the stored labels say, in the order of the rows."""

    def __init__(self, store) -> None:
        super().__init__()
        self.rows = iter(range(len(store.slices)))
        self.store = store

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        labels = [self.store.labels[next(self.rows)] for _ in images]
        return 40 * (torch.from_numpy(np.stack(labels)).float()[:, None] - 0.5)


def test_a_perfect_network_is_perfect_at_another_resolution(tmp_path, predict_cases) -> None:
    random = np.random.default_rng(0)
    centres = random.uniform(35, 60, (5, 2))
    y, x = np.mgrid[:96, :90]
    labels = [(np.hypot(y - i, x - j) < 25).astype(np.uint8)[None] for i, j in centres]
    store = write_store(tmp_path / "store", labels, size=48)
    predicted = predict_cases(Oracle(store), store, range(5))
    assert list(predicted) == [0, 1, 2, 3, 4]
    for number, label in predicted.items():
        truth = store.native_label(number)
        assert label.shape == truth.shape == (1, 96, 90)
        assert 2 * (label & truth).sum() / (label.sum() + truth.sum()) > 0.97


def test_volumes_and_tiles_come_back_whole(tmp_path, predict_cases) -> None:
    y, x = np.mgrid[:40, :56]
    discs = [(np.hypot(y - 20, x - 20 - 3 * z) < 12).astype(np.uint8) for z in range(3)]
    volume = write_store(tmp_path / "volume", [np.stack(discs), discs[0][None]], size=32)
    tiled = write_store(tmp_path / "tiled", [discs[1][None]], size=32, tile=32)
    assert [len(volume.rows_of(0)), len(tiled.rows_of(0))] == [3, 4]
    for store in (volume, tiled):
        predicted = predict_cases(Oracle(store), store, store.cases_of("test"))
        for number, label in predicted.items():
            truth = store.native_label(number)
            assert label.shape == truth.shape
            assert 2 * (label & truth).sum() / (label.sum() + truth.sum()) > 0.95


def write_store(out, labels, *, size, tile=0, subsets=None, name="t"):
    """Write a binary store of test cases whose images show their labels."""
    card = Card(name, "T", "m", "binary", ("background", "x"), channels=1)
    with writing_store(out, card, shape=(size, size, 1)) as writer:
        for i, label in enumerate(labels):
            sample = Sample((200 * label)[..., None], label)
            pieces = cut(sample, size=size, tile=tile)
            subset = subsets[i] if subsets else ""
            case = Case(
                f"c{i}",
                f"c{i}",
                "test",
                subset,
                len(pieces.slices),
                *label.shape,
                (),
                (),
                "",
                "",
                "",
            )
            writer.add(case, pieces, label)
        writer.finish({})
    return open_store(out)


class Threshold(nn.Module):
    """See foreground where the image is bright: perfect on clean images, not on noisy ones."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 40 * (images - images.mean((1, 2, 3), keepdim=True))


@pytest.fixture
def thresholding(monkeypatch, tmp_path) -> Callable[[nn.Module], None]:
    """Let every run be a threshold on binary images of 32 px, as no trained network is needed."""
    (tmp_path / "weights.safetensors").touch()
    card = Card("made", "Made", "m", "binary", ("background", "x"), channels=1)
    trained = {"method": "unet", "seed": 0, "store": "made", "run": "k", "precision": "fp32"}
    info = ModelInfo("unet", "resnet18", card, 32, 32, 1, trained=trained)

    def let(network: nn.Module) -> None:
        monkeypatch.setattr(module, "open_run", lambda path: SavedModel(path, info, network))

    let(Threshold())
    return let


def hospitals(out, subsets=("A", "B", "A", "", "B", "A")):
    y, x = np.mgrid[:32, :32]
    labels = [(np.hypot(y - 16, x - 12 - i) < 9).astype(np.uint8)[None] for i in range(6)]
    return write_store(out, labels, size=32, subsets=list(subsets)).path


@pytest.mark.usefixtures("thresholding")
def test_conditions_are_scored_beside_the_clean_images(tmp_path) -> None:
    store, out = hospitals(tmp_path / "s"), tmp_path / "e"
    given = ["gaussian@5", "clean", "bernoulli", "gaussian:0.05"]
    found = evaluate(tmp_path, store, out, conditions=given)
    names = ["clean", "gaussian:0.05", "bernoulli:0.01"]
    assert list(found.conditions) == names
    assert list(found.summary["conditions"]) == names[1:]
    again = open_evaluation(out)
    assert again.summary == found.summary and list(again.conditions) == names
    pd.testing.assert_frame_equal(again.scores.frame, found.scores.frame)
    with (out / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 6 * 2
    assert [row["condition"] for row in rows[::12]] == ["clean", "bernoulli:0.01", "gaussian:0.05"]
    assert [row["subset"] for row in rows[:12:2]] == ["A", "B", "A", "", "B", "A"]
    clean, gaussian, bernoulli = (
        part["aggregates"]["DSC"]["per_image"]["value"]
        for part in (found.summary, *found.summary["conditions"].values())
    )
    assert clean == 1 and 0.5 < gaussian < 1 and 0.9 < bernoulli < 1
    lines = format_summary(found.summary).splitlines()
    assert [line.split()[0] for line in lines[5:9]] == ["condition", *names]
    assert f"{100 * gaussian:.2f}" in lines[7]


@pytest.mark.usefixtures("thresholding")
def test_a_condition_is_the_same_among_others_and_alone(made, tmp_path) -> None:
    store = hospitals(tmp_path / "s")
    among = evaluate(tmp_path, store, tmp_path / "a", conditions=["blur", "gaussian"])
    alone = evaluate(tmp_path, store, tmp_path / "b", conditions=["gaussian"])
    other = evaluate(
        tmp_path,
        store,
        tmp_path / "c",
        conditions=["gaussian"],
        options=EvaluationOptions(corruption_seed=1),
    )
    name = "gaussian:0.01"
    counts = [made.counts_of(found.scores, condition=name) for found in (among, alone, other)]
    assert np.array_equal(counts[0], counts[1]) and not np.array_equal(counts[2], counts[1])
    clean = made.counts_of(alone.scores)
    assert np.array_equal(made.counts_of(other.scores), clean)
    plain = evaluate(tmp_path, store, tmp_path / "d")
    assert np.array_equal(made.counts_of(plain.scores), clean) and not plain.summary["conditions"]


@pytest.mark.usefixtures("thresholding")
def test_subsets_are_summed_up_apart(made, tmp_path) -> None:
    found = evaluate(tmp_path, hospitals(tmp_path / "s"), tmp_path / "e")
    assert list(found.summary["subsets"]) == ["A", "B"]
    counts = made.counts_of(found.scores)[[0, 2, 5]]
    subset = found.summary["subsets"]["A"]
    assert subset["aggregates"]["DSC"]["pooled"] == {
        "value": float(overlap_metric("DSC", counts.sum(0))[1]),
        "scored": 3,
        "undefined": 0,
    }
    assert subset["distances"]["HD95_pooled_px"]["scored"] == 3
    assert subset["calibration"]["pixels"] == 3 * 32 * 32
    lines = format_summary(found.summary).splitlines()
    assert [line.split()[0] for line in lines[8:11]] == ["subset", "A", "B"]


@pytest.mark.usefixtures("thresholding")
def test_one_subset_would_only_repeat_the_whole(tmp_path) -> None:
    store = hospitals(tmp_path / "s", subsets=["A", "A", "", "A", "A", "A"])
    assert evaluate(tmp_path, store, tmp_path / "e").summary["subsets"] == {}


def test_an_unknown_condition_is_named_before_anything_is_read(tmp_path) -> None:
    with pytest.raises(
        HarmosegError, match="unknown corruption 'gausian'; did you mean 'gaussian'"
    ):
        evaluate(tmp_path, tmp_path, tmp_path / "e", conditions=["gausian"])
    assert not (tmp_path / "e").exists()


def test_what_does_not_fit_is_named(run, phantom_store, binary_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="mode is binary, the run was trained with multiclass"):
        evaluate(run, binary_store, tmp_path / "e")
    with pytest.raises(HarmosegError, match=r"no case has the split 'val'; found 12 train"):
        evaluate(run, phantom_store, tmp_path / "e", options=EvaluationOptions(split="val"))
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
    lines = (out / "scores.csv").read_text().splitlines()
    (out / "scores.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(HarmosegError, match="31 rows of scores do not fit summary.json"):
        open_evaluation(out)
    last = lines[-1].split(",")
    last[lines[0].split(",").index("TP")] = "x"
    (out / "scores.csv").write_text("\n".join([*lines[:-1], ",".join(last)]))
    with pytest.raises(HarmosegError, match="row 33, column 'TP': 'x' is no number"):
        open_evaluation(out)
    (out / "scores.csv").write_text("\n".join(lines) + "\n")
    (out / "rings.csv").unlink()
    with pytest.raises(HarmosegError, match="the table of ring sums is missing"):
        open_evaluation(out)
    summary = json.loads((out / "summary.json").read_text())
    (out / "summary.json").write_text(json.dumps(summary | {"schema": 0}))
    with pytest.raises(HarmosegError, match="schema version 0"):
        open_evaluation(out)


class Interrupting(Threshold):
    """Stop like a person would after some batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().forward(images)


@pytest.fixture
def interrupted(thresholding, tmp_path):
    """Evaluate 40 cases in batches of 16, under noise too, until after the third batch."""
    y, x = np.mgrid[:32, :32]
    labels = [(np.hypot(y - 16, x - 12 - i / 8) < 9).astype(np.uint8)[None] for i in range(40)]
    store = write_store(tmp_path / "s", labels, size=32).path
    options = {"conditions": ["gaussian"], "keep_probabilities": True}
    whole = evaluate(tmp_path, store, tmp_path / "whole", **options)
    thresholding(Interrupting(4))
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, store, tmp_path / "e", **options)
    assert not (tmp_path / "e").exists()
    seen = []

    class Counting(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return super().forward(images)

    thresholding(Counting())
    return SimpleNamespace(store=store, whole=whole, seen=seen, options=options, path=tmp_path)


def same_files(a: Path, b: Path) -> bool:
    names = sorted(path.relative_to(a) for path in a.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(b) for path in b.rglob("*") if path.is_file())
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in names)


def test_an_interrupted_evaluation_continues(interrupted) -> None:
    out = interrupted.path / "e"
    # A line that was cut off in the middle of writing is measured again.
    journal = journal_of(interrupted.path)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    found = evaluate(interrupted.path, interrupted.store, out, **interrupted.options)
    assert sum(interrupted.seen) == 80 - (len(lines) - 1) < 80
    assert found.summary == interrupted.whole.summary
    assert same_files(interrupted.path / "whole", out)
    assert not journal.parent.exists()


def journal_of(folder: Path) -> Path:
    """Find the journal of the evaluation `folder`/e."""
    (journal,) = folder.glob(".e.unfinished-*/scores.jsonl")
    return journal


@pytest.mark.parametrize("damage", ["options", "journal"])
def test_what_was_measured_otherwise_is_never_used(interrupted, damage) -> None:
    journal = journal_of(interrupted.path)
    options = EvaluationOptions()
    if damage == "options":
        options = EvaluationOptions(flips=True)
    else:
        journal.write_bytes(journal.read_bytes().replace(b'"counts"', b'"count"', 1))
    kept = 0 if damage == "options" else journal.read_bytes().count(b"\n") - 1
    evaluate(
        interrupted.path, interrupted.store, interrupted.path / "e",
        options=options, **interrupted.options,
    )  # fmt: skip
    assert sum(interrupted.seen) == (320 if damage == "options" else 80 - kept)
    # The other evaluation is still there to be continued.
    assert journal.exists() == (damage == "options")


def test_two_processes_do_not_share_an_unfinished_evaluation(interrupted) -> None:
    with (
        locked(journal_of(interrupted.path).parent / ".lock", busy="this test"),
        pytest.raises(HarmosegError, match="another process is making this evaluation"),
    ):
        evaluate(interrupted.path, interrupted.store, interrupted.path / "e", **interrupted.options)


def test_an_evaluation_that_measured_nothing_leaves_nothing(thresholding, tmp_path) -> None:
    store = hospitals(tmp_path / "s")
    thresholding(Interrupting(0))
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, store, tmp_path / "e")
    assert {path.name for path in tmp_path.iterdir()} == {"s", "weights.safetensors"}


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("weights.safetensors", "weights.safetensors"),
        ("done.json", "not finished"),
    ],
)
def test_a_run_that_is_not_whole_is_named(run, phantom_store, tmp_path, missing, said) -> None:
    part = Path(shutil.copytree(run, tmp_path / "run"))
    (part / missing).unlink()
    with pytest.raises(HarmosegError, match=said):
        evaluate(part, phantom_store, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_model_folder_is_evaluated_as_its_run(run, phantom_store, tmp_path) -> None:
    for name in ("model.json", "weights.safetensors"):
        (tmp_path / "model").mkdir(exist_ok=True)
        shutil.copy(run / name, tmp_path / "model" / name)
    for source, out in ((run, "a"), (tmp_path / "model", "b")):
        evaluate(source, phantom_store, tmp_path / out)
    assert same_files(tmp_path / "a", tmp_path / "b")


def test_weights_that_were_changed_are_refused(run, phantom_store, tmp_path) -> None:
    part = Path(shutil.copytree(run, tmp_path / "run"))
    weights = bytearray((part / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (part / "weights.safetensors").write_bytes(weights)
    with pytest.raises(HarmosegError, match="weights.safetensors.*changed"):
        evaluate(part, phantom_store, tmp_path / "e")


@pytest.mark.usefixtures("thresholding")
def test_a_folder_of_something_else_is_refused_before_anything_is_predicted(tmp_path) -> None:
    store = hospitals(tmp_path / "s")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "mine").touch()
    with pytest.raises(HarmosegError, match="holds something else"):
        evaluate(tmp_path, store, tmp_path / "e", overwrite=True)
    assert not list(tmp_path.glob(".e*"))


@pytest.mark.usefixtures("thresholding")
def test_a_label_that_the_card_does_not_have_is_named(tmp_path) -> None:
    store = hospitals(tmp_path / "s")
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(store / "native" / "000002.png")
    with pytest.raises(HarmosegError, match=r"case 'c2' has the label 7, expected 0 to 1"):
        evaluate(tmp_path, store, tmp_path / "e")


@pytest.mark.usefixtures("thresholding")
def test_other_names_of_the_classes_are_told(tmp_path) -> None:
    store = hospitals(tmp_path / "s")
    renamed = (store / "store.json").read_text().replace('"x"', '"kidney"')
    (store / "store.json").write_text(renamed)
    found = evaluate(tmp_path, store, tmp_path / "e")
    text = " ".join(format_summary(found.summary).split())
    assert "Trained on background, x; scored on background, kidney" in text


def test_a_network_that_says_nan_is_named(thresholding, tmp_path) -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * torch.nan

    thresholding(Broken())
    with pytest.raises(HarmosegError, match=r"case 'c0': probabilities .* NaN"):
        evaluate(tmp_path, hospitals(tmp_path / "s"), tmp_path / "e")


@pytest.mark.usefixtures("thresholding")
@pytest.mark.parametrize("limit", [200, 2000, 9000])
def test_a_full_disk_is_told_in_one_line(tmp_path, limit) -> None:
    """Files may not grow beyond a limit: probabilities, then the journal, do not fit."""
    store = hospitals(tmp_path / "s")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(HarmosegError, match=r"cannot be written \(File too large\)"):
            evaluate(tmp_path, store, tmp_path / "e", keep_probabilities=limit < 2100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "e").exists() and not list(tmp_path.rglob("*.partial"))
    assert len(evaluate(tmp_path, store, tmp_path / "e").scores) == 6 * 2


def test_probabilities_of_a_volume_are_whole_or_not_there(thresholding, tmp_path) -> None:
    y, x = np.mgrid[:32, :32]
    discs = [(np.hypot(y - 16, x - 8 - z / 3) < 7).astype(np.uint8) for z in range(40)]
    store = write_store(tmp_path / "s", [np.stack(discs)] * 2, size=32).path
    evaluate(tmp_path, store, tmp_path / "whole", keep_probabilities=True)

    def interrupt(batches: int, *, keep: bool) -> None:
        network = Interrupting(batches)
        thresholding(network)
        with pytest.raises(KeyboardInterrupt):
            evaluate(tmp_path, store, tmp_path / "e", keep_probabilities=keep)

    interrupt(4, keep=False)  # the first volume is measured, without its probabilities
    interrupt(2, keep=True)  # within the first volume
    assert not list(tmp_path.glob(".e*/**/*.npy")) and not list(tmp_path.glob(".e*/**/*.partial"))
    interrupt(4, keep=True)  # within the second
    thresholding(Threshold())
    evaluate(tmp_path, store, tmp_path / "e", keep_probabilities=True)
    assert same_files(tmp_path / "whole", tmp_path / "e")
