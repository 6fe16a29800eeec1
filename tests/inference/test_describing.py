"""What a network costs, against closed forms; what is said of networks and models."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harmoseg import HarmosegError, create_model
from harmoseg.cli.main import main
from harmoseg.inference.describing import count_flops, describe_network
from harmoseg.inference.saved_model import ModelInfo, save_model
from harmoseg.models.transunet import TransformerBlock
from harmoseg.store.card import Card


def test_a_convolution_costs_two_per_weight_and_place() -> None:
    network = nn.Conv2d(3, 8, kernel_size=3, padding=1, stride=2)
    assert count_flops(network, (3, 20, 30)) == 2 * (3 * 8 * 3 * 3) * (10 * 15)


class Tokens(nn.Module):
    """Attention over the places of an image."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.block = TransformerBlock(width, heads)

    def forward(self, images):
        return self.block(images.flatten(2).transpose(1, 2))


def test_attention_is_counted() -> None:
    count, width = 5 * 6, 16
    projections = count * width * (3 * width + width + 2 * 4 * width)
    attention = 2 * count * count * width  # queries with keys, weights with values
    assert count_flops(Tokens(width, 4), (width, 5, 6)) == 2 * (projections + attention)


def test_parameters_and_memory_are_the_networks() -> None:
    network = create_model("unet", encoder="resnet18", in_channels=1, classes=3)
    parameters = sum(value.numel() for value in network.parameters())
    size = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    text = describe_network("unet", encoder="resnet18", size=64, channels=1, classes=3)
    assert f"{parameters:,} ({size / 2**20:.1f} MiB of weights in memory)" in text
    flops = count_flops(network, (1, 64, 64))
    assert f"{flops / 1e9:.2f} GFLOP per image of 64 x 64 px with 1 channel(s)" in text
    assert "counted as two" in text and "any height and width" in text and "32 px" in text


def test_info_of_a_network_shows_the_card_of_its_weights(tmp_path, capsys) -> None:
    options = ["--encoder", "resnet18", "--size", "64"]
    assert main(["info", "--model", "unet", *options, "--weights", "imagenet"]) == 0
    shown = capsys.readouterr().out
    assert "69.8 % on ImageNet" in shown and "BSD-3-Clause" in shown
    file = tmp_path / "mine.safetensors"
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(2)}, file)
    assert main(["info", "--model", "unet", *options, "--weights", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "no card: provenance unknown; say where it is from in mine.toml" in shown
    assert (
        "tensors:       2" in shown and "fits encoder:  no: " in shown and "missing (bn1" in shown
    )
    (tmp_path / "mine.toml").write_text('source = "a friend"\n')
    assert main(["info", "--model", "unet", *options, "--weights", str(file)]) == 0
    assert "a friend" in capsys.readouterr().out


def test_info_of_a_model_says_what_it_is(tmp_path, capsys) -> None:
    card = Card("polyps", "Polyps of one centre", "colonoscopy", "binary", ("background", "polyp"))
    small = {"decoder_channels": (16, 16, 8, 8, 8)}
    info = ModelInfo("unet", "resnet18", card, 32, 48, 3, small, {"method": "unet+scc", "seed": 4})
    save_model(tmp_path / "m", info, info.build().state_dict())
    assert main(["info", str(tmp_path / "m")]) == 0
    shown = capsys.readouterr().out
    for part in (
        "unet with encoder resnet18",
        "48 x 32 px",
        "background, polyp",
        "method unet+scc, seed 4",
        "Polyps of one centre",
    ):
        assert part in shown
    (tmp_path / "m" / "model.json").unlink()
    assert main(["info", str(tmp_path / "m")]) == 2
    assert "not a model (model.json is missing)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "info takes the path of a store or a model, or --model"),
        (["x", "--model", "unet"], "and one of the two"),
        (
            ["--model", "vnet"],
            "path/to/file.py:function, got 'vnet'",
        ),
        (["--model", "unet", "--encoder", "resnet_18"], "did you mean 'resnet18'"),
        (["--model", "unet", "--size", "0"], "size must be 1 or more"),
        (
            ["--model", "transunet", "--encoder", "resnet18", "--size", "100"],
            "nearest allowed size is 96 x 96",
        ),
        (
            ["--model", "unet", "--encoder", "resnet18", "--weights", "absent"],
            "absent: no such weights file",
        ),
    ],
)
def test_mistakes_of_info_are_one_line(arguments, message, capsys) -> None:
    assert main(["info", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_nothing_is_described_that_cannot_be_built() -> None:
    with pytest.raises(HarmosegError, match="no ImageNet weights"):
        describe_network(
            "unet", encoder="dpn92", size=64, channels=3, classes=1, weights="imagenet"
        )
