"""What the configuration of an exported MONAI bundle is made of; it needs MONAI.

An image enters as MONAI's ``LoadImage`` gives it: (C, X, Y), or (1, X, Y, Z) for a volume. It is
brought to what the network was trained on by the functions that prepare a store, and not by
transforms that resample a little differently: a bundle predicts what harmoseg predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import Inferer
from monai.transforms.io.array import SaveImage
from monai.transforms.transform import MapTransform
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from harmoseg.datasets.arrays import scale_intensities
from harmoseg.datasets.pictures import SUFFIXES, upright_bytes
from harmoseg.datasets.sources import walk
from harmoseg.datasets.volumes import Frame
from harmoseg.errors import HarmosegError
from harmoseg.inference.planes import cut_windows, predict_planes
from harmoseg.inference.predictor import Predictor, labels_of
from harmoseg.store.card import TaskMode

_VOLUMES = (".nii", ".nii.gz")


def list_inputs(folder: str) -> list[dict[str, str]]:
    """List the pictures and NIfTI volumes of a folder; raise HarmosegError where there are none."""
    names = next(walk(Path(folder))).files if Path(folder).is_dir() else []
    endings = (*SUFFIXES, *_VOLUMES)
    found = [{"image": str(path)} for path in names if path.name.lower().endswith(endings)]
    if not found:
        raise HarmosegError(
            f"{folder}: no image in it; expected pictures (PNG, JPEG, TIFF, BMP) or NIfTI volumes: "
            "give their folder with --dataset-dir"
        )
    return found


def picture_converter(channels: int) -> Callable[[Image.Image], Image.Image]:
    """Return what MONAI's ``PILReader`` makes of a picture before it takes the pixels.

    Upright, with 8 bits and 1 or 3 `channels`, as `harmoseg.datasets.pictures.read_image`.
    """

    def convert(picture: Image.Image) -> Image.Image:
        path = Path(str(getattr(picture, "filename", "picture")))
        pixels = upright_bytes(picture, channels, path)
        return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)

    return convert


class PrepareAsStored(MapTransform):
    """Scale intensities to 0 ... 255, and turn volumes to `axes`, as `harmoseg prepare` does.

    `window` gives the intensities of volumes that become 0 and 255, their own percentiles when
    empty. Pictures are left as `picture_converter` made them. Raises HarmosegError for what the
    network does not take.
    """

    def __init__(
        self, keys: Sequence[str], channels: int, axes: str = "", window: Sequence[float] = ()
    ) -> None:
        super().__init__(keys)
        self.channels, self.axes = channels, axes
        self.window = (float(window[0]), float(window[1])) if window else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with the images prepared."""
        prepared = dict(data)
        for key in self.key_iterator(prepared):
            prepared[key] = self._prepare(prepared[key])
        return prepared

    def _prepare(self, image: MetaTensor) -> MetaTensor:
        path = Path(str(image.meta.get("filename_or_obj", "image")))
        if image.ndim not in {3, 4} or len(image) != self.channels:
            raise HarmosegError(
                f"{path}: {len(image)} channel(s) of {image.ndim - 1} dimensions, expected "
                f"{self.channels} channel(s) of a picture or of a volume"
            )
        if image.ndim == 3:
            return image
        if self.axes:
            image = _turned(image, self.axes)
        planes = np.asarray(image.as_tensor())[0].transpose(2, 1, 0)
        scaled = scale_intensities(planes, self.window, path)
        return _with_meta(scaled.transpose(2, 1, 0)[None], image)


class PlaneInferer(Inferer):
    """Show the planes of an image to a network as they were shown to it in training.

    Planes, or with a `tile` squares of that side cut from them, are resized to `size`; the
    probabilities come back at the resolution of the image, those of overlapping squares averaged.
    """

    def __init__(self, size: int, mode: TaskMode, tile: int = 0) -> None:
        super().__init__()
        self.size, self.mode, self.tile = size, mode, tile

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return probabilities (B, K, X, Y) or (B, K, X, Y, Z) for images of values 0 ... 255."""
        images = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        return torch.stack([self._predict(image, cast("nn.Module", network)) for image in images])

    def _predict(self, image: Tensor, network: nn.Module) -> Tensor:
        flat = image.ndim == 3
        volume = image[..., None] if flat else image
        # (C, X, Y, Z) to (D, H, W, C).
        pixels = volume.permute(3, 2, 1, 0).cpu().numpy().astype(np.uint8)
        windows = cut_windows(pixels, (self.size, self.size), tile=self.tile)
        predictor = Predictor([network], self.mode, image.device.type)
        planes = predict_planes(predictor, [(None, pixels.shape, windows)])
        # A plane (K, H, W) is (K, Y, X).
        whole = torch.from_numpy(np.stack([plane.probabilities for plane in planes], axis=-1))
        whole = whole.transpose(1, 2).to(image.device)
        return whole[..., 0] if flat else whole


class Decide(MapTransform):
    """Turn probabilities (K, ...) into class indices (1, ...), 0 for the background.

    One channel is foreground above a half; of several the most probable counts.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with the probabilities decided."""
        decided = dict(data)
        for key in self.key_iterator(decided):
            found = np.asarray(decided[key].as_tensor().cpu())
            decided[key] = _with_meta(labels_of(found)[None], decided[key])
        return decided


class SaveMask(MapTransform):
    """Write class indices under the image's name: PNG for a picture, NIfTI for a volume.

    A volume is first turned back to the axes of its file.
    """

    def __init__(self, keys: Sequence[str], output_dir: str) -> None:
        super().__init__(keys)
        self.writers = {
            spatial_dims: SaveImage(
                output_dir,
                output_postfix="",
                output_ext=ending,
                output_dtype=np.uint8,
                separate_folder=False,
            )
            for spatial_dims, ending in ((2, ".png"), (3, ".nii.gz"))
        }

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data, its masks written."""
        saved = dict(data)
        for key in self.key_iterator(saved):
            mask = saved[key]
            if mask.ndim == 4:
                mask = _turned(mask, "".join(aff2axcodes(np.asarray(mask.meta["original_affine"]))))
            saved[key] = self.writers[mask.ndim - 1](mask)
        return saved


class Prediction:
    """Prepare, predict and save one image after the other: what ``monai.bundle run`` runs."""

    def __init__(
        self,
        dataset: Iterable[Mapping[str, Any]],
        network: nn.Module,
        inferer: Inferer,
        postprocessing: Callable[[Mapping[str, Any]], Any],
        device: torch.device,
    ) -> None:
        self.dataset, self.network, self.device = dataset, network.eval(), device
        self.inferer, self.postprocessing = inferer, postprocessing

    def run(self) -> None:
        """Write the mask of every image."""
        for item in self.dataset:
            image = item["image"]
            found = self.inferer(image[None].to(self.device), self.network)[0]
            self.postprocessing({**item, "pred": _with_meta(found, image)})


def _turned(image: MetaTensor, axes: str) -> MetaTensor:
    """Turn (C, X, Y, Z) to `axes`, its affine with it."""
    values = np.asarray(image.as_tensor().cpu())
    frame = Frame.of(np.asarray(image.affine.cpu()), values.shape[1:], axes)
    turned = np.stack([frame.slices(channel).transpose(2, 1, 0) for channel in values])
    result = _with_meta(turned, image)
    result.affine = torch.as_tensor(frame.affine)
    return result


def _with_meta(values: NDArray[Any] | Tensor, image: MetaTensor) -> MetaTensor:
    array = np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values
    # MONAI warns of an affine that is given twice.
    meta = {name: value for name, value in image.meta.items() if name != "affine"}
    return MetaTensor(torch.as_tensor(array), affine=image.affine.clone(), meta=meta)
