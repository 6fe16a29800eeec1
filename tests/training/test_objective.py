"""The objective that a method names: its parts add up, and imported losses get what they expect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from harmoseg import HarmonizedLoss, HarmosegError, imports
from harmoseg.diagnostics.training_guard import check_objective
from harmoseg.losses import named
from harmoseg.losses.method import parse_method
from harmoseg.training.network import Objective

DRAW = torch.Generator().manual_seed(0)
BINARY = (
    torch.randn(2, 1, 16, 16, generator=DRAW),
    (torch.rand(2, 16, 16, generator=DRAW) > 0.5).long(),
)
MULTICLASS = (
    torch.randn(2, 4, 16, 16, generator=DRAW),
    torch.randint(4, (2, 16, 16), generator=DRAW),
)


def source_of(method: str) -> str | None:
    return named.source_hash(parse_method(method).losses)


def check(text: str, mode: str = "binary", *, refuse: bool = True) -> list[str]:
    method = parse_method(text)
    classes = 2 if mode == "binary" else 4
    made = Objective(method, mode)  # type: ignore[arg-type]
    return check_objective(
        made, method.losses, mode=mode, classes=classes, space=(32, 40), refuse=refuse
    )


def objective(text: str, mode: str = "binary") -> Objective:
    return Objective(parse_method(text), mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("bands", ["rings", "low", "mid", "high"])
@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_bands_are_those_of_the_loss(bands, reduction) -> None:
    expected = HarmonizedLoss("binary", spectral_weight=0.7, bands=bands, reduction=reduction)
    found = objective(f"unet+{bands}:0.7@{reduction}")
    assert found(*BINARY) == expected(*BINARY)


def test_a_dice_term_weighs_dice_twice() -> None:
    terms = objective("unet+dice:0.5", "multiclass").terms(*MULTICLASS)
    assert torch.isclose(terms["total"], terms["pixel"] + 1.5 * terms["dice"])


def test_without_a_term_there_is_bce_and_dice_alone() -> None:
    terms = objective("unet").terms(*BINARY)
    assert torch.isclose(terms["total"], terms["pixel"] + terms["dice"])


def test_an_imported_loss_is_added_with_its_weight() -> None:
    found = objective("unet+torch.nn.BCEWithLogitsLoss:0.5").terms(*BINARY)
    logits, target = BINARY
    own = F.binary_cross_entropy_with_logits(logits, target[:, None].float())
    assert torch.isclose(found["own"], own)
    assert torch.isclose(found["total"], found["pixel"] + found["dice"] + 0.5 * own)
    found = objective("unet+torch.nn.CrossEntropyLoss:2", "multiclass").terms(*MULTICLASS)
    assert torch.isclose(found["own"], F.cross_entropy(*MULTICLASS))


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
@pytest.mark.parametrize(
    "path",
    [
        "monai.losses.DiceLoss",
        "monai.losses.FocalLoss",
        "monai.losses.TverskyLoss",
        "monai.losses.DiceCELoss",
        "segmentation_models_pytorch.losses.DiceLoss",
        "segmentation_models_pytorch.losses.FocalLoss",
        "segmentation_models_pytorch.losses.LovaszLoss",
    ],
)
def test_losses_of_the_libraries_are_told_the_mode(path, mode) -> None:
    pytest.importorskip(path.partition(".")[0])
    batch = BINARY if mode == "binary" else MULTICLASS
    right = objective(f"unet+{path}", mode)
    assert check(f"unet+{path}", mode) == []
    perfect = F.one_hot(batch[1], 2 if mode == "binary" else 4).movedim(-1, 1).float() * 40 - 20
    perfect = perfect[:, 1:] if mode == "binary" else perfect
    # Called as it means to be called, a loss is (nearly) 0 where the prediction is the truth.
    assert float(right.terms(perfect, batch[1])["own"]) < 0.02
    assert float(right.terms(-perfect, batch[1])["own"]) > 0.3


def test_a_loss_in_the_current_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_losses_7.py").write_text(
        "def third(logits, target):\n    return (logits.sigmoid() - target).abs().mean() / 3\n"
        "def text(logits, target):\n    return 'much'\n"
        "def map(logits, target):\n    return logits * 1\n"
        "def broken(logits, target):\n    raise KeyError('x')\n"
        "class Needy:\n    def __init__(self, alpha): ...\n"
        "VALUE = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    logits, target = BINARY
    own = (logits.sigmoid() - target[:, None]).abs().mean() / 3
    assert torch.isclose(objective("unet+my_losses_7.third").terms(*BINARY)["own"], own)
    before = source_of("unet+my_losses_7.third")
    with (tmp_path / "my_losses_7.py").open("a") as stream:
        stream.write("# changed\n")
    # What this process has imported is what it runs; the next one has another hash.
    assert source_of("unet+my_losses_7.third") == before
    monkeypatch.setattr(imports, "_HASHES", {})
    assert source_of("unet+my_losses_7.third") != before
    (tmp_path / "my_losses_8.py").write_text(
        "from functools import partial\nfrom torch.nn.functional import l1_loss\n"
        "made = partial(l1_loss, reduction='sum')\n"
    )
    assert source_of("unet+my_losses_8.made") is not None
    (tmp_path / "my_losses_9.py").write_text("def loss(logits, target:\n")
    with pytest.raises(HarmosegError, match="cannot be imported .SyntaxError"):
        objective("unet+my_losses_9.loss")
    for name, message in (
        ("text", "must return a tensor, got str"),
        ("map", "not one finite number"),
        ("broken", "KeyError"),
    ):
        with pytest.raises(HarmosegError, match=f"my_losses_7.{name}: .*{message}"):
            check(f"unet+my_losses_7.{name}")
    for name, message in (
        ("Needy", r"Needy\(\) cannot be made .*alpha"),
        ("VALUE", "is no loss but int"),
        ("absent", "cannot be imported"),
    ):
        with pytest.raises(HarmosegError, match=message):
            objective(f"unet+my_losses_7.{name}")


def test_only_an_imported_loss_has_a_source() -> None:
    assert source_of("unet+rings") is None
    assert Path(torch.nn.__file__).exists()
    assert len(source_of("unet+torch.nn.CrossEntropyLoss") or "") == 64


def test_objectives_of_every_base_and_term_add_up() -> None:
    parts = objective("unet").terms(*BINARY)
    found = objective("unet=bce+dice:0.5+rings:2+tversky(alpha=0.5,beta=0.5):3").terms(*BINARY)
    rings = objective("unet+rings").terms(*BINARY)["spectral"]
    expected = parts["pixel"] + 3.5 * parts["dice"] + 2 * rings  # this Tversky is Dice
    assert torch.isclose(found["total"], expected)
    assert torch.isclose(found["base"], parts["pixel"])
    twice = objective("unet+rings:1+rings:1")(*BINARY)
    assert torch.isclose(twice, objective("unet+rings:2")(*BINARY))


TRAPS = """
import torch
from torch.nn import functional as F
def constant(logits, target): return (logits * 0).sum()
def inverse(logits, target): return -F.binary_cross_entropy_with_logits(logits, target)
def swapped(target, prediction):
    # Tells no mask from its inverse where its arguments are exchanged: the target is no logit.
    return 1 - torch.relu(target - 1e6).sum() - (prediction * 0).sum()
def on_probabilities(target, p): return F.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), target)
"""


def test_silent_traps_are_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "traps_1.py").write_text(TRAPS)
    monkeypatch.chdir(tmp_path)
    for name, message in (
        ("traps_1.constant", "no finite gradient"),
        ("traps_1.inverse", "leads away from the truth"),
        ("traps_1.swapped", "no finite gradient"),
        ("torch.nn.MSELoss", r"noise 0.3.* Spell it torch.nn.MSELoss\(input=probabilities\)"),
    ):
        with pytest.raises(HarmosegError, match=f"{message}.*--no-contract"):
            check(f"unet={name}")
        assert any("the objective" in told for told in check(f"unet={name}", refuse=False))
    # Beside BCE + Dice: what teaches nothing is refused, what misleads a little is told.
    with pytest.raises(HarmosegError, match="traps_1.constant: The loss has no finite gradient"):
        check("unet+traps_1.constant")
    assert "leads away" in check("unet+traps_1.inverse")[0]
    assert check("unet=traps_1.on_probabilities(input=probabilities,target_first=true)") == []


def test_a_loss_that_a_mask_and_its_inverse_share_is_told_not_refused() -> None:
    pytest.importorskip("monai")
    assert "inverse" in check("unet+monai.losses.SoftclDiceLoss")[0]
