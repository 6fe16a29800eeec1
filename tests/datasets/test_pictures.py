"""Every form in which pictures and masks are stored: what they show is what is read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets.label_values import BlackAndWhite, LabelRule, ValueSurvey, count_values
from harmoseg.datasets.pictures import (
    is_grey,
    read_grey_image,
    read_image,
    read_mask_shades,
    read_mask_values,
)

Save = Callable[[Path], None]
SIDE = 48
Y, X = np.mgrid[:SIDE, :SIDE]
DISC = np.hypot(Y - 20, X - 26) < 9
GREY = ((Y * SIDE + X) * 255 // (SIDE * SIDE - 1)).astype(np.uint8)
COLOURS = np.stack([GREY, GREY[::-1], np.roll(GREY, 7, axis=1)], axis=2)
OPAQUE = np.full_like(GREY, 255)
LABELS = (DISC.astype(np.uint8) + (DISC & (X > 26))).astype(np.uint8)
WIDE = np.uint16(257)  # 8 bits in 16: white is 65535
RED_GREEN = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]


def packed(samples: np.ndarray, bits: int, order: str = ">") -> list[bytes]:
    """Return the rows of samples (H, W) or (H, W, C) as they stand in a file."""
    rows = samples.reshape(len(samples), -1)
    if bits >= 8:
        return [row.astype(row.dtype.newbyteorder(order)).tobytes() for row in rows]
    places = np.arange(bits)[::-1]
    spread = (rows[..., None] >> places & 1).reshape(len(rows), -1).astype(np.uint8)
    return [np.packbits(row).tobytes() for row in spread]


def png(
    samples: np.ndarray, bits: int = 8, palette: Sequence[tuple[int, int, int]] | None = None
) -> Save:
    """Give a function that writes a PNG, every other row as differences to the pixel before."""
    bands = samples.shape[2] if samples.ndim == 3 else 1
    kind = 3 if palette else {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    step = max(1, bands * bits // 8)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    def filtered(number: int, row: bytes) -> bytes:
        if number % 2 == 0:
            return b"\0" + row
        before = bytes(step) + row
        return b"\1" + bytes((a - b) % 256 for a, b in zip(row, before, strict=False))

    def save(file: Path) -> None:
        height, width = samples.shape[:2]
        rows = b"".join(filtered(i, row) for i, row in enumerate(packed(samples, bits)))
        file.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
            + (chunk(b"PLTE", bytes(v for c in palette for v in c)) if palette else b"")
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )

    return save


def tiff(samples: np.ndarray, bits: int = 8, order: str = "<", **tags: object) -> Save:
    """Give a function that writes a TIFF of one strip; tags by their names below."""
    bands = samples.shape[2] if samples.ndim == 3 else 1
    deflate = bool(tags.pop("deflate", False))
    fields: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [samples.shape[1]]),
        257: ("I", [samples.shape[0]]),
        258: ("H", [bits] * bands),
        259: ("H", [8 if deflate else 1]),
        262: ("H", [tags.pop("photometric", 2 if bands > 2 else 1)]),
        277: ("H", [bands]),
        278: ("I", [samples.shape[0]]),
        284: ("H", [tags.pop("planes", 1)]),
        339: ("H", [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * bands),
    }
    if "orientation" in tags:
        fields[274] = ("H", [tags.pop("orientation")])
    if "extra" in tags:
        fields[338] = ("H", [tags.pop("extra")])
    if "palette" in tags:
        table = np.zeros((3, 1 << bits), int)
        colours = np.array(tags.pop("palette"))
        table[:, : len(colours)] = colours.T * 257
        fields[320] = ("H", table.ravel().tolist())
    if "description" in tags:
        fields[270] = ("B", [*str(tags.pop("description")).encode(), 0])
    assert not tags

    def save(file: Path) -> None:
        planes = samples.transpose(2, 0, 1) if fields[284][1] == [2] else samples
        data = b"".join(packed(planes, bits, order))
        data = zlib.compress(data) if deflate else data
        found = {**fields, 273: ("I", [0]), 279: ("I", [len(data)])}
        place, after, entries = 8 + 2 + 12 * len(found) + 4, b"", b""
        fields_size = {kind: struct.calcsize(kind) for kind in "BHI"}
        longer = sum(
            len(values) * fields_size[kind]
            for kind, values in found.values()
            if len(values) * fields_size[kind] > 4
        )
        found[273] = ("I", [place + longer])
        for tag, (kind, values) in sorted(found.items()):
            value = struct.pack(f"{order}{len(values)}{kind}", *values)
            if len(value) > 4:
                value, after = struct.pack(f"{order}I", place + len(after)), after + value
            number = 2 if tag == 270 else {"B": 1, "H": 3, "I": 4}[kind]
            entries += struct.pack(f"{order}HHI", tag, number, len(values)) + value.ljust(4, b"\0")
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
        count = struct.pack(f"{order}H", len(found))
        file.write_bytes(head + count + entries + bytes(4) + after + data)

    return save


def pillow(picture: Image.Image, **options: object) -> Save:
    return lambda file: picture.save(file, **options)


def with_palette(values: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(values.astype(np.uint8), mode="P")
    picture.putpalette([value for colour in palette for value in colour])
    return picture


def stacked(*bands: np.ndarray) -> np.ndarray:
    return np.dstack(bands)


HALF = GREY > 127
RAMP = [(i, 255 - i, (i * 7) % 256) for i in range(256)]
RAMPED = np.array(RAMP, np.uint8)[GREY]
# file, how it is written, what is seen: (H, W) of a grey picture, (H, W, 3) of a coloured one
IMAGES: dict[str, tuple[str, Save, np.ndarray]] = {
    "png 1": (".png", png(HALF.astype(np.uint8), 1), HALF * OPAQUE),
    "png 2": (".png", png(GREY >> 6, 2), (GREY >> 6) * np.uint8(85)),
    "png 4": (".png", png(GREY >> 4, 4), (GREY >> 4) * np.uint8(17)),
    "png 8": (".png", png(GREY), GREY),
    "png 16": (".png", png(GREY * WIDE, 16), GREY),
    "png 12 of 16": (".png", png(GREY * np.uint16(16), 16), GREY),
    "png LA 8": (".png", png(stacked(GREY, OPAQUE)), GREY),
    "png LA 16": (".png", png(stacked(GREY, GREY[::-1]) * WIDE, 16), GREY),
    "png RGB 8": (".png", png(COLOURS), COLOURS),
    "png RGB 16": (".png", png(COLOURS * WIDE, 16), COLOURS),
    "png RGB 12 of 16": (".png", png(COLOURS * np.uint16(16), 16), COLOURS),
    "png RGBA 8": (".png", png(stacked(COLOURS, GREY)), COLOURS),
    "png RGBA 16": (".png", png(stacked(COLOURS, OPAQUE) * WIDE, 16), COLOURS),
    "png P 8": (".png", png(GREY, 8, RAMP), RAMPED),
    "png P 2": (".png", png(LABELS, 2, RED_GREEN), np.array(RED_GREEN, np.uint8)[LABELS]),
    "bmp 1": (".bmp", pillow(Image.fromarray(HALF)), HALF * OPAQUE),
    "bmp 8": (".bmp", pillow(Image.fromarray(GREY)), GREY),
    "bmp 24": (".bmp", pillow(Image.fromarray(COLOURS)), COLOURS),
    "bmp P 8": (".bmp", pillow(with_palette(GREY, RAMP)), RAMPED),
    "tif F": (".tif", tiff(GREY.astype(np.float32) / 255, 32), GREY),
    "tif int 32": (".tif", tiff(GREY.astype(np.int32) * 1000 - 7, 32), GREY),
    "tif WhiteIsZero 16": (".tif", tiff((255 - GREY) * WIDE, 16, photometric=0), GREY),
    "tif WhiteIsZero F": (".tif", tiff((255 - GREY).astype(np.float32), 32, photometric=0), GREY),
    "tif RGBX 16": (".tif", tiff(stacked(COLOURS, GREY) * WIDE, 16, extra=0), COLOURS),
    "tif RGBa 16": (".tif", tiff(stacked(COLOURS, OPAQUE) * WIDE, 16, extra=1), COLOURS),
}
for _order, _name in (("<", "II"), (">", "MM")):
    _forms = {
        "1": (tiff(HALF.astype(np.uint8), 1, _order), HALF * OPAQUE),
        "WhiteIsZero 1": (tiff(1 - HALF.astype(np.uint8), 1, _order, photometric=0), HALF * OPAQUE),
        "8": (tiff(GREY, 8, _order), GREY),
        "WhiteIsZero 8": (tiff(255 - GREY, 8, _order, photometric=0), GREY),
        "16": (tiff(GREY * WIDE, 16, _order), GREY),
        "int 16": (tiff(GREY.astype(np.int16) * 16 - 900, 16, _order), GREY),
        "RGB 8": (tiff(COLOURS, 8, _order), COLOURS),
        "RGB 16": (tiff(COLOURS * WIDE, 16, _order), COLOURS),
        "RGB 16 deflate": (tiff(COLOURS * WIDE, 16, _order, deflate=True), COLOURS),
        "RGBA 16": (tiff(stacked(COLOURS, GREY) * WIDE, 16, _order, extra=2), COLOURS),
        "P 8": (tiff(GREY, 8, _order, photometric=3, palette=RAMP), RAMPED),
    }
    IMAGES |= {f"tif {_name} {form}": (".tif", *made) for form, made in _forms.items()}


@pytest.mark.parametrize("form", IMAGES)
def test_images_are_what_they_show(tmp_path, form) -> None:
    ending, save, seen = IMAGES[form]
    file = tmp_path / f"a{ending}"
    save(file)
    assert is_grey(file) == (seen.ndim == 2)
    in_colour = np.repeat(seen[..., None], 3, axis=2) if seen.ndim == 2 else seen
    assert np.array_equal(read_image(file, 3).pixels, in_colour)
    grey = np.asarray(Image.fromarray(seen).convert("L"))[..., None]
    assert np.array_equal(read_image(file, 1).pixels, grey)
    assert not read_image(file, 1).lossy
    as_slice = read_grey_image(file, 1)
    assert as_slice is None if seen.ndim == 3 else np.array_equal(as_slice, grey)


TURNS = {1: (0, False), 3: (2, False), 6: (3, False), 8: (1, False), 2: (0, True)}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("pixels", "bits", "deflate"),
    [
        (GREY[:30], 8, False),
        (GREY[:30], 8, True),
        (COLOURS[:30], 8, False),
        (COLOURS[:30] * WIDE, 16, False),
        (COLOURS[:30] * WIDE, 16, True),
        (GREY[:30] * WIDE, 16, False),
    ],
)
def test_a_turned_tiff_is_turned_back(tmp_path, orientation, pixels, bits, deflate) -> None:
    tiff(pixels, bits, deflate=deflate, orientation=orientation)(tmp_path / "a.tif")
    tiff(pixels, bits)(tmp_path / "b.tif")
    turned = read_image(tmp_path / "a.tif", 3)
    quarters, mirrored = TURNS[orientation]
    stored = read_image(tmp_path / "b.tif", 3).pixels
    upright = stored[:, ::-1] if mirrored else np.rot90(stored, quarters)
    assert turned.orientation == orientation
    assert np.array_equal(turned.pixels, upright)
    if pixels.ndim == 2:
        mask = read_mask_values(tmp_path / "a.tif")
        assert mask.orientation == orientation
        assert mask.pixels.shape == upright.shape[:2]


@pytest.mark.parametrize("form", ["JPEG", "MPO", "JPEG in TIFF", "JPEG named PNG"])
def test_losses_are_told_by_the_content(tmp_path, form) -> None:
    picture, ending = Image.fromarray(COLOURS), ".png" if "PNG" in form else ".jpg"
    save = {
        "MPO": pillow(picture, format="MPO", save_all=True, append_images=[picture.resize((9, 9))]),
        "JPEG in TIFF": pillow(picture, format="TIFF", compression="jpeg"),
    }.get(form, pillow(picture, format="JPEG", quality=95))
    save(tmp_path / f"a{ending}")
    found = read_image(tmp_path / f"a{ending}", 3)
    assert found.lossy and found.pixels.shape == COLOURS.shape
    assert np.abs(found.pixels.astype(int) - COLOURS).mean() < 20


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (tiff(stacked(COLOURS, GREY) * WIDE, 16, photometric=5), "16-bit CMYK, which cannot"),
        (tiff(COLOURS * WIDE, 16, planes=2), "16-bit colours in separate planes, which"),
        (tiff(stacked(GREY, GREY) * WIDE, 16, extra=2), "a TIFF of a rare kind"),
        (tiff(GREY.astype(np.float64), 64), "a TIFF of a rare kind"),
        (tiff((GREY.astype(int) - 128).astype(np.int8)), "signed 8-bit values, some of them neg"),
    ],
)
def test_what_cannot_be_decoded_in_full_is_refused(tmp_path, save, message) -> None:
    save(tmp_path / "a.tif")
    with pytest.raises(HarmosegError, match=rf"a.tif: .*{message}.*save"):
        read_image(tmp_path / "a.tif", 3)


# Masks of black and white


BOTH = DISC.astype(np.uint8)
BLACK_WHITE, WHITE_BLACK = [(0, 0, 0), (255,) * 3], [(255,) * 3, (0, 0, 0)]
BINARY: dict[str, tuple[str, Save]] = {
    "png 1": (".png", png(BOTH, 1)),
    "png 2": (".png", png(BOTH * 3, 2)),
    "png 4": (".png", png(BOTH * 15, 4)),
    "png 8": (".png", png(BOTH * OPAQUE)),
    "png LA 8": (".png", png(stacked(BOTH * OPAQUE, OPAQUE))),
    "png RGB 8": (".png", png(stacked(*[BOTH * OPAQUE] * 3))),
    "png P, black first": (".png", png(BOTH, 1, BLACK_WHITE)),
    "png P, white first": (".png", png(1 - BOTH, 1, WHITE_BLACK)),
    "png P 8, white first": (".png", png(1 - BOTH, 8, WHITE_BLACK)),
    "png P by quantize": (".png", pillow(Image.fromarray(BOTH * OPAQUE).quantize(2))),
    "png P adaptive": (
        ".png",
        pillow(Image.fromarray(BOTH * OPAQUE).convert("RGB").convert("P", palette=1)),
    ),
    "png P, greys": (".png", png(BOTH * OPAQUE, 8, [(i,) * 3 for i in range(256)])),
    "tif 1": (".tif", tiff(BOTH, 1)),
    "tif WhiteIsZero 1": (".tif", tiff(1 - BOTH, 1, photometric=0)),
    "tif 8": (".tif", tiff(BOTH * OPAQUE)),
    "tif P, white first": (".tif", tiff(1 - BOTH, 8, photometric=3, palette=WHITE_BLACK)),
    "bmp 1": (".bmp", pillow(Image.fromarray(DISC))),
    "bmp P, white first": (".bmp", pillow(with_palette(1 - BOTH, WHITE_BLACK))),
    "bmp 8": (".bmp", pillow(Image.fromarray(BOTH * OPAQUE))),
    "jpg": (".jpg", pillow(Image.fromarray(BOTH * OPAQUE), quality=95)),
}
# 0 and 65535, or 0 and 1: black and white where all masks of a folder have them
OTHER_BINARY: dict[str, tuple[str, Save]] = {
    "png 8, 0 and 1": (".png", png(BOTH)),
    "png 16": (".png", png(BOTH * np.uint16(65535), 16)),
    "png 16, 0 and 1": (".png", png(BOTH.astype(np.uint16), 16)),
    "png LA 16": (".png", png(stacked(BOTH, BOTH * 0 + 1) * np.uint16(65535), 16)),
    "png RGB 16": (".png", png(stacked(*[BOTH] * 3) * np.uint16(65535), 16)),
    "png RGB 16, 0 and 1": (".png", png(stacked(*[BOTH] * 3).astype(np.uint16), 16)),
    "png RGBA 16, 0 and 1": (
        ".png",
        png(stacked(*[BOTH] * 3, OPAQUE).astype(np.uint16), 16),
    ),
    "tif 16": (".tif", tiff(BOTH * np.uint16(65535), 16)),
    "tif MM 16": (".tif", tiff(BOTH * np.uint16(65535), 16, ">")),
}


def survey(*files: Path) -> ValueSurvey:
    found = ValueSurvey()
    for file in files:
        found.add(file, count_values(file))
    return found


def labels(rule: LabelRule, file: Path) -> np.ndarray:
    return rule.apply(read_mask_values(file), file)


@pytest.mark.parametrize("form", [*BINARY, *OTHER_BINARY])
def test_white_is_foreground_in_every_form(tmp_path, form) -> None:
    ending, save = (BINARY | OTHER_BINARY)[form]
    file = tmp_path / f"a{ending}"
    save(file)
    assert np.array_equal(labels(survey(file).rule(None, None), file), DISC)
    assert np.array_equal(BlackAndWhite().apply(read_mask_shades(file), file), DISC)


@pytest.mark.parametrize(
    ("form", "threshold"),
    [
        (form, threshold)
        for form in BINARY
        for threshold in (None, 0, 127)
        if (form, threshold) != ("jpg", 0)  # above 0 lie its losses, too
    ],
)
def test_one_folder_may_hold_every_form(tmp_path, form, threshold) -> None:
    ending, save = BINARY[form]
    file, plain, bit, empty = (tmp_path / n for n in (f"a{ending}", "b.png", "c.png", "d.png"))
    save(file)
    png(BOTH * OPAQUE)(plain)
    png(BOTH, 1)(bit)
    Image.fromarray(BOTH * 0).quantize(2).save(empty)
    rule = survey(file, plain, bit, empty).rule(None, threshold)
    assert all(np.array_equal(labels(rule, path), DISC) for path in (file, plain, bit))
    assert not labels(rule, empty).any()


@pytest.mark.parametrize("white", [1, 255])
def test_white_is_the_value_that_the_caller_gives(tmp_path, white) -> None:
    bit, palette = tmp_path / "a.png", tmp_path / "b.png"
    png(BOTH, 1)(bit)
    png(1 - BOTH, 1, WHITE_BLACK)(palette)
    rule = survey(bit, palette).rule([0, white], None)
    assert np.array_equal(labels(rule, bit), DISC) and np.array_equal(labels(rule, palette), DISC)
    reversed_rule = survey(bit, palette).rule([white, 0], None)
    assert np.array_equal(labels(reversed_rule, palette), ~DISC)


def test_one_and_255_in_one_folder_are_told_to_be_cut_at_0(tmp_path) -> None:
    one, full = tmp_path / "one.png", tmp_path / "full.png"
    png(BOTH)(one)
    png(BOTH * OPAQUE)(full)
    found = survey(one, full)
    with pytest.raises(HarmosegError, match="pass --threshold 0; else"):
        found.rule(None, None)
    with pytest.raises(HarmosegError, match=r"one.png holds 0 and 1 alone, .* pass --threshold 0"):
        found.rule(None, 127)
    rule = found.rule(None, 0)
    assert np.array_equal(labels(rule, one), DISC) and np.array_equal(labels(rule, full), DISC)


# Masks of classes


CLASSES: dict[str, tuple[str, Save]] = {
    "png 8": (".png", png(LABELS)),
    "png 16": (".png", png(LABELS.astype(np.uint16), 16)),
    "png LA 16": (".png", png(stacked(LABELS, OPAQUE).astype(np.uint16), 16)),
    "png RGB 8": (".png", png(stacked(*[LABELS] * 3))),
    "png RGB 16": (".png", png(stacked(*[LABELS] * 3).astype(np.uint16), 16)),
    "png RGBA 16": (".png", png(stacked(*[LABELS] * 3, OPAQUE).astype(np.uint16), 16)),
    "png P 2": (".png", png(LABELS, 2, RED_GREEN)),
    "png P 8": (".png", png(LABELS, 8, [*RED_GREEN, *RAMP[3:]])),
    "png P, one colour twice": (".png", png(LABELS, 8, [(0, 0, 0), (255, 0, 0), (255, 0, 0)])),
    "tif 8": (".tif", tiff(LABELS)),
    "tif MM 16": (".tif", tiff(LABELS.astype(np.uint16), 16, ">")),
    "tif int 16": (".tif", tiff(LABELS.astype(np.int16), 16)),
    "tif RGB 16": (".tif", tiff(stacked(*[LABELS] * 3).astype(np.uint16), 16)),
    "tif P 8": (".tif", tiff(LABELS, 8, photometric=3, palette=RED_GREEN)),
    "bmp 8": (".bmp", pillow(Image.fromarray(LABELS))),
    "bmp P 8": (".bmp", pillow(with_palette(LABELS, RED_GREEN))),
}


@pytest.mark.parametrize("form", CLASSES)
def test_class_indices_are_read_in_every_form(tmp_path, form) -> None:
    ending, save = CLASSES[form]
    file, other = tmp_path / f"a{ending}", tmp_path / "one class.png"
    save(file)
    png(np.minimum(LABELS, 1))(other)
    rule = survey(file, other).rule(None, None)
    assert rule.values == (0, 1, 2)
    assert np.array_equal(labels(rule, file), LABELS)
    assert np.array_equal(labels(rule, other), DISC)


@pytest.mark.parametrize(
    ("palettes", "message"),
    [
        (
            [RED_GREEN, [(0, 0, 0), (0, 255, 0), (255, 0, 0)]],
            r"palettes of masks differ: value 1 is \(255, 0, 0\) in .*0.png and \(0, 255, 0\) in .*1.png",
        ),
        (
            [RED_GREEN, [(255, 0, 0), (0, 0, 0), (0, 255, 0)]],
            "palettes of masks differ: value 0 is",
        ),
        ([[(255, 0, 0), (0, 0, 0), (0, 255, 0)]], r"0.png: the palette has black at 1, and 0 is"),
    ],
)
def test_palettes_that_contradict_each_other_are_named(tmp_path, palettes, message) -> None:
    files = [tmp_path / f"{number}.png" for number in range(len(palettes))]
    for file, palette in zip(files, palettes, strict=True):
        png(LABELS, 8, palette)(file)
    with pytest.raises(HarmosegError, match=message):
        survey(*files).rule(None, None)
    if len(files) == 1:  # who says what the indices are is believed
        assert survey(*files).rule([1, 0, 2], None).values == (1, 0, 2)


def test_black_and_white_of_a_larger_palette_keep_their_indices(tmp_path) -> None:
    palette = [(0, 0, 0), (255, 0, 0), (255, 255, 255)]
    both, white = tmp_path / "a.png", tmp_path / "b.png"
    png(LABELS, 8, palette)(both)
    png(BOTH * 2, 8, palette)(white)
    rule = survey(both, white).rule(None, None)
    assert np.array_equal(labels(rule, both), LABELS)
    assert np.array_equal(labels(rule, white), BOTH * 2)


# What is ambiguous


INVERTED: Mapping[str, tuple[str, Save]] = {
    "WhiteIsZero 8": (".tif", tiff(BOTH * OPAQUE, photometric=0)),
    "WhiteIsZero 16": (".tif", tiff(BOTH * np.uint16(65535), 16, photometric=0)),
    "ImageJ 8": (
        ".tif",
        tiff(BOTH * OPAQUE, 8, ">", photometric=0, description="ImageJ=1.54f\nunit=px\n"),
    ),
    "ImageJ PNG": (".png", png(BOTH * OPAQUE, 8, [(255 - i,) * 3 for i in range(256)])),
}


@pytest.mark.parametrize("form", INVERTED)
def test_values_against_shades_are_refused(tmp_path, form) -> None:
    ending, save = INVERTED[form]
    file = tmp_path / f"a{ending}"
    save(file)
    with pytest.raises(HarmosegError, match=r"a\..*values and shades are opposite.*Invert LUT"):
        count_values(file)
    if "ImageJ" in form:
        with pytest.raises(HarmosegError, match="Invert LUT"):
            read_mask_shades(file)
    else:  # a published set is read as it looks, at every depth
        assert np.array_equal(BlackAndWhite().apply(read_mask_shades(file), file), ~DISC)


@pytest.mark.parametrize("quality", [60, 95, 100])
def test_a_jpeg_is_never_a_map_of_small_values(tmp_path, quality) -> None:
    file, plain = tmp_path / "a.jpg", tmp_path / "b.png"
    Image.fromarray(BOTH).save(file, quality=quality)
    if not read_mask_values(file).pixels.any():
        Image.fromarray(BOTH * np.uint8(2)).save(file, quality=quality)
    png(BOTH * OPAQUE)(plain)
    for found in (survey(file), survey(file, plain)):
        for given in ((None, None), ([0, 1], None), (None, 0)):
            with pytest.raises(HarmosegError, match="a.jpg: a JPEG mask whose highest value is"):
                found.rule(*given)
    with pytest.raises(HarmosegError, match="a.jpg: a JPEG mask whose highest value is"):
        BlackAndWhite().apply(read_mask_shades(file), file)


def test_masks_of_small_values_are_not_emptied_by_the_losses_of_others(tmp_path) -> None:
    lossy, small = tmp_path / "a.jpg", tmp_path / "b.png"
    Image.fromarray(BOTH * OPAQUE).save(lossy)
    png(BOTH)(small)
    with pytest.raises(HarmosegError, match=r"b.png: the highest value is 1, while other masks"):
        survey(lossy, small).rule(None, None)
    png(LABELS, 8, RED_GREEN)(small)
    with pytest.raises(HarmosegError, match="a.jpg is JPEG, whose losses make values"):
        survey(lossy, small).rule(None, None)
    with pytest.raises(HarmosegError, match=r"a.jpg: a JPEG mask, and label_values \[0, 1, 255\]"):
        survey(lossy, small).rule([0, 1, 255], None)
