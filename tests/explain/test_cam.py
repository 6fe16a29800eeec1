"""Grad-CAM: against one written by hand in float64, for both networks, leaving no trace."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from harmoseg import HarmosegError, create_model
from harmoseg.explain.cam import LAYERS, grad_cam
from harmoseg.store.transforms import normalise

SMALL = {"depth": 1, "width": 32, "heads": 8}


@functools.cache
def cached(name: str, classes: int = 1) -> nn.Module:
    return network(name, classes)


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """Keep no network for the tests of other files: in float64 one has 115 MB."""
    yield
    cached.cache_clear()


def network(name: str, classes: int = 1, encoder: str = "resnet18") -> nn.Module:
    options = SMALL if name == "transunet" else {}
    return create_model(name, encoder=encoder, classes=classes, **options).double().eval()


def images(count: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, 64, 64), dtype=torch.uint8)


def by_hand(model: nn.Module, given: torch.Tensor, *, place: nn.Module, is_input: bool, index: int):
    """Compute the paper's formula image by image, a hook keeping the map and its gradient."""
    maps = []
    for image in given:
        kept = []

        def keep(_, entered, out=None, kept=kept):
            value = (entered[0] if is_input else out).clone().requires_grad_()
            value.retain_grad()
            kept.append(value)
            return (value.clone(),) if is_input else value.clone()

        watch = place.register_forward_pre_hook if is_input else place.register_forward_hook
        handle = watch(keep)
        logits = model(normalise(image[None]).double())[0]
        handle.remove()
        chosen = logits[0] > 0 if len(logits) == 1 else logits.argmax(0) == index
        own = logits[0] if len(logits) == 1 else logits[index]
        (own[chosen].sum() if chosen.any() else own.sum()).backward()
        [value] = kept
        weights = value.grad[0].mean((1, 2))
        cam = torch.einsum("c,chw->hw", weights, value[0]).clamp(min=0)
        maps.append((cam / cam.max() if cam.max() > 0 else cam).detach())
    return torch.stack(maps)


PLACES = {
    ("unet", "encoder"): ("decoder.center", True),
    ("unet", "bottleneck"): ("decoder.center", True),
    ("unet", "decoder"): ("decoder.blocks.4", False),
    ("unet", "encoder.layer2.0.bn1"): ("encoder.layer2.0.bn1", False),  # an in-place ReLU follows
    ("unet", "encoder.relu"): ("encoder.relu", False),  # is in-place itself
    ("transunet", "encoder"): ("bottleneck", True),
    ("transunet", "bottleneck"): ("bottleneck", False),
    ("transunet", "decoder"): ("decoder.blocks.3", False),
    ("transunet", "bottleneck.embedding"): ("bottleneck.embedding", False),
}


@pytest.mark.parametrize(("name", "layer"), PLACES)
@pytest.mark.parametrize(("classes", "index"), [(1, 1), (3, 2)])
def test_it_is_the_formula(name, layer, classes, index) -> None:
    model, given = cached(name, classes), images()
    found = grad_cam(model, given, layer=layer, class_index=index)
    place, is_input = PLACES[name, layer]
    expected = by_hand(
        model, given, place=model.get_submodule(place), is_input=is_input, index=index
    )
    assert found.dtype == "float32" and found.shape == expected.shape
    torch.testing.assert_close(torch.from_numpy(found).double(), expected, rtol=1e-6, atol=1e-7)
    assert found.max() == 1 and found.min() >= 0 and 0 < found.mean() < 1


@pytest.mark.parametrize("encoder", ["vgg11", "mobilenet_v2", "tu-test_resnet"])
def test_named_layers_are_in_every_encoder(encoder) -> None:
    model, given = network("unet", encoder=encoder).float(), images(1)
    shapes = [grad_cam(model, given, layer=layer, class_index=1).shape[1:] for layer in LAYERS]
    assert shapes[0] == shapes[1] and max(shapes[0]) < 8 and shapes[2] == (64, 64)


def test_where_a_class_is_nowhere_predicted_all_pixels_count() -> None:
    model, given = network("unet", classes=2), images()
    with torch.no_grad():
        model.segmentation_head[0].bias[1] = -1e3
    found = grad_cam(model, given, layer="encoder", class_index=1)
    place = model.get_submodule("decoder.center")
    expected = by_hand(model, given, place=place, is_input=True, index=1)
    torch.testing.assert_close(torch.from_numpy(found).double(), expected, rtol=1e-6, atol=1e-7)


class OneLayer(nn.Module):
    """Logits that are one channel: everything about its CAM is known."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        self.head = nn.Conv2d(1, 1, 1, bias=False)
        self.unused = nn.Conv2d(1, 1, 1)
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.idle = nn.Identity()
        self.flat = nn.Flatten()
        for module, value in ((self.features, 1.0), (self.head, weight)):
            nn.init.constant_(module.weight, value)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        self.unused(given)
        self.flat(given)
        return self.head(self.features(given))


def test_closed_form_and_a_map_that_is_zero_stays_zero() -> None:
    given = torch.arange(0, 250, 10, dtype=torch.uint8).reshape(1, 1, 5, 5)
    found = grad_cam(OneLayer(2.0), given, layer="features", class_index=1)
    value = normalise(given)[:, 0].clamp(min=0)
    torch.testing.assert_close(torch.from_numpy(found), value / value.max())
    # All features positive and the head negative: nothing speaks for the class.
    bright = torch.full((1, 1, 5, 5), 255, dtype=torch.uint8)
    assert not grad_cam(OneLayer(-2.0), bright, layer="features", class_index=1).any()


def test_the_network_comes_back_as_it_was() -> None:
    model = network("transunet").float().train()
    model.encoder.layer1.eval()
    for parameter in model.decoder.parameters():
        parameter.requires_grad_(False)
    model.segmentation_head[0].weight.grad = torch.ones_like(model.segmentation_head[0].weight)

    def state():
        return (
            [module.training for module in model.modules()],
            [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
            [len(m._backward_hooks) for m in model.modules()],
            [p.requires_grad for p in model.parameters()],
            [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            {name: value.clone() for name, value in model.state_dict().items()},
        )

    before = state()
    for layer in LAYERS:
        with torch.inference_mode(False), torch.no_grad():
            grad_cam(model, images(1), layer=layer, class_index=1)
    with pytest.raises(HarmosegError):
        grad_cam(model, images(1), layer="encoder", class_index=2)
    after = state()
    assert before[:4] == after[:4]
    for old, new in zip(before[4], after[4], strict=True):
        assert (old is None) == (new is None) and (old is None or torch.equal(old, new))
    assert all(torch.equal(value, after[5][name]) for name, value in before[5].items())


def test_a_frozen_network_is_explained_too() -> None:
    model, given = network("unet"), images(1)
    expected = grad_cam(model, given, layer="encoder", class_index=1)
    model.requires_grad_(False)
    assert (grad_cam(model, given, layer="encoder", class_index=1) == expected).all()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "decodr",
            r"unknown layer 'decodr'; did you mean 'decoder'\? The named layers are encoder,",
        ),
        ("encoder.layer1.0.bn", r"did you mean 'encoder.layer1.0.bn[12]'\?"),
        ("", r"unknown layer ''"),
        ("decoder.blocks", r"layer 'decoder.blocks' does not run by itself"),
        (
            "bottleneck.norm",
            r"layer 'bottleneck.norm' gives \(1, 16, 32\); expected one of encoder",
        ),
    ],
)
def test_layers_that_have_no_map_are_refused(layer, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        grad_cam(cached("transunet"), images(1), layer=layer, class_index=1)


def test_without_captum_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(
        HarmosegError, match=r"needs captum; install it with: pip install 'harmoseg\[report"
    ):
        grad_cam(cached("unet"), images(1), layer="encoder", class_index=1)


def test_other_mistakes_are_named() -> None:
    model, given = network("unet", classes=3), images(1)
    with pytest.raises(
        HarmosegError, match=r"class 3 is not one of this network's, which are 0 to 2"
    ):
        grad_cam(model, given, layer="encoder", class_index=3)
    with pytest.raises(
        HarmosegError, match=r"class 0 is not one of this network's, which are 1 alone"
    ):
        grad_cam(network("unet"), given, layer="encoder", class_index=0)
    with pytest.raises(HarmosegError, match=r"images of torch.float32 and shape \(1, 3, 64, 64\)"):
        grad_cam(model, given.float(), layer="encoder", class_index=1)
    with pytest.raises(HarmosegError, match=r"shape \(3, 64, 64\), expected bytes"):
        grad_cam(model, given[0], layer="encoder", class_index=1)
    grey = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    with pytest.raises(HarmosegError, match="the logits do not depend on layer 'unused'"):
        grad_cam(OneLayer(1.0), grey, layer="unused", class_index=1)
    with pytest.raises(HarmosegError, match="the map at layer 'features' is not finite"):
        grad_cam(OneLayer(float("nan")), grey, layer="features", class_index=1)
