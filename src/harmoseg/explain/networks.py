"""What one network makes of slices: its masks, their spectral maps, its Grad-CAMs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.explain.cam import grad_cam
from harmoseg.explain.slices import ShownSlice
from harmoseg.explain.spectral_maps import MapCorrelation, classes_in, map_correlation, spectral_map
from harmoseg.inference.labels import labels_of_logits
from harmoseg.inference.predictor import choose_device
from harmoseg.store.card import TaskMode
from harmoseg.store.transforms import images_to_tensor


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a network makes of one slice.

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
