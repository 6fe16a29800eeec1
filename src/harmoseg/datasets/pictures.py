"""Decoding image and mask files of the formats that people have."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from harmoseg.errors import HarmosegError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})
_MOST_PIXELS = 89_478_485
"""Pillow's own limit: beyond it a small file may ask the decoder for gigabytes."""
_ORIENTATION = 0x0112  # EXIF
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


def is_grey(path: Path) -> bool:
    """Say from the header alone whether a file holds one channel of intensity."""
    with _opened(path) as picture:
        return picture.mode in _GREY_MODES


def read_image(path: Path, channels: int) -> NDArray[np.uint8]:
    """Decode an image to (H, W, channels) uint8; `channels` is 1 or 3.

    Transparency is dropped, palettes are looked up, a camera's orientation tag is applied. More
    than 8 bits per pixel are scaled so that the image's own minimum and maximum become 0 and 255.
    Raises HarmosegError naming the file where it cannot be decoded or holds NaN.
    """
    with _opened(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith(("I", "F")):
            grey = _to_eight_bits(np.asarray(upright, dtype=np.float64), path)
            return np.repeat(grey[..., None], channels, axis=2)
        if upright.mode == "P":
            upright = upright.convert("RGBA")
        converted = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
    return converted.reshape(*converted.shape[:2], channels)


def read_mask_values(path: Path) -> NDArray[np.integer]:
    """Decode a mask to (H, W) integers as they stand in the file.

    A palette image gives its indices, which is how label masks are stored. A colour image must
    be grey in colour form (all channels equal, up to the losses of JPEG).
    """
    with _opened(path) as picture:
        mode = picture.mode
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            # Turned as the image is, so that the two still cover the same pixels.
            picture = ImageOps.exif_transpose(picture)
        if mode == "F":
            raise HarmosegError(
                f"{path}: mask of floating-point values; expected integers (0 and 255, or class "
                "indices); convert it to an 8-bit PNG"
            )
        if mode in _GREY_MODES | {"P"}:
            # The alpha of a grey mask says nothing of the class.
            values = np.asarray(picture.convert("L") if mode in {"LA", "La"} else picture)
            return values.astype(np.uint8) if values.dtype == bool else values
        colours: NDArray[np.uint8] = np.asarray(picture.convert("RGB"))
    spread = int(np.ptp(colours.astype(np.int16), axis=2).max())
    if spread > (48 if path.suffix.lower() in LOSSY_SUFFIXES else 0):
        found = Counter(map(tuple, colours.reshape(-1, 3)[::97].tolist())).most_common(4)
        raise HarmosegError(
            f"{path}: colour mask (for example {', '.join(str(colour) for colour, _ in found)}); "
            "expected one channel of class indices; map each colour to an index and save as "
            "8-bit PNG"
        )
    return colours[..., 1]


def _to_eight_bits(values: NDArray[np.float64], path: Path) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise HarmosegError(f"{path}: image holds NaN or infinite values; repair or remove it")
    low, high = float(values.min()), float(values.max())
    scale = 255 / (high - low) if high > low else 0.0
    scaled: NDArray[np.float64] = np.rint((values - low) * scale)
    return scaled.astype(np.uint8)


@contextmanager
def quiet_decoding() -> Iterator[None]:
    """Keep remarks on broken metadata, which does not make pixels wrong, off the screen.

    Around the whole of a work, not around one file: warning filters are shared by all threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        # Images above Pillow's limit are refused by `_opened`.
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if width * height > _MOST_PIXELS:
                raise HarmosegError(
                    f"{path}: refused, {width} x {height} are too many pixels (at most "
                    f"{_MOST_PIXELS:,}); cut it into tiles"
                )
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise HarmosegError(
                    f"{path}: {frames} pages or frames, expected one image; save each "
                    "as a file of its own"
                )
            yield picture
    except HarmosegError:
        raise
    except Image.DecompressionBombError as error:
        raise HarmosegError(f"{path}: refused, too many pixels ({error})") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise HarmosegError(
            f"{path}: cannot be decoded ({error}); the file is damaged or not an image: replace "
            "or remove it"
        ) from error
