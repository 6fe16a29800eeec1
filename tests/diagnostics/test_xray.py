"""What xray says of losses whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import harmoseg
from harmoseg import HarmosegError, SpectralCorrelationLoss, xray
from harmoseg.diagnostics.card_printing import cards_to_html, cards_to_text
from harmoseg.diagnostics.contract import ORDER
from harmoseg.diagnostics.gradients import EDGES
from harmoseg.diagnostics.loss_card import examine
from harmoseg.diagnostics.probe import graded_predictions, make_question, signed_distance
from harmoseg.losses.method import LossName, parse_loss, parse_method
from harmoseg.losses.named import make_loss
from harmoseg.spectrum import radial_frequency


@pytest.fixture(scope="module")
def question():
    return make_question("binary", _discs(64))


def _discs(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    small = np.hypot(x - 48, y - 48) < 5
    return np.stack([(np.hypot(x - 24, y - 26) < r) | small for r in (8, 11, 14)]).astype(int)


def status(card: harmoseg.LossCard, name: str) -> str:
    return next(check.status for check in card.checks if check.name == name)


@pytest.mark.parametrize(("name", "other"), [("scc", "scc"), ("dice", "dice"), ("bce", "bce")])
def test_a_loss_is_found_to_be_itself(question, name, other) -> None:
    card = examine(name, question)
    assert card.likeness.explained > 0.999
    assert card.likeness.cosines[other] > 0.999
    assert card.likeness.coefficients[other] == pytest.approx(1, abs=1e-3)
    assert not card.refusals and min(card.likeness.by_state.values()) > 0.999


def _masks(mode: str) -> np.ndarray:
    """Return discs; in halves for several classes; overlapping for several labels."""
    discs = _discs(32)
    if mode == "multilabel":
        return np.stack([discs, discs * (np.arange(32) < 16)], 1)
    return discs if mode == "binary" else discs * (1 + np.arange(32) // 16)


@pytest.mark.parametrize("mode", ["binary", "multiclass", "multilabel"])
def test_a_mixture_is_found_to_a_percent(mode) -> None:
    bce, dice = (make_loss(LossName(name), mode) for name in ("bce", "dice"))

    def mixture(logits, target):
        if mode != "multilabel":
            target = target.reshape(len(logits), *logits.shape[2:])
        return 0.7 * bce(logits, target) + 0.3 * dice(logits, target)

    labels = _masks(mode)
    found = xray(mixture, mode=mode, masks=labels).likeness
    assert found.explained > 0.9999
    assert found.coefficients == pytest.approx({"bce": 0.7, "dice": 0.3, "scc": 0}, abs=0.01)


def test_several_labels_are_channels_of_their_own() -> None:
    question = make_question("multilabel", _masks("multilabel"))
    card = examine("scc", question)
    assert card.likeness.explained > 0.999 and card.likeness.cosines["scc"] > 0.999
    for name in ORDER:
        assert status(card, name) == "pass"
    assert status(card, "same for any class order") == "pass"
    assert not card.refusals and "multilabel" in cards_to_text([card])
    uneven = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 5.0])[:, None, None])
    assert status(examine(uneven, question), "same for any class order") == "fail"
    refused = examine("torch.nn.MSELoss", question)
    assert refused.spellings == ("torch.nn.MSELoss(input=probabilities)",)
    # Libraries are told the mode.
    for path in ("monai.losses.DiceLoss", "segmentation_models_pytorch.losses.DiceLoss"):
        assert examine(path, question).likeness.cosines["dice"] > 0.99
    # The phantom's lesions and vessels lie on its organs.
    assert bool((make_question("multilabel").truth.sum(1) > 1).any())


def test_tversky_of_halves_is_dice_and_monai_agrees(question) -> None:
    pytest.importorskip("monai")
    for name in ("tversky(alpha=0.5,beta=0.5)", "monai.losses.TverskyLoss"):
        assert examine(name, question).likeness.cosines["dice"] > 0.999


@pytest.mark.parametrize("octave", range(len(EDGES) - 1))
def test_the_spectrum_of_a_band_limited_loss_lies_in_its_band(octave, question) -> None:
    radius = radial_frequency((64, 64))
    band = (radius >= EDGES[octave] - 1e-9) & (radius < EDGES[octave + 1] - 1e-9)

    def limited(logits, target):
        # Linear in the logits, so that the gradient is the band of the mask and nothing else.
        wanted = torch.fft.ifft2(torch.fft.fft2(target.double()) * band).real
        return 10 - (logits.double() * wanted).mean()

    shares = examine(limited, question).spectrum.shares
    assert shares[octave + 1] == pytest.approx(1, abs=1e-6)


def test_midrings_see_what_they_are_named_after(question) -> None:
    card = examine("midrings", question)
    assert sum(card.spectrum.shares[2:5]) > 0.85 and card.spectrum.shares[5] < 0.05


def test_invariances_are_found() -> None:
    mean = xray(nn.BCEWithLogitsLoss(), masks=_discs(32))
    assert status(mean, "same for any batch size") == "pass"
    assert status(mean, "same for any image size") == "pass"
    total = xray(nn.BCEWithLogitsLoss(reduction="sum"), masks=_discs(32))
    assert status(total, "same for any batch size") == "fail"
    assert status(total, "same for any image size") == "fail"
    assert status(total, "same for any class order") == "not applicable"
    labels = _discs(32) * (1 + np.arange(32) // 16)
    even = xray(nn.CrossEntropyLoss(), mode="multiclass", masks=labels)
    assert status(even, "same for any class order") == "pass"
    uneven = nn.CrossEntropyLoss(weight=torch.tensor([0.1, 1.0, 3.0]))
    assert (
        status(xray(uneven, mode="multiclass", masks=labels), "same for any class order") == "fail"
    )


def test_a_loss_on_probabilities_is_told_how_to_be_called(question) -> None:
    card = examine("torch.nn.MSELoss", question)
    assert [check.name for check in card.refusals] == ["truth better than noise"]
    assert card.spellings == ("torch.nn.MSELoss(input=probabilities)",)
    assert not examine(card.spellings[0], question).refusals
    assert "torch.nn.MSELoss(input=probabilities)" in card.sentences[0]


@pytest.mark.parametrize(
    ("loss", "refused"),
    [
        (lambda logits, _: (logits * 0).sum(), "has a gradient"),
        (lambda logits, _: logits.detach().sum(), "has a gradient"),
        (lambda logits, _: logits.sum() / 0, "one finite number"),
        (lambda logits, target: F.mse_loss(logits, target, reduction="none"), "one finite number"),
        (
            lambda logits, target: -F.binary_cross_entropy_with_logits(logits, target),
            "truth better than its inverse",
        ),
        (lambda *_: 1 / 0, "can be called"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(question, loss, refused) -> None:
    card = examine(loss, question)
    assert refused in [check.name for check in card.refusals]
    assert "Do not train" in card.sentences[0]
    json.loads(card.to_json())
    assert cards_to_text([card]) and cards_to_html([card]) and len(card.to_frame())


def test_odd_masks_and_extreme_logits_are_told() -> None:
    def ratio(logits, target):  # 0/0 on an empty mask
        p = logits.sigmoid()
        return 1 - (p * target).sum() / (target.sum() * p.max())

    card = xray(ratio, masks=_discs(32))
    assert status(card, "empty mask") == "fail" and status(card, "one-pixel mask") == "pass"

    def logs(logits, target):
        p = logits.sigmoid()
        return -(target * p.log() + (1 - target) * (1 - p).log()).mean()

    assert status(xray(logs, masks=_discs(32)), "finite when sure and wrong") == "fail"
    assert status(xray("bce", masks=_discs(32)), "finite when sure and wrong") == "pass"


def test_what_a_loss_takes_and_in_which_order_is_checked(question) -> None:
    for name in ("bce", "lovasz", "boundary", "scc"):
        card = examine(name, question)
        assert status(card, "takes logits") == status(card, "argument order") == "pass"
    card = examine("torch.nn.MSELoss", question)
    assert status(card, "takes logits") == "fail" and status(card, "argument order") == "pass"

    def swapped(y_true, y_pred):  # symmetric: no value shows the order
        return ((y_true.sigmoid() if y_pred.max() == 1 else y_true) - y_pred).square().mean()

    assert status(examine(swapped, question), "argument order") == "fail"
    assert status(
        examine(lambda *both: nn.BCEWithLogitsLoss()(*both), question), "argument order"
    ) == ("not applicable")


def test_the_pull_on_small_objects(question) -> None:
    assert examine("bce", question).pull.small_object == pytest.approx(1, rel=1e-4)
    card = examine("rings", question)
    assert card.pull.small_object > 1.2
    assert sum(card.pull.by_distance.values()) == pytest.approx(1)
    cost = xray("bce", masks=_discs(32)).cost
    assert cost.time > 0 and cost.memory == pytest.approx(1, rel=0.01)


def test_volumes_and_stores(binary_store, phantom_store) -> None:
    volume = np.zeros((2, 12, 16, 16), int)
    volume[:, 3:9, 4:12, 5:12] = 1
    assert not xray("scc", masks=volume).refusals
    assert "phantom-binary" in xray("bce", masks=binary_store).masks
    for mode in ("multiclass", "multilabel"):
        assert xray("dice", mode=mode, masks=phantom_store).likeness.cosines["dice"] > 0.999


def test_cards_side_by_side(question) -> None:
    cards = [examine(name, question) for name in ("scc", "rings")]
    text, page = cards_to_text(cards), cards_to_html(cards)
    assert "100 % of its gradient is squared Dice." in text
    # What a failed check means is said of every one of them.
    for check in cards[1].checks:
        if check.status == "fail":
            assert f"{check.name}: " in text and check.meaning[1:30] in text
    assert max(map(len, text.split("In words")[0].splitlines())) <= 130
    assert page.count("<polyline") == 2 * 5 and "squared Dice" in page
    assert "<svg" in cards[0]._repr_html_()
    frame = cards[0].to_frame()
    assert set(frame.section) >= {"contract", "value", "spectrum", "likeness", "cosine", "pull"}
    found = json.loads(cards[0].to_json())
    assert found["name"] == "scc" and found["spectrum"]["above"].keys() == {"1/16", "1/8", "1/4"}


def test_mistakes_are_named(tmp_path) -> None:
    for call, message in (
        (lambda: xray("ring"), "did you mean 'rings'"),
        (lambda: xray("rings(a=1)"), "unknown option 'a'; it has spacing, class_weights, include_"),
        (lambda: xray("tversky(alpha=-1)"), "alpha must be 0 or more"),
        (lambda: xray("scc", mode="several"), "mode must be binary or multiclass or multilabel"),
        (
            lambda: xray("scc", mode="multilabel", masks=np.ones((1, 8, 8))),
            r"masks must be class indices \(images, channels, \*space\) from 0 to 1",
        ),
        (lambda: xray("scc", masks=np.full((1, 8, 8), 3)), "masks must be class indices"),
        (lambda: xray("scc", masks=tmp_path / "none"), "no such store"),
        (lambda: xray("no.such.Loss"), "cannot be imported"),
    ):
        with pytest.raises(HarmosegError, match=message):
            call()


def test_graded_predictions_are_graded() -> None:
    masks = torch.from_numpy(_discs(64))
    states = graded_predictions(masks[:, None].float(), "binary")
    for state in states:
        wrong = ((state.logits[:, 0] > 0) != (masks == 1)).float().mean()
        low, high = {"truth": (0, 0), "inverse": (1, 1), "noise": (0.4, 0.6)}.get(
            state.name, (0, 0.2)
        )
        assert low <= wrong <= high, state.name
    names = [state.name for state in states if state.kind == "near"]
    assert len(names) == 14 and len(set(names)) == 7
    distance = signed_distance(np.pad(np.ones((4, 4), bool), 3))
    assert distance.max() == 1.5 and distance[0, 5] == -2.5


def test_a_module_of_harmoseg_is_taken_as_it_is(question) -> None:
    loss = SpectralCorrelationLoss("binary", bands="mid")
    assert examine(loss, question).likeness == examine("mid", question).likeness


def test_a_loss_in_a_file_is_named_by_file_and_name(tmp_path: Path) -> None:
    """As a network is: the message of a failed import promises it."""
    file = tmp_path / "my.losses.py"
    file.write_text(
        "import torch\n"
        "from torch.nn import functional as F\n"
        "def bce(logits, target):\n"
        "    return F.binary_cross_entropy_with_logits(logits, target)\n"
        "def each(logits, target):\n"
        "    found = F.binary_cross_entropy_with_logits(logits, target, reduction='none')\n"
        "    return found.mean((1, 2, 3))\n"
        "def cut(logits, target):\n"
        "    return bce(logits.detach(), target)\n"
    )
    question = make_question("binary")
    card = examine(parse_loss(f"{file}:bce"), question)
    assert not card.refusals
    assert card.likeness is not None and card.likeness.cosines["bce"] > 0.999
    method = parse_method(f"unet+{file}:bce:0.5+scc:1")
    assert [term.weight for term in method.terms] == [0.5, 1.0]
    assert parse_method(str(method)) == method
    each = examine(parse_loss(f"{file}:each"), question)
    assert each.refusals[0].meaning.startswith("The loss of two images is not one number")
    # Asked for the prediction it would be trained to be another mask: that is no cure.
    assert examine(parse_loss(f"{file}:cut"), question).spellings == ()


def test_a_number_that_is_a_word_is_named() -> None:
    with pytest.raises(HarmosegError, match="loss tversky: alpha must be a number, got 'x'"):
        examine("tversky(alpha=x)", make_question("binary"))


def test_a_printed_card_is_what_the_command_prints() -> None:
    assert "Is it safe to train with?" in str(examine("bce", make_question("binary")))
