"""Losses of others, called as they want to be called."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harmoseg import HarmosegError
from harmoseg.losses.method import parse_loss
from harmoseg.losses.named import ForeignLoss, Moment, make_loss, source_hash
from harmoseg.losses.shelf import signed_distances

DRAW = torch.Generator().manual_seed(5)
LOGITS = torch.randn(2, 3, 12, 10, generator=DRAW)
LABELS = torch.randint(3, (2, 12, 10), generator=DRAW)
HOT = F.one_hot(LABELS, 3).movedim(-1, 1).float()
FILE = """
def surface(probabilities, distances):  # as Kervadec's own code is called
    return (probabilities[:, 1:] * distances[:, 1:]).mean()
def weighted(target, p, weights):
    return (weights * (p - target).square()).mean()
def ramp(logits, target, epoch, steps):
    return logits.mean() * epoch + steps
def heavy(masks):
    return 1.0 + 3 * masks
def wrong(masks):
    return masks[:, :1]
"""


@pytest.fixture(autouse=True)
def _file(tmp_path, monkeypatch):
    (tmp_path / "strange_losses_1.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def test_maps_are_given_in_the_place_of_the_target_or_beside_it() -> None:
    loss = make_loss(
        parse_loss("strange_losses_1.surface(input=probabilities,target=map,map=distances)"),
        "multiclass",
    )
    own = make_loss(parse_loss("boundary"), "multiclass")
    assert torch.isclose(loss(LOGITS, LABELS), own(LOGITS, LABELS))
    case_map = loss.make_map(LABELS.numpy(), 3)
    assert np.array_equal(case_map, signed_distances(HOT.numpy() > 0))
    assert torch.equal(loss(LOGITS, LABELS, case_map), loss(LOGITS, LABELS))
    weighted = parse_loss(
        "strange_losses_1.weighted(input=probabilities,target=onehot,target_first=true,"
        "map=strange_losses_1.heavy)"
    )
    expected = ((1 + 3 * HOT) * (LOGITS.softmax(1) - HOT).square()).mean()
    assert torch.isclose(make_loss(weighted, "multiclass")(LOGITS, LABELS), expected)
    # An edited map is another loss.
    assert source_hash([weighted]) != source_hash([parse_loss("strange_losses_1.heavy")])


@pytest.mark.parametrize("name", ["boundary", "hausdorff-dt", "skeleton-recall"])
@pytest.mark.parametrize("mode", ["binary", "multiclass", "multilabel"])
def test_a_map_made_before_is_the_map_made_within(name, mode) -> None:
    loss = make_loss(parse_loss(name), mode)
    logits = LOGITS[:, :1] if mode == "binary" else LOGITS
    target = {"binary": (LABELS > 0).long(), "multiclass": LABELS, "multilabel": HOT}[mode]
    case_map = loss.make_map(target.numpy(), logits.shape[1])
    assert torch.equal(loss(logits, target, case_map), loss(logits, target))


def test_epoch_and_step_are_given_where_they_are_wanted() -> None:
    loss = make_loss(parse_loss("strange_losses_1.ramp(schedule=[epoch,steps])"), "multiclass")
    loss.moment = Moment(3, 10, 35, 100)
    assert torch.isclose(loss(LOGITS, LABELS), 3 * LOGITS.mean() + 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", r"failed .* 'epoch' and 'steps'; add the option schedule=\[epoch,steps\]"),
        ("schedule=hour", "schedule must be epoch or epochs or step or steps, got 'hour'"),
        ("map=distance", "map must be distances or tubes or the import path of a function"),
        ("target=map", "target=map needs the option map"),
        ("map=strange_losses_1.wrong", r"its map failed on masks \(2, 3, 12, 10\)"),
        ("map=strange_losses_1.none", "cannot be imported"),
    ],
)
def test_mistakes_are_named(options, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        make_loss(parse_loss(f"strange_losses_1.ramp({options})"), "multiclass")(LOGITS, LABELS)


def test_a_function_of_masks_is_a_map_in_python() -> None:
    loss = ForeignLoss(
        lambda p, y, w: (w * (p - y) ** 2).mean(),
        "multilabel",
        input="probabilities",
        map=lambda masks: masks.astype(np.float32),
    )
    expected = (HOT * (LOGITS.sigmoid() - HOT).square()).mean()
    assert torch.isclose(loss(LOGITS, HOT), expected)
