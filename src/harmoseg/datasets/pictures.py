"""Decoding image and mask files of the formats that people have."""

from __future__ import annotations

import io
import re
import struct
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from harmoseg.errors import HarmosegError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
_LOSSY_FORMATS = frozenset({"JPEG", "MPO", "JPEG2000", "WEBP", "AVIF"})
_LOSSY_IN_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp"})
_COLOUR_LOSS = 48
"""Largest difference that lossy compression makes between the channels of a grey picture."""
_MOST_PIXELS = 89_478_485
"""Pillow's own limit: beyond it a small file may ask the decoder for gigabytes."""
_ORIENTATION = 0x0112  # EXIF
_KEPT_ORIENTATION = "harmoseg orientation"
_BITS, _PHOTOMETRIC, _DESCRIPTION, _PLANES, _SAMPLE_FORMAT = 258, 262, 270, 284, 339  # of TIFF
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_PALETTE_MODES = frozenset({"P", "PA"})
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Decoded(Generic[Scalar]):
    """The pixels of a file, upright, and the EXIF orientation, 1 to 8, that they were stored in.

    1 is upright, and stands for absent and meaningless tags too. A `lossy` file does not hold
    exactly the values that were saved. The `palette` of a mask has the colours of the values 0, 1,
    2, ... where the file names them; it is empty where the values are grey values. One bit per
    pixel is a palette of black and white.
    """

    pixels: NDArray[Scalar]
    orientation: int
    lossy: bool = False
    palette: tuple[Colour, ...] = ()

    @property
    def turned_unseen(self) -> bool:
        """Return whether the picture was turned or mirrored so that its size does not show it."""
        height, width = self.pixels.shape[:2]
        return self.orientation in {2, 3, 4} or (self.orientation != 1 and height == width)


def is_grey(path: Path) -> bool:
    """Return whether, by the header alone, a file holds one channel of intensity."""
    with _opened(path) as picture:
        return picture.mode in _GREY_MODES or _wide_mode(picture).startswith("LA")


def picture_size(path: Path) -> tuple[int, int]:
    """Read the (width, height) of an image file as stored, its pixels unread."""
    with _opened(path) as picture:
        return picture.size


def read_image(path: Path, channels: int) -> Decoded[np.uint8]:
    """Decode an image to (H, W, channels) uint8; `channels` is 1 or 3.

    Transparency is dropped, palettes are looked up, a camera's orientation tag is applied. More
    than 8 bits per value are scaled so that the image's own minimum and maximum become 0 and 255.
    Raises HarmosegError naming the file where it cannot be decoded or holds NaN.
    """
    with _opened(path) as picture:
        pixels = upright_bytes(picture, channels, path)
        return Decoded(pixels, _orientation(picture), _is_lossy(picture))


def read_grey_image(path: Path, channels: int) -> NDArray[np.uint8] | None:
    """Decode as `read_image`; return None where the picture shows colours."""
    if not is_grey(path):
        colours = read_image(path, 3)
        if not _is_colourless(colours.pixels, colours.lossy):
            return None
    return read_image(path, channels).pixels


def upright_bytes(picture: Image.Image, channels: int, path: Path) -> NDArray[np.uint8]:
    """Convert an open picture to (H, W, channels) uint8, upright; see `read_image`."""
    wide = _wide_values(picture, path)
    if wide is not None:
        # Of grey and alpha, or of colours and alpha, alpha goes.
        values = wide[..., 0] if wide.shape[2] < 3 else wide[..., :3]
        upright = Image.fromarray(_to_eight_bits(values, path))
    else:
        upright = ImageOps.exif_transpose(picture)
        if _tag(picture, _SAMPLE_FORMAT) == (2,) and np.asarray(upright).max() > 127:
            raise HarmosegError(
                f"{path}: signed 8-bit values, some of them negative; save the image with 16 bits, "
                "or shift its values to 0 and above"
            )
    if upright.mode == "P":
        upright = upright.convert("RGBA")
    converted = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
    return converted.reshape(*converted.shape[:2], channels)


def read_mask_values(path: Path) -> Decoded[np.integer]:
    """Decode a mask to (H, W) integers as they stand in the file.

    A palette image gives its indices, which is how label masks are stored, and one bit per pixel
    0 and 1. A colour image must be grey in colour form (all channels equal, up to the losses of
    JPEG). Raises HarmosegError where values and shades contradict each other.
    """
    with _opened(path) as picture:
        if picture.mode != "1" and _is_inverted(picture):
            raise _ambiguous(path)
        lossy = _is_lossy(picture)
        if picture.mode not in {"1", *_PALETTE_MODES}:
            return Decoded(_shades(picture, path), _orientation(picture), lossy)
        upright = ImageOps.exif_transpose(picture)
        if "transparency" in upright.info or upright.mode == "PA":
            _check_alpha(np.asarray(upright.convert("RGBA")), path)
        pixels = np.asarray(upright.getchannel(0) if upright.mode == "PA" else upright)
        pixels = pixels.astype(np.uint8)
        palette = (BLACK, WHITE) if upright.mode == "1" else _palette_of(upright)
        # A ramp of greys, or what is used of it, says nothing that the values do not say.
        if all(
            palette[value : value + 1] == ((value,) * 3,) for value in np.unique(pixels).tolist()
        ):
            palette = ()
        return Decoded(pixels, _orientation(picture), lossy, palette)


def read_mask_shades(path: Path) -> Decoded[np.integer]:
    """Decode a black-and-white mask to (H, W) integers as it looks: 0 is black.

    One bit per pixel gives 0 and 255, and a palette is looked up: which of its entries is white
    is for the palette to say. Otherwise as `read_mask_values`.
    """
    with _opened(path) as picture:
        if _is_inverted(picture) and _is_of_imagej(picture):
            raise _ambiguous(path)
        return Decoded(_shades(picture, path), _orientation(picture), _is_lossy(picture))


def _orientation(picture: Image.Image) -> int:
    """Return how a picture was stored, after it was decoded: asked before, PNG files are decoded.

    Pillow takes the tag away from a TIFF that it has decoded; `_opened` keeps it.
    """
    tag = picture.info.get(_KEPT_ORIENTATION) or picture.getexif().get(_ORIENTATION, 1)
    return tag if tag in range(1, 9) else 1


def _is_lossy(picture: Image.Image) -> bool:
    compression = picture.info.get("compression") if picture.format == "TIFF" else None
    return picture.format in _LOSSY_FORMATS or compression in _LOSSY_IN_TIFF


def _tag(picture: Image.Image, number: int) -> Any:
    """Return a tag of a TIFF file; None where there is none."""
    return getattr(picture, "tag_v2", {}).get(number)


def _is_inverted(picture: Image.Image) -> bool:
    """Return whether a file shows its largest value as black.

    A TIFF says so by a tag (WhiteIsZero). ImageJ's inverting table of colours comes as a tag in its
    TIFF files, and as a palette from white to black in others.
    """
    if picture.mode == "P":
        return _palette_of(picture) == tuple((255 - value,) * 3 for value in range(256))
    return bool(_tag(picture, _PHOTOMETRIC) == 0)


def _is_of_imagej(picture: Image.Image) -> bool:
    return picture.mode == "P" or str(_tag(picture, _DESCRIPTION)).startswith("ImageJ")


def _ambiguous(path: Path) -> HarmosegError:
    return HarmosegError(
        f"{path}: mask whose values and shades are opposite (its largest value is shown black, as "
        "by an inverting LUT of ImageJ or WhiteIsZero in a TIFF), so it cannot be told which is "
        "the foreground; in ImageJ choose Image > Lookup Tables > Invert LUT, then Edit > Invert "
        "if the foreground is not white, and save again; else save a plain 8-bit PNG"
    )


def _palette_of(picture: Image.Image) -> tuple[Colour, ...]:
    flat = picture.getpalette("RGB") or []
    return tuple((flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) - 2, 3))


def _wide_mode(picture: Image.Image) -> str:
    """Name how a file packs 16-bit colours, or grey with alpha, such as ``"RGB;16B"``; else ``""``.

    Pillow opens these as 8 bits per value, of which its mode is; the rest stands in its tiles.
    """
    tiles = getattr(picture, "tile", None)
    packing = tiles[0][3] if tiles else None
    raw = packing if isinstance(packing, str) else str((packing or [""])[0])
    return raw if re.fullmatch(r"(LA|RGB|RGBA|RGBa|RGBX|CMYK);16[BLN]", raw) else ""


def _wide_values(picture: Image.Image, path: Path) -> NDArray[Any] | None:
    """Decode more than 8 bits per value, upright, to (H, W, C); None where there are no more.

    Channels are 1 (grey), 2 (with alpha), 3 (colours) or 4 (with alpha).
    """
    wide = _wide_mode(picture)
    deep = max(np.ravel(_tag(picture, _BITS) or 8)) > 8
    if wide.startswith("CMYK") or (deep and _tag(picture, _PLANES) == 2):
        raise HarmosegError(
            f"{path}: 16-bit {'CMYK' if wide else 'colours in separate planes'}, which cannot be "
            "decoded in full; save it as 16-bit RGB (PNG, or TIFF with interleaved colours)"
        )
    if wide:
        values: NDArray[Any] = _sixteen_bits(wide, path)
    elif picture.mode.startswith(("I", "F")):
        values = np.asarray(ImageOps.exif_transpose(picture))[..., None]
    else:
        return None
    if not _is_inverted(picture):
        return values
    return np.uint16(65535) - values if values.dtype.kind == "u" else -values.astype(np.float64)


def _sixteen_bits(wide: str, path: Path) -> NDArray[Any]:
    """Decode 16-bit values, of which Pillow gives one byte at a time: the upper, then the lower."""
    bands, order = wide.split(";16")
    if bands == "LA":  # four bytes per pixel, which are read as four colours
        four = _decoded_as(path, "RGBA").astype(np.uint16)
        return four[..., ::2] << 8 | four[..., 1::2]
    raw = bands.replace("RGBa", "RGBA")
    upper, lower = (
        _decoded_as(path, f"{raw};16{byte}").astype(np.uint16)
        for byte in (order, _OTHER_BYTE[order])
    )
    values = upper << 8 | lower
    if bands == "RGBa":  # colours that are multiplied by alpha already
        alpha = np.maximum(values[..., 3:], 1).astype(np.float64)
        values[..., :3] = np.minimum(np.rint(values[..., :3] * (65535 / alpha)), 65535)
    return values


def _decoded_as(path: Path, raw: str) -> NDArray[np.uint8]:
    """Decode a file as if its pixels were packed otherwise."""
    with _opened(path) as picture:
        for number, tile in enumerate(picture.tile):
            args = raw if isinstance(tile[3], str) else (raw, *(tile[3] or ())[1:])
            picture.tile[number] = type(tile)(*(*tile[:3], args))
        return np.asarray(ImageOps.exif_transpose(picture))


def _shades(picture: Image.Image, path: Path) -> NDArray[np.integer]:
    """Take the one channel of a grey mask, whatever form it is in."""
    if picture.mode == "F":
        raise HarmosegError(
            f"{path}: mask of floating-point values; expected integers (0 and 255, or class "
            "indices); convert it to an 8-bit PNG"
        )
    values = _wide_values(picture, path)
    if values is None:
        values = np.asarray(ImageOps.exif_transpose(picture).convert(_form_of_shades(picture)))
        values = values.reshape(*values.shape[:2], -1)
    if values.shape[2] in {2, 4}:
        values = _check_alpha(values, path)
    if not _is_colourless(values, _is_lossy(picture)):
        found = Counter(map(tuple, values.reshape(-1, 3)[::97].tolist())).most_common(4)
        raise HarmosegError(
            f"{path}: colour mask (for example {', '.join(str(colour) for colour, _ in found)}); "
            "expected one channel of class indices; map each colour to an index and save as "
            "8-bit PNG"
        )
    return values[..., values.shape[2] // 2]


def _form_of_shades(picture: Image.Image) -> str:
    """Name the mode that shows all of a picture of at most 8 bits per value, and no more."""
    if picture.mode in {"1", "L"}:
        return "L"
    if picture.mode in {"LA", "La"}:
        return "LA"
    return "RGBA" if picture.has_transparency_data else "RGB"


def _is_colourless(values: NDArray[Any], lossy: bool) -> bool:
    """Return whether all channels (H, W, C) are equal, up to the losses of compression."""
    spread = int((values.max(axis=2).astype(np.int64) - values.min(axis=2)).max())
    return spread <= (_COLOUR_LOSS if lossy else 0)


def _check_alpha(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Drop the last channel; refuse a mask that is drawn in it, that is, in its transparency.

    Beside drawn colours alpha says nothing.
    """
    *colours, alpha = (values[..., i].min() < values[..., i].max() for i in range(values.shape[2]))
    if alpha and not any(colours):
        raise HarmosegError(
            f"{path}: one colour all over, only its transparency varies; expected the mask in the "
            "grey values; save the alpha channel as an 8-bit PNG of its own"
        )
    return values[..., :-1]


def _to_eight_bits(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise HarmosegError(f"{path}: image holds NaN or infinite values; repair or remove it")
    low, high = float(values.min()), float(values.max())
    scale = 255 / (high - low) if high > low else 0.0
    if values.dtype == np.uint16:  # looked up: a large picture in double precision fills memory
        table = np.rint((np.arange(low, high + 1) - low) * scale).astype(np.uint8)
        return np.asarray(table[values - values.min()])
    return np.asarray(np.rint((values.astype(np.float64) - low) * scale), np.uint8)


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
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    try:
        # Not by its name: of a turned TIFF that Pillow maps into memory the rows get mixed up.
        with path.open("rb") as stream, Image.open(_mended(path) or stream) as picture:
            picture.info[_KEPT_ORIENTATION] = _tag(picture, _ORIENTATION)
            width, height = picture.size
            if width * height > _MOST_PIXELS:
                raise HarmosegError(
                    f"{path}: refused, {width} x {height} are too many pixels (at most "
                    f"{_MOST_PIXELS:,}); cut it into tiles"
                )
            frames = getattr(picture, "n_frames", 1)
            # A phone's MPO holds previews and depth beside its picture, which is the first.
            if frames > 1 and picture.format != "MPO":
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
        if isinstance(error, UnidentifiedImageError) and _begins_as_tiff(path):
            raise HarmosegError(
                f"{path}: cannot be decoded, a TIFF of a rare kind (such as 16-bit grey with "
                "alpha, or 64 bits per value); save it as a plain grey or RGB image of 8 or 16 bits"
            ) from error
        raise HarmosegError(
            f"{path}: cannot be decoded ({error}); the file is damaged or not an image: replace "
            "or remove it"
        ) from error


def _begins_as_tiff(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def _mended(path: Path) -> io.BytesIO | None:
    """Return what Pillow is to open in place of a file that it would read wrongly, if it would.

    It takes each bitmap whose header names two colours, black and white, for one of a bit per
    pixel, and makes other pixels of 4 or 8 bits without a word. Without that number in the header
    it reads them as they are.
    """
    with path.open("rb") as stream:
        head = stream.read(50)
    if len(head) < 50 or head[:2] != b"BM":
        return None
    (length,), (bits,), (colours,) = (
        struct.unpack_from(kind, head, place)
        for kind, place in (("<I", 14), ("<H", 28), ("<I", 46))
    )
    if length < 40 or bits == 1 or colours != 2:
        return None
    data = path.read_bytes()
    return io.BytesIO(data[:46] + bytes(4) + data[50:])
