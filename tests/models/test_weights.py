"""Weight cards: those of the package, those beside a file."""

from __future__ import annotations

import hashlib

import pytest
from segmentation_models_pytorch.encoders import encoders
from torchvision.models import get_model_weights

from harmoseg import HarmosegError
from harmoseg.models.weights import _packaged, file_card, library_card


def with_imagenet() -> list[str]:
    return [name for name, value in encoders.items() if "imagenet" in value["pretrained_settings"]]


def test_every_encoder_has_one_card_or_is_said_to_have_none() -> None:
    owners = [name for card in _packaged() for name in card.encoders]
    assert len(owners) == len(set(owners))
    assert set(owners) <= set(with_imagenet())  # a card speaks of weights that can be had
    without = {name for name in with_imagenet() if name not in owners}
    assert all(name.startswith("timm-") for name in without), without  # names on their way out
    with pytest.raises(HarmosegError, match="no weight card for encoder 'timm-skresnet18'"):
        library_card("timm-skresnet18")


def test_accuracies_are_those_that_torchvision_publishes() -> None:
    card = library_card("resnet18")
    assert set(card.top1) == set(card.encoders)
    for name, value in card.top1.items():
        meta = get_model_weights(name).IMAGENET1K_V1.meta
        assert value == meta["_metrics"]["ImageNet-1K"]["acc@1"], name


def test_every_card_says_source_and_licence() -> None:
    for card in _packaged():
        assert card.title and card.licence and card.source.startswith("https://")
        assert len(card.mean) == len(card.std) == 3


def test_a_card_says_which_copy_and_what_preprocessing() -> None:
    lines = library_card("resnet50").lines("resnet50")
    assert lines["top-1"] == "76.1 % on ImageNet"
    assert lines["copy"].startswith("smp-hub/resnet50.imagenet at 00cb74e366")
    assert (
        lines["preprocessing"]
        == "bytes / 255, mean 0.485, 0.456, 0.406, deviation 0.229, 0.224, 0.225"
    )
    other = library_card("xception").lines("xception")["preprocessing"]
    assert "mean 0.500" in other and "harmoseg gives ImageNet's to every encoder" in other


def test_timm_names_the_licence_of_every_set() -> None:
    card = library_card("tu-convnext_atto")
    assert card.licence.startswith("apache-2.0 for these weights")
    assert card.revision == "timm/convnext_atto.d2_in1k"


def test_a_side_file_is_the_card_of_its_weights(tmp_path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"weights")
    assert file_card(file) is None
    (tmp_path / "a.toml").write_text(
        'source = "our lab"\nlicence = "CC0"\ntop1 = 70\nnotes = "n"\n'
    )
    card = file_card(file)
    assert card is not None
    lines = card.lines("resnet18")
    assert (lines["source"], lines["licence"]) == ("our lab", "CC0")
    assert lines["notes"] == "70.0 % top-1 on ImageNet, says the card; n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'source = "x"\nlicense = "CC0"\n',
            "unknown key 'license'; a weight card holds source, licence",
        ),
        ('licence = "CC0"\n', "source is missing: say where"),
        ("source = 3\n", "source must be text in quotes"),
        ('source = "x"\ntop1 = 701\n', "top1 must be a percentage from 0 to 100, got 701"),
        ('source = "x"\ntop1 = true\n', "got True"),
        ("source = \n", "cannot be read"),
    ],
)
def test_a_wrong_side_file_is_refused(tmp_path, text, message) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(HarmosegError, match=f"a.toml: .*{message}"):
        file_card(tmp_path / "a.safetensors", "")


def test_known_files_are_recognised_by_their_hash(tmp_path) -> None:
    known = next(card for card in _packaged() if card.sha256)
    digest = known.sha256["resnet50"]
    assert file_card(tmp_path / "renamed.safetensors", digest) == known
    assert known.lines("resnet50")["top-1"] == "72.2 % on ImageNet"
    assert all(len(value) == len(hashlib.sha256().hexdigest()) for value in known.sha256.values())
