"""Networks by name: shapes, sizes, weights, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harmoseg import HarmosegError, create_model

SMALL = {"depth": 1, "width": 32, "heads": 8}


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 70), (33, 64)])
def test_unet_takes_any_size(height, width) -> None:
    network = create_model("unet", encoder="resnet18", in_channels=1, classes=4).eval()
    assert network(torch.rand(2, 1, height, width)).shape == (2, 4, height, width)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 48), (16, 16)])
def test_transunet_takes_multiples_of_sixteen(height, width) -> None:
    network = create_model("transunet", encoder="resnet18", classes=2, **SMALL).eval()
    assert network(torch.rand(1, 3, height, width)).shape == (1, 2, height, width)


@pytest.mark.parametrize(
    ("size", "nearest"), [((100, 100), "96 x 96"), ((5, 60), "16 x 64"), ((225, 224), "224 x 224")]
)
def test_transunet_names_the_nearest_size(size, nearest) -> None:
    network = create_model("transunet", encoder="resnet18", **SMALL)
    with pytest.raises(HarmosegError, match=f"nearest allowed size is {nearest}"):
        network(torch.rand(1, 3, *size))


def test_transunet_is_the_papers_by_default() -> None:
    network = create_model("transunet", encoder="resnet18")
    bottleneck = network.bottleneck
    assert len(bottleneck.blocks) == 12
    assert {block.heads for block in bottleneck.blocks} == {8}
    assert bottleneck.position.shape == (1, 768, 14, 14)


def test_transunet_trains_every_parameter() -> None:
    network = create_model("transunet", encoder="resnet18", **SMALL)
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    unused = [name for name, value in network.named_parameters() if value.grad is None]
    assert unused == []


def test_attention_relates_distant_places() -> None:
    torch.manual_seed(1)
    network = create_model("transunet", encoder="resnet18", **SMALL).eval()
    features = torch.randn(1, 256, 8, 8, requires_grad=True)
    network.bottleneck(features)[0, 0, 0, 0].backward()
    assert features.grad is not None and features.grad[0, :, 7, 7].abs().max() > 0


def test_position_embedding_is_interpolated_not_cropped() -> None:
    bottleneck = create_model("transunet", encoder="resnet18", **SMALL).bottleneck
    assert bottleneck._position(14, 14) is bottleneck.position
    halved = bottleneck._position(7, 7)
    assert halved.shape[-2:] == (7, 7)
    assert not torch.equal(halved, bottleneck.position[..., :7, :7])


def encoder_file(path: Path, encoder: str = "resnet18", **extra: torch.Tensor) -> Path:
    state = create_model("unet", encoder=encoder).encoder.state_dict()
    save_file(
        {**{k: v.half() if v.is_floating_point() else v for k, v in state.items()}, **extra}, path
    )
    return path


def test_local_weights_reach_the_encoder(tmp_path) -> None:
    file = encoder_file(tmp_path / "a.safetensors", **{"fc.weight": torch.zeros(10, 512)})
    one = create_model("unet", encoder="resnet18", weights=file)
    two = create_model("transunet", encoder="resnet18", weights=str(file), **SMALL)
    kept = two.encoder.state_dict()
    assert all(torch.equal(kept[name], one.encoder.state_dict()[name]) for name in kept)
    assert one.encoder.conv1.weight.dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_first_layer_is_adapted_to_other_channels(tmp_path, channels) -> None:
    file = encoder_file(tmp_path / "a.safetensors")
    three = create_model("unet", encoder="resnet18", weights=file).encoder.conv1
    other = create_model("unet", encoder="resnet18", weights=file, in_channels=channels)
    grey = torch.rand(1, 1, 16, 16)
    if channels == 1:  # the same picture in grey gives the same activations
        expected = three(grey.expand(1, 3, 16, 16))
        torch.testing.assert_close(other.encoder.conv1(grey), expected)
    assert other.encoder.conv1.weight.shape[1] == channels


def test_weights_of_another_architecture_are_refused(tmp_path) -> None:
    file = encoder_file(tmp_path / "a.safetensors", "resnet34")
    with pytest.raises(HarmosegError, match=r"not of encoder 'resnet18': \d+ unexpected \(layer1"):
        create_model("unet", encoder="resnet18", weights=file)
    file = encoder_file(tmp_path / "b.safetensors", "resnet18")
    with pytest.raises(HarmosegError, match="of another shape"):
        create_model("unet", encoder="resnet50", weights=file)


def test_unreadable_weights_are_refused(tmp_path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(HarmosegError, match="not a readable"):
        create_model("unet", encoder="resnet18", weights=broken)
    with pytest.raises(HarmosegError, match="no such weights file"):
        create_model("unet", encoder="resnet18", weights=tmp_path / "absent.safetensors")
    pickled = tmp_path / "weights.pth"
    pickled.write_bytes(b"")
    with pytest.raises(HarmosegError, match=r"must be a .safetensors file"):
        create_model("unet", encoder="resnet18", weights=pickled)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(HarmosegError, match="unet, transunet"):
        create_model("vnet")
    with pytest.raises(HarmosegError, match="did you mean 'resnet18'"):
        create_model("unet", encoder="resnet_18")
    with pytest.raises(HarmosegError, match="'tu-nonsense': timm has no 'nonsense'; did you mean"):
        create_model("unet", encoder="tu-nonsense")
    with pytest.raises(HarmosegError, match="multiple of heads"):
        create_model("transunet", encoder="resnet18", width=30, heads=8)
