"""Explanations of slices by one network: its masks, their spectral maps, its Grad-CAMs.

Grad-CAM for segmentation shows which places of a layer speak for a class (Selvaraju et al., ICCV
2017, through Captum; with the target of Vinogradova et al., AAAI 2020, Seg-Grad-CAM: the logits of
a class summed over the pixels that the network gives to it). It is a picture of one layer, not a
proof: it weighs channels by their mean gradient, and knows nothing of what later layers make of a
place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.explain.slices import ShownSlice
from harmoseg.explain.spectra import MapCorrelation, classes_in, map_correlation, spectral_map
from harmoseg.inference.predictor import choose_device, labels_of_logits
from harmoseg.store.card import TaskMode
from harmoseg.store.transforms import images_to_tensor, normalise

LAYERS = ("encoder", "bottleneck", "decoder")
"""The named layers, the same for every network and encoder.

``encoder`` is the encoder's deepest feature map. ``bottleneck`` is what enters the decoder at its
coarsest: TransUNet's tokens behind the transformer, laid out as a map; UNet has nothing between,
so there it is the encoder's. ``decoder`` is the output of the last decoder block, at the images'
resolution; of a network by import path what enters its last convolution.
"""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanation of one slice by a network.

    `predicted` (H, W) are class indices at training resolution, `spectral` (H, W) their spectral
    map over the truth's classes and `correlation` how it fits the truth's. `cams` gives for every
    layer the Grad-CAM (h, w) of the class `target`.
    """

    predicted: NDArray[np.uint8]
    spectral: NDArray[np.float64]
    correlation: MapCorrelation
    target: int
    cams: Mapping[str, NDArray[np.float32]]


def explain_slices(
    network: nn.Module,
    mode: TaskMode,
    shown: Sequence[ShownSlice],
    *,
    layers: Sequence[str],
    targets: Sequence[int],
) -> list[Explanation]:
    """Explain what a network makes of slices, one after another.

    `targets` gives for every slice the class whose Grad-CAM is asked for. Raises HarmosegError as
    `grad_cam` does, without a layer, and where there are not as many targets as slices.
    """
    if not layers:
        raise HarmosegError("no layer to explain; name one, such as decoder")
    if len(targets) != len(shown):
        raise HarmosegError(
            f"{len(targets)} targets for {len(shown)} slices, expected one for each"
        )
    network = network.to(choose_device()).eval()
    explained = []
    for item, target in zip(shown, targets, strict=True):
        images = images_to_tensor(item.image[None])
        with _logits_of(network) as seen:
            cams = {
                layer: grad_cam(network, images, layer=layer, class_index=target)[0]
                for layer in layers
            }
        predicted = labels_of_logits(seen[-1], mode)[0].byte().cpu().numpy()
        spectral = spectral_map(predicted, classes_in(item.truth))
        correlation = map_correlation(predicted, item.truth)
        explained.append(Explanation(predicted, spectral, correlation, target, cams))
    return explained


@contextmanager
def _logits_of(network: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what a network answers meanwhile: a map of it needs the same pass as its prediction."""
    seen: list[Tensor] = []
    handle = network.register_forward_hook(lambda _, __, found: seen.append(found.detach()))
    try:
        yield seen
    finally:
        handle.remove()


def grad_cam(
    network: nn.Module, images: Tensor, *, layer: str, class_index: int
) -> NDArray[np.float32]:
    """Return the Grad-CAM of a class at a layer for every image: (B, h, w) in [0, 1].

    `images` are (B, C, H, W) bytes, normalised here as in training; `class_index` counts the
    background as 0, so the foreground of a binary network is 1. `layer` is one of `LAYERS`, or the
    dotted name of any module of the network that gives one map (B, channels, h, w); of a module
    that runs several times the last time counts. h and w are that layer's own.

    The target is the sum of the class's logits over the pixels that the network gives to it, or
    over all pixels of an image where there are none. What speaks against the class is cut off
    (ReLU), and each map divided by its maximum; a map that is 0 everywhere stays so. Maps of
    different images or networks therefore say where, not how much.

    The network is asked in evaluation mode, and is afterwards as it was: modes, gradients, hooks.

    Raises HarmosegError for images of another type or shape, an unknown layer or class, a layer
    that gives no map or that the logits do not depend on, maps that are not finite, and where
    Captum is not installed.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or not images.numel():
        raise HarmosegError(
            f"images of {images.dtype} and shape {tuple(images.shape)}, expected bytes "
            "(torch.uint8) of shape (B, C, H, W)"
        )
    method = _layer_grad_cam()
    module, is_input = _find_layer(network, layer)
    parameter = next(network.parameters())
    prepared = normalise(images.to(parameter.device)).to(parameter.dtype)

    def score(given: Tensor) -> Tensor:
        return _class_score(network(given), class_index)

    with _evaluating(network), _watched(module, is_input, layer) as seen:
        try:
            found: Tensor = method(score, module).attribute(
                prepared, attribute_to_layer_input=is_input, relu_attributions=True
            )
        except (AssertionError, RuntimeError) as error:
            if not seen:
                raise HarmosegError(
                    f"layer {layer!r} does not run by itself in this network; {_CHOICES}"
                ) from error
            if "used in the graph" in str(error):
                raise HarmosegError(
                    f"the logits do not depend on layer {layer!r}; {_CHOICES}"
                ) from error
            raise
    return _scaled(found.detach()[:, 0], layer)


_CHOICES = (
    f"expected one of {', '.join(LAYERS)}, or the dotted name of a module that gives a map "
    "(B, channels, h, w)"
)


def _layer_grad_cam() -> Any:
    # Imported here: spectral maps and figures of data need none of it.
    try:
        from captum.attr import LayerGradCam
    except ModuleNotFoundError as error:
        raise HarmosegError(
            "Grad-CAM needs captum; install it with: pip install 'harmoseg[report]'"
        ) from error
    return LayerGradCam


def _find_layer(network: nn.Module, name: str) -> tuple[nn.Module, bool]:
    """Find the module of a layer; True where the layer is what enters it."""
    modules = dict(network.named_modules())
    if name in LAYERS and "decoder.center" in modules:
        # An encoder gives a list of maps, of which no module outputs the last one in every
        # encoder; but it is always what enters the next part.
        if name == "decoder":
            return network.get_submodule("decoder.blocks")[-1], False  # type: ignore[index]
        if name == "encoder" and "bottleneck" in modules:
            return modules["bottleneck"], True
        return modules["decoder.center"], True
    if name in modules and name:
        return modules[name], False
    convolutions = [module for module in modules.values() if isinstance(module, nn.Conv2d)]
    if name == "decoder" and convolutions:  # a network of one's own: what its last layer sees
        return convolutions[-1], True
    nearest = difflib.get_close_matches(name, [*LAYERS, *modules], n=1, cutoff=0.0)[0]
    raise HarmosegError(
        f"unknown layer {name!r}; did you mean {nearest!r}? The named layers are "
        f"{', '.join(LAYERS)}; any other is the dotted name of a module of the network"
    )


def _class_score(logits: Tensor, class_index: int) -> Tensor:
    """Sum the logits (B, C, H, W) of a class where the class is predicted: (B,)."""
    channels = logits.shape[1]
    known = range(1, 2) if channels == 1 else range(channels)
    if class_index not in known:
        which = f"{known[0]} to {known[-1]}" if len(known) > 1 else "1 alone, the foreground"
        raise HarmosegError(f"class {class_index} is not one of this network's, which are {which}")
    own = logits[:, 0 if channels == 1 else class_index]
    chosen = own > 0 if channels == 1 else logits.argmax(1) == class_index
    chosen = chosen | ~chosen.any(dim=2, keepdim=True).any(dim=1, keepdim=True)
    return (own * chosen).sum((1, 2))


def _scaled(maps: Tensor, layer: str) -> NDArray[np.float32]:
    """Divide every map (B, h, w) by its maximum."""
    if not torch.isfinite(maps).all():
        raise HarmosegError(
            f"the map at layer {layer!r} is not finite: the network's weights or logits are not; "
            "train it again"
        )
    peaks = maps.amax((1, 2), keepdim=True)
    scaled = maps / torch.where(peaks > 0, peaks, 1)
    return np.asarray(scaled.float().cpu().numpy(), np.float32)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode, and restore the mode of each of its modules at the end."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _watched(module: nn.Module, is_input: bool, layer: str) -> Iterator[list[bool]]:
    """Watch whether a module runs, and refuse what is no map (B, channels, h, w).

    The list holds an entry once it ran.
    """
    seen: list[bool] = []

    def look(_: nn.Module, given: tuple[Any, ...], out: Any = None) -> None:
        seen.append(True)
        value = given[0] if is_input else out
        if not isinstance(value, Tensor) or value.ndim != 4:
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise HarmosegError(f"layer {layer!r} gives {what}; {_CHOICES}")

    watch = module.register_forward_pre_hook if is_input else module.register_forward_hook
    handle = watch(look)
    try:
        yield seen
    finally:
        handle.remove()
