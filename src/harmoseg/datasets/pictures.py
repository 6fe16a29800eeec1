"""Decoding image and mask files of the formats that people have."""

from __future__ import annotations

import io
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

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
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Decoded(Generic[Scalar]):
    """The pixels of a file, upright, and the EXIF orientation, 1 to 8, that they were stored in.

    1 is upright, and stands for absent and meaningless tags too.
    """

    pixels: NDArray[Scalar]
    orientation: int

    @property
    def turned_unseen(self) -> bool:
        """Say whether the picture was turned or mirrored so that its size does not show it."""
        height, width = self.pixels.shape[:2]
        return self.orientation in {2, 3, 4} or (self.orientation != 1 and height == width)


def is_grey(path: Path) -> bool:
    """Say from the header alone whether a file holds one channel of intensity."""
    with _opened(path) as picture:
        return picture.mode in _GREY_MODES


def picture_size(path: Path) -> tuple[int, int]:
    """Read the (width, height) of an image file as stored, its pixels unread."""
    with _opened(path) as picture:
        return picture.size


def read_image(path: Path, channels: int) -> Decoded[np.uint8]:
    """Decode an image to (H, W, channels) uint8; `channels` is 1 or 3.

    Transparency is dropped, palettes are looked up, a camera's orientation tag is applied. More
    than 8 bits per pixel are scaled so that the image's own minimum and maximum become 0 and 255.
    Raises HarmosegError naming the file where it cannot be decoded or holds NaN.
    """
    with _opened(path) as picture:
        return Decoded(upright_bytes(picture, channels, path), _orientation(picture))


def upright_bytes(picture: Image.Image, channels: int, path: Path) -> NDArray[np.uint8]:
    """Bring a picture that is open to (H, W, channels) uint8, upright; see `read_image`."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        grey = _to_eight_bits(np.asarray(upright, dtype=np.float64), path)
        return np.repeat(grey[..., None], channels, axis=2)
    if upright.mode == "P":
        upright = upright.convert("RGBA")
    converted = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
    return converted.reshape(*converted.shape[:2], channels)


def read_mask_values(path: Path) -> Decoded[np.integer]:
    """Decode a mask to (H, W) integers as they stand in the file.

    A palette image gives its indices, which is how label masks are stored. A colour image must
    be grey in colour form (all channels equal, up to the losses of JPEG).
    """
    with _opened(path) as picture:
        orientation = _orientation(picture)
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in {"1", "P"}:
            return Decoded(np.asarray(upright).astype(np.uint8), orientation)
        return Decoded(_shades(upright, path), orientation)


def read_mask_shades(path: Path) -> Decoded[np.integer]:
    """Decode a black-and-white mask to (H, W) integers as it looks: 0 is black.

    One bit per pixel gives 0 and 255, and a palette is looked up: which of its entries is white
    is for the palette to say. Otherwise as `read_mask_values`.
    """
    with _opened(path) as picture:
        orientation = _orientation(picture)
        upright = ImageOps.exif_transpose(picture)
        if upright.mode == "1":
            upright = upright.convert("L")
        elif upright.mode in {"P", "PA"}:
            transparent = upright.mode == "PA" or "transparency" in upright.info
            upright = upright.convert("RGBA" if transparent else "RGB")
        return Decoded(_shades(upright, path), orientation)


def _orientation(picture: Image.Image) -> int:
    tag = picture.getexif().get(_ORIENTATION, 1)
    return tag if tag in range(1, 9) else 1


def _shades(picture: Image.Image, path: Path) -> NDArray[np.integer]:
    """Take the one channel of a grey mask, whatever form it is in."""
    if picture.mode == "F":
        raise HarmosegError(
            f"{path}: mask of floating-point values; expected integers (0 and 255, or class "
            "indices); convert it to an 8-bit PNG"
        )
    if picture.mode in _ALPHA_MODES:
        _check_alpha(picture, path)
    if picture.mode in _GREY_MODES:
        return np.asarray(picture.convert("L") if picture.mode in _ALPHA_MODES else picture)
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


def _check_alpha(picture: Image.Image, path: Path) -> None:
    """Refuse a mask that is drawn in its transparency; beside drawn colours alpha says nothing."""
    *colours, alpha = (len(np.unique(np.asarray(band))) > 1 for band in picture.split())
    if alpha and not any(colours):
        raise HarmosegError(
            f"{path}: one colour all over, only its transparency varies; expected the mask in the "
            "grey values; save the alpha channel as an 8-bit PNG of its own"
        )


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
        with Image.open(_mended(path)) as picture:
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


def _mended(path: Path) -> Path | io.BytesIO:
    """Give what Pillow is to open in place of a file that it would read wrongly.

    It takes each bitmap whose header names two colours, black and white, for one of a bit per
    pixel, and makes other pixels of 4 or 8 bits without a word. Without that number in the header
    it reads them as they are.
    """
    with path.open("rb") as stream:
        head = stream.read(50)
    if len(head) < 50 or head[:2] != b"BM":
        return path
    (length,), (bits,), (colours,) = (
        struct.unpack_from(kind, head, place)
        for kind, place in (("<I", 14), ("<H", 28), ("<I", 46))
    )
    if length < 40 or bits == 1 or colours != 2:
        return path
    data = path.read_bytes()
    return io.BytesIO(data[:46] + bytes(4) + data[50:])
