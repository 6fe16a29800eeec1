"""What an evaluation measures equals the metrics of `harmoseg.metrics`, computed directly."""

from __future__ import annotations

import csv
import itertools
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from harmoseg import HarmosegError
from harmoseg.evaluation import evaluate as module
from harmoseg.evaluation.case_scores import Measuring
from harmoseg.evaluation.evaluate import EvaluationOptions, evaluate
from harmoseg.evaluation.tables import format_summary
from harmoseg.inference.saved_model import ModelInfo, SavedModel
from harmoseg.metrics import (
    binary_calibration,
    boundary_band,
    confusion_counts,
    log_magnitude_correlation,
    multiclass_calibration,
    ring_fidelity,
    surface_distances,
)
from harmoseg.metrics.overlap import betti0_error, centreline_dice
from harmoseg.spectrum import make_rings
from harmoseg.store.card import Card
from harmoseg.store.layout import Case
from harmoseg.store.reading import open_store
from harmoseg.store.tiling import Sample, cut
from harmoseg.store.writing import writing_store

SIZE = 32
SPACING = (3.0, 0.8, 0.5)
CLASSES = ("background", "disc", "ring")


class Lookup(nn.Module):
    """Give for an image, grey value by grey value, the logits of a table (256, C)."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = torch.from_numpy(logits).float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # The grey values of the batch, whatever the normalisation made of them.
        values = images[:, 0].unique(sorted=True)
        index = torch.bucketize(images[:, 0].contiguous(), values)
        return self.logits[index].movedim(-1, 1)


def write(out, samples, *, classes, spacing=()):
    """Write test cases at native resolution: (image, label) volumes (D, 32, 32)."""
    mode = "binary" if len(classes) == 2 else "multiclass"
    card = Card("t", "T", "m", mode, classes, channels=1, empty_slices="keep")
    with writing_store(out, card, shape=(SIZE, SIZE, 1)) as writer:
        for i, (image, label) in enumerate(samples):
            pieces = cut(Sample(image[..., None], label), size=SIZE, tile=0)
            shape = (len(pieces.slices), *label.shape)
            case = Case(f"c{i}", f"c{i}", "test", "", *shape, spacing, (), "", "", "")
            writer.add(case, pieces, label)
        writer.finish({})
    return open_store(out)


def discs(depth: int, seed: int, classes: int):
    """Give images whose grey values are the labels of a prediction, and another truth."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    made = []
    for _ in range(2):
        row, column = random.uniform(13, 18, 2)
        planes = [np.digitize(-np.hypot(y - row, x - column - z), (-11, -6)) for z in range(depth)]
        made.append(np.stack(planes).clip(0, classes - 1).astype(np.uint8))
    return made[0], made[1]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Make a function that lets every run be a table of logits."""
    (tmp_path / "weights.safetensors").touch()

    def let(classes, logits):
        mode = "binary" if len(classes) == 2 else "multiclass"
        card = Card("made", "Made", "m", mode, tuple(classes), channels=1)
        trained = {"method": "unet", "seed": 0, "store": "made", "run": "k", "precision": "fp32"}
        info = ModelInfo("unet", "resnet18", card, SIZE, SIZE, 1, trained=trained)
        model = SavedModel(tmp_path, info, Lookup(np.array(logits)))
        monkeypatch.setattr(module, "open_run", lambda _: model)

    return let


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


LOGITS_3 = [[2.0, 0.0, -1.0], [0.0, 1.5, 0.5], [-1.0, 0.2, 1.2]]


@pytest.fixture
def volumes(tmp_path, run):
    run(CLASSES, LOGITS_3)
    samples = [discs(4, 0, 3), discs(3, 1, 3)]
    store = write(tmp_path / "s", samples, classes=CLASSES, spacing=SPACING)
    return SimpleNamespace(store=store.path, samples=samples)


def test_volumes_are_scored_whole_at_their_spacing(made, volumes, tmp_path) -> None:
    found = evaluate(tmp_path, volumes.store, tmp_path / "e")
    rows = {(row["case"], row["class"]): row for row in read(tmp_path / "e" / "scores.csv")}
    for i, (pred, truth) in enumerate(volumes.samples):
        counts = confusion_counts(pred, truth, 3)
        assert np.array_equal(made.counts_of(found.scores, CLASSES[1:])[i], counts)
        for c in (1, 2):
            row = rows[f"c{i}", CLASSES[c]]
            surface = surface_distances(pred == c, truth == c, spacing=SPACING)
            for name, value in {
                "HD95_pooled_mm": surface.hausdorff(95, definition="pooled"),
                "HD_mm": surface.hausdorff(100),
                "ASSD_mm": surface.assd(),
                "NSD_2mm": surface.surface_dice(2.0),
            }.items():
                assert float(row[name]) == pytest.approx(value, rel=1e-6)
        background = rows[f"c{i}", "background"]
        assert background["TP"] and not background["DSC"] and not background["HD_mm"]
    mean = np.mean([float(row["HD_mm"]) for row in rows.values() if row["HD_mm"]])
    summed = found.summary["distances"]["HD_mm"]
    assert summed == {"value": pytest.approx(mean, rel=1e-6), "scored": 4, "undefined": 0}
    text = format_summary(found.summary)
    assert "HD95_pooled_mm" in text and "Distances in mm" in plain(found.summary)
    assert [line.split()[0] for line in text.splitlines()[8:11]] == ["class", "disc", "ring"]


@pytest.mark.parametrize("band", [None, 3.0])
def test_calibration_is_that_of_all_pixels(volumes, tmp_path, band) -> None:
    options = EvaluationOptions(measuring=Measuring(calibration_band=band))
    found = evaluate(tmp_path, volumes.store, tmp_path / "e", options=options)
    pooled = None
    for i, (pred, truth) in enumerate(volumes.samples):
        probabilities = torch.tensor(LOGITS_3)[torch.from_numpy(pred).long()].softmax(-1)
        probabilities = probabilities.movedim(-1, 0).numpy()
        where = None
        if band is not None:
            where = boundary_band(truth, band, spacing=SPACING)
        bins = multiclass_calibration(probabilities, truth, where=where)
        row = read(tmp_path / "e" / "scores.csv")[3 * i]
        mine = [x for x in read(tmp_path / "e" / "bins.csv") if x["case"] == f"c{i}"]
        assert [int(x["count"]) for x in mine] == bins.count.tolist()
        np.testing.assert_allclose(
            [float(x["confidence_sum"]) for x in mine],
            np.nan_to_num(bins.mean_confidence) * bins.count,
        )
        assert float(row["ECE"]) == pytest.approx(bins.ece(), abs=1e-6)
        assert float(row["NLL"]) == pytest.approx(bins.nll(), abs=1e-6)
        pooled = bins if pooled is None else pooled + bins
    summed = found.summary["calibration"]
    assert summed["convention"] == "top-label" and summed["pixels"] == pooled.count.sum()
    assert summed["where"] == (
        "all pixels" if band is None else "within 3 mm of the truth's boundary"
    )
    assert summed["pooled"]["MCE"] == pytest.approx(pooled.mce(), abs=1e-6)


def test_ring_sums_add_up_over_slices(volumes, tmp_path) -> None:
    found = evaluate(tmp_path, volumes.store, tmp_path / "e")
    rings = make_rings((SIZE, SIZE), kind="octave")
    rows = read(tmp_path / "e" / "rings.csv")
    for (i, (pred, truth)), c in itertools.product(enumerate(volumes.samples), (1, 2)):
        parts = [
            ring_fidelity(p == c, t == c, spacing="pixel", rings=rings)
            for p, t in zip(pred, truth, strict=True)
        ]
        pooled = parts[0]
        for part in parts[1:]:
            pooled += part
        chosen = [row for row in rows if (row["case"], row["class"]) == (f"c{i}", CLASSES[c])]
        for name in ("cross", "power"):
            sums = [float(row[name]) for row in chosen]
            assert sums == pytest.approx(getattr(pooled, name).tolist(), rel=1e-9, abs=1e-6)
    first = volumes.samples[0]
    maps = [log_magnitude_correlation(p == 1, t == 1) for p, t in zip(*first, strict=True)]
    row = read(tmp_path / "e" / "scores.csv")[1]
    assert row["class"] == CLASSES[1]
    assert float(row["log_magnitude_r"]) == pytest.approx(np.mean(maps), abs=1e-6)
    assert 0 < float(row["cutoff_cycles_per_px"]) < 0.5
    assert found.summary["spectral"]["log_magnitude_r"]["scored"] == 4


def plain(summary) -> str:
    """Give the printed summary without its line breaks."""
    return " ".join(format_summary(summary).split())


@pytest.fixture
def images(tmp_path, run):
    """Make three images: one found, one missed, one of nothing where nothing is seen."""
    run(("background", "x"), [[-2.0], [1.0]])
    pred, truth = discs(1, 0, 2)
    none = np.zeros_like(truth)
    pred[0, :2, :2] = 1  # no image is flat, so that grey values keep their meaning
    none_seen = none.copy()
    samples = [(pred, truth), (none_seen, truth), (none_seen, none)]
    return write(tmp_path / "s", samples, classes=("background", "x")).path


def test_misses_are_counted_and_punished_only_if_asked(images, tmp_path) -> None:
    found = evaluate(tmp_path, images, tmp_path / "e").summary
    assert found["unit"] == "px" and found["one_sided"] == 1
    assert found["distances"]["HD_px"]["scored"] == 1
    assert found["distances"]["HD_px"]["undefined"] == 2
    assert "undefined for 2; 1 of these are misses or false positives" in plain(found)
    for rule, third, dsc in (("diagonal", 0.0, None), ("transunet", 0.0, 0.0)):
        options = EvaluationOptions(measuring=Measuring(on_empty=rule))
        punished = evaluate(tmp_path, images, tmp_path / rule, options=options).summary
        assert punished["distances"]["HD_px"]["scored"] == 3
        values = [row["HD_px"] for row in read(tmp_path / rule / "scores.csv")[1::2]]
        missed = math.hypot(SIZE, SIZE) if rule == "diagonal" else 0.0
        assert float(values[1]) == pytest.approx(missed, rel=1e-6)
        assert float(values[2]) == third
        legacy = [row.get("DSC_transunet") for row in read(tmp_path / rule / "scores.csv")[1::2]]
        assert legacy[2] == (None if dsc is None else "0.0")
        assert f"scored by the rule '{rule}'" in plain(punished)


def test_binary_calibration_is_of_the_foreground(images, tmp_path) -> None:
    evaluate(tmp_path, images, tmp_path / "e", keep_probabilities=True)
    kept = np.load(tmp_path / "e" / "probabilities" / "clean" / "000000.npy")
    assert kept.shape == (1, 1, SIZE, SIZE) and kept.dtype == np.float16
    truth = open_store(images).native_label(0)
    bins = binary_calibration(kept[:, 0].astype(np.float32), truth)
    row = read(tmp_path / "e" / "scores.csv")[0]
    assert float(row["ECE"]) == pytest.approx(bins.ece(), abs=1e-3)


def test_flips_average_over_the_mirror_images(images, tmp_path, monkeypatch) -> None:
    class Leaning(nn.Module):
        """Believe in the foreground the more the further right a pixel lies."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            slope = torch.linspace(-2, 2, SIZE).expand(SIZE, SIZE)
            return slope.expand(len(images), 1, SIZE, SIZE)

    model = replace(module.open_run(tmp_path), network=Leaning())
    monkeypatch.setattr(module, "open_run", lambda _: model)
    options = EvaluationOptions(flips=True)
    evaluate(tmp_path, images, tmp_path / "e", options=options, keep_probabilities=True)
    kept = np.load(tmp_path / "e" / "probabilities" / "clean" / "000000.npy")
    # sigmoid(a) and sigmoid(-a) average to a half.
    assert np.allclose(kept, 0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tolerance": -1.0}, "tolerance is -1.0, expected a distance of 0 or more"),
        ({"calibration_band": math.inf}, "calibration_band is inf"),
        ({"definition": "mean"}, "definition is 'mean', expected one of pooled, max"),
        ({"on_empty": "zero"}, "on_empty is 'zero', expected one of nan, diagonal, transunet"),
    ],
)
def test_what_cannot_be_meant_is_named(wrong, said) -> None:
    with pytest.raises(HarmosegError, match=said):
        Measuring(**wrong)


def test_thin_structures_are_measured_where_asked_for_or_named_by_the_card(
    volumes, tmp_path
) -> None:
    plain = evaluate(tmp_path, volumes.store, tmp_path / "plain")
    assert "clDice" not in plain.scores.measures
    options = EvaluationOptions(measuring=Measuring(thin=True))
    found = evaluate(tmp_path, volumes.store, tmp_path / "thin", options=options)
    assert {"clDice", "betti0_error"} <= found.scores.measures.keys()
    frame = found.scores.frame
    row = frame[(frame["case"] == "c1") & (frame["class"] == CLASSES[2])].iloc[0]
    predicted, truth = volumes.samples[1]
    assert row["clDice"] == pytest.approx(centreline_dice(predicted == 2, truth == 2))
    assert row["betti0_error"] == betti0_error(predicted == 2, truth == 2)
    assert "clDice" in format_summary(found.summary)
    file = volumes.store / "store.json"
    values = json.loads(file.read_text())
    values["card"]["metrics"] = ["DSC", "clDice"]
    file.write_text(json.dumps(values))
    assert "clDice" in evaluate(tmp_path, volumes.store, tmp_path / "card").scores.measures
