"""Encoder families: both networks, what is unused, what is refused, weights from elsewhere."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from segmentation_models_pytorch import encoders as library

from harmoseg import HarmosegError, create_model
from harmoseg.models.encoders import examine
from harmoseg.models.weights import _whole_network

SMALL = {"depth": 1, "width": 32, "heads": 4, "decoder_channels": (16, 16, 8, 8)}
FAMILIES = [
    "resnet18",
    "resnext50_32x4d",
    "se_resnet50",
    "densenet121",
    "efficientnet-b0",
    "mobilenet_v2",
    "vgg11_bn",
    "mit_b0",
    "dpn68",
    "xception",
    "inceptionv4",
    "mobileone_s0",
    "tu-convnext_atto",
    "tu-resnet18",
    "tu-mobilenetv3_small_050",
    "tu-hrnet_w18_small",
]


@pytest.mark.parametrize("encoder", FAMILIES)
def test_transunet_holds_nothing_that_no_output_depends_on(encoder) -> None:
    network = create_model("transunet", encoder=encoder, in_channels=2, **SMALL)
    found = examine(network.encoder, encoder, 2)
    assert found.unused <= {n for n, p in network.encoder.named_parameters() if not p.requires_grad}
    assert found.shapes[-1][1:] == (14, 16)  # 224 x 256 at stride 16
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("encoder", ["densenet121", "efficientnet-b0", "mobilenet_v2", "mit_b0"])
def test_every_parameter_that_wants_a_gradient_gets_one(encoder) -> None:
    for name, options in (("unet", {}), ("transunet", SMALL)):
        network = create_model(name, encoder=encoder, in_channels=1, classes=2, **options)
        output = network(torch.rand(2, 1, 64, 64))
        assert output.shape == (2, 2, 64, 64)
        output.sum().backward()
        wanting = [p for p in network.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in wanting), name


def test_layers_for_classification_are_frozen_in_unet_not_removed() -> None:
    network = create_model("unet", encoder="efficientnet-b0")
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"encoder._conv_head.weight", "encoder._bn1.weight", "encoder._bn1.bias"}


@pytest.mark.parametrize(
    ("name", "encoder", "options", "message"),
    [
        ("unet", "tu-nonsense", {}, "timm has no 'nonsense'; did you mean"),
        ("unet", "tu-vit_tiny_patch16_224", {}, "cannot be built .Unsupported model downsampling"),
        ("unet", "tu-swin_tiny_patch4_window7_224", {}, "strict_img_size=False may free it"),
        ("unet", "tu-maxvit_nano_rw_256", {}, "does not take images of any size"),
        ("transunet", "tu-inception_v3", {}, "cannot carry TransUNet, which needs 4 stages"),
        ("unet", "resnet18", {"decoder_chanels": 3}, "unknown option 'decoder_chanels' for unet"),
        ("unet", "resnet18", {"aux_params": {}}, "unknown option 'aux_params'"),
        ("unet", "tu-resnet18", {"nonsense": 3}, "cannot be built"),
        ("unet", "resnet18", {"encoder_depth": 9}, "cannot be built .* depth should be in range"),
        ("unet", "resnet18", {"decoder_channels": (8, 8)}, "`decoder_channels` for 2 blocks"),
        ("transunet", "resnet18", {"encoder_depth": 3}, "expected one of depth, width, heads"),
        ("transunet", "resnet18", {"depth": 0}, "depth must be 1 or more, got 0"),
        ("transunet", "resnet18", {"decoder_channels": (8, 8)}, "must be 4 numbers"),
        ("unet", "resnet18", {"in_channels": 0}, "in_channels must be 1 or more"),
        ("unet", "resnet18", {"classes": 0}, "classes must be 1 or more"),
        ("unet", "resnext101_32x4d", {"weights": "imagenet"}, "no ImageNet weights .*only ssl"),
        ("unet", "tu-resnet18.nonsense", {"weights": "imagenet"}, "timm has no weights for"),
    ],
)
def test_what_cannot_be_is_refused(name, encoder, options, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        create_model(name, encoder=encoder, **options)


def test_windows_may_be_freed_from_their_size() -> None:
    network = create_model("unet", encoder="tu-swin_tiny_patch4_window7_224", strict_img_size=False)
    assert examine(network.encoder, "swin", 3).unused == frozenset()


@pytest.mark.parametrize(("name", "options"), [("unet", {}), ("transunet", SMALL)])
def test_imagenet_weights_come_through_the_library(tmp_path, monkeypatch, name, options) -> None:
    file = tmp_path / "model.safetensors"
    state = library.get_encoder("resnet18").state_dict()
    save_file({**state, "fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)}, file)
    asked = []

    def download(repo_id, filename, revision):
        assert revision
        asked.append((repo_id, filename))
        return str(file)

    monkeypatch.setattr(library, "hf_hub_download", download)
    network = create_model(name, encoder="resnet18", weights="imagenet", in_channels=1, **options)
    assert asked[-1] == ("smp-hub/resnet18.imagenet", "model.safetensors")
    loaded = network.encoder.state_dict()
    torch.testing.assert_close(loaded["conv1.weight"], state["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(loaded["layer3.1.conv2.weight"], state["layer3.1.conv2.weight"])


def test_timm_is_asked_for_its_weights_and_a_failed_download_says_so(monkeypatch) -> None:
    asked = {}

    def offline(**kwargs):
        asked.update(kwargs)
        raise OSError("no connection")

    monkeypatch.setattr(library, "TimmUniversalEncoder", offline)
    with pytest.raises(HarmosegError, match="no connection.; give a local .safetensors file"):
        create_model("unet", encoder="tu-resnet18", weights="imagenet")
    assert asked["pretrained"] is True and asked["name"] == "resnet18"


@pytest.mark.parametrize("name", ["convnext_atto", "resnet18"])
def test_a_file_of_timm_fits_its_encoder(tmp_path, name) -> None:
    state = timm.create_model(name).state_dict()
    file = tmp_path / "timm.safetensors"
    save_file(state, file)
    for network, options in (("unet", {}), ("transunet", SMALL)):
        built = create_model(network, encoder=f"tu-{name}", weights=file, **options)
        values = [value.sum() for value in state.values()]
        assert all(
            any(torch.equal(v.sum(), x) for x in values)
            for v in built.encoder.state_dict().values()
        )
    save_file({**state, "stranger": torch.zeros(1)}, file)
    with pytest.raises(HarmosegError, match="1 unexpected .stranger"):
        create_model("unet", encoder=f"tu-{name}", weights=file)


@pytest.mark.parametrize("encoder", ["densenet121", "mit_b0", "mobilenet_v2"])
def test_a_whole_encoder_fits_the_shortened_one_of_transunet(tmp_path, encoder) -> None:
    whole = create_model("unet", encoder=encoder).encoder.state_dict()
    save_file(whole, tmp_path / "a.safetensors")
    network = create_model(
        "transunet", encoder=encoder, weights=tmp_path / "a.safetensors", in_channels=4, **SMALL
    )
    kept = network.encoder.state_dict()
    assert len(kept) < len(whole) and set(kept) < _whole_network(encoder)
    changed = [name for name in kept if not torch.equal(kept[name], whole[name])]
    assert len(changed) == 1  # the first layer, from 3 channels to 4
    total = whole[changed[0]].sum(1)
    assert kept[changed[0]].shape[1] == 4 and kept[changed[0]].sum(1).shape == total.shape


def test_old_files_without_batch_counters_fit(tmp_path) -> None:
    state = create_model("unet", encoder="resnet18").encoder.state_dict()
    save_file(
        {k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "a.safetensors"
    )
    network = create_model("unet", encoder="resnet18", weights=tmp_path / "a.safetensors")
    assert torch.equal(network.encoder.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
