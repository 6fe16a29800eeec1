"""From folders to stores: what comes out, and every mistake that a folder can hold."""

from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets.folder import FolderOptions, SplitRule
from harmoseg.datasets.preparing import (
    PrepareOptions,
    prepare_dataset,
    prepare_folder,
    store_of_folder,
)
from harmoseg.datasets.sources import READING, list_files
from harmoseg.store.inspecting import is_native_label
from harmoseg.store.reading import open_store


def read(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture)


def prepare(images: Path, masks: Path, split: SplitRule | None = None, **options):
    out = options.pop("out", images.parent / "store")
    making = {name: options.pop(name) for name in ("size", "tile", "overwrite") if name in options}
    prepare_folder(
        FolderOptions(images, masks, **options),
        split or SplitRule(),
        PrepareOptions(out, **{"size": 32, **making}),
    )
    return open_store(out)


def test_a_folder_becomes_a_store(folder_data) -> None:
    store = prepare(*folder_data(count=10))
    assert store.info.counts == {"train": 8, "test": 2}
    assert store.images.shape == (10, 32, 32, 3)
    assert store.info.card.mode == "binary"
    assert set(np.unique(store.labels)) == {0, 1}
    for row, case in enumerate(store.cases):
        original = read(store.path.parent / "masks" / case.mask) > 127
        assert np.array_equal(store.native_label(row)[0], original)


def test_preparing_twice_gives_the_same_bytes(folder_data) -> None:
    first = prepare(*folder_data())
    fingerprint = first.info.fingerprint
    again = prepare(first.path.parent / "images", first.path.parent / "masks", overwrite=True)
    assert again.info.fingerprint == fingerprint
    assert sorted(p.name for p in again.path.parent.iterdir()) == ["images", "masks", "store"]


def test_an_existing_store_is_not_replaced_unasked(folder_data) -> None:
    images, masks = folder_data()
    prepare(images, masks)
    with pytest.raises(HarmosegError, match=r"exists already; .* --overwrite"):
        prepare(images, masks, size=64)


def test_an_unchanged_folder_is_not_prepared_again(folder_data, monkeypatch) -> None:
    images, masks = folder_data()
    out = images.parent / "store"
    ways = (FolderOptions(images, masks), SplitRule(), PrepareOptions(out, size=32))
    assert prepare_folder(*ways)
    with monkeypatch.context() as patch:
        patch.setattr("harmoseg.datasets.folder.count_values", None)  # no mask is decoded
        assert not prepare_folder(*ways)
    # One changed byte, or another split, is another dataset.
    file = images / "case3.png"
    changed = read(file).copy()
    changed[0, 0, 0] ^= 1
    Image.fromarray(changed).save(file)
    for other in (ways, (ways[0], SplitRule(split_seed=1), ways[2])):
        with pytest.raises(HarmosegError, match="exists already"):
            prepare_folder(*other)


@pytest.mark.parametrize(
    "what", ["table", "edit", "pixel", "label", "absent", "cut", "size", "head"]
)
def test_a_damaged_store_is_made_again(folder_data, what) -> None:
    images, masks = folder_data()
    out = images.parent / "store"
    ways = (FolderOptions(images, masks), SplitRule(), PrepareOptions(out, size=32))
    assert prepare_folder(*ways) and not prepare_folder(*ways)
    sound = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    native = out / "native" / "000003.png"
    damage = {
        "table": lambda: (out / "slices.csv").unlink(),
        "edit": lambda: (out / "cases.csv").write_text((out / "cases.csv").read_text() + "\n"),
        "pixel": lambda: (out / "images.npy").write_bytes(sound[out / "images.npy"][:-1] + b"x"),
        "label": lambda: (out / "labels.npy").write_bytes(sound[out / "labels.npy"][:-1] + b"\1"),
        "absent": native.unlink,
        "cut": lambda: native.write_bytes(sound[native][:-5]),
        "size": lambda: Image.new("L", (41, 40)).save(native),
        "head": lambda: native.write_bytes(b"x" + sound[native][1:]),
    }
    damage[what]()
    assert prepare_folder(*ways)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == sound


def test_the_labels_of_volumes_are_looked_at_too(phantom_store, tmp_path) -> None:
    store = Path(shutil.copytree(phantom_store, tmp_path / "store"))
    case = open_store(store).cases[0]
    volume = tmp_path / "label.npz"
    np.savez_compressed(volume, label=np.zeros((3, case.height, case.width), np.uint8))
    of_three = replace(case, depth=3)
    assert is_native_label(volume, of_three)
    assert not is_native_label(volume, replace(case, depth=4))
    volume.write_bytes(volume.read_bytes()[:-9])
    assert not is_native_label(volume, of_three)


def test_another_way_of_reading_makes_another_recipe(folder_data, monkeypatch) -> None:
    store = prepare(*folder_data())
    monkeypatch.setattr("harmoseg.datasets.preparing.READING", READING + 1)
    images, masks = (store.path.parent / name for name in ("images", "masks"))
    with pytest.raises(HarmosegError, match=r"exists already; .*--overwrite"):
        prepare(images, masks)
    again = prepare(images, masks, overwrite=True)
    assert again.info.provenance["recipe"] != store.info.provenance["recipe"]
    assert again.info.fingerprint == store.info.fingerprint


def test_only_one_of_image_and_mask_being_turned_is_refused(folder_data) -> None:
    images, masks = folder_data(size=48)
    exif = Image.Exif()
    for tag, message in ((6, "EXIF 6"), (3, "EXIF 3")):
        exif[0x0112] = tag
        for folder in (images, masks):
            upright = (folder / "case2.png").read_bytes()
            Image.fromarray(read(folder / "case2.png")).save(folder / "case2.png", exif=exif)
            with pytest.raises(HarmosegError, match=rf"{folder.name}/case2.png: .*{message}"):
                prepare(images, masks)
            (folder / "case2.png").write_bytes(upright)
    # Tags that turn nothing say nothing.
    exif[0x0112] = 0
    Image.fromarray(read(images / "case2.png")).save(images / "case2.png", exif=exif)
    prepare(images, masks)


def test_where_the_sizes_show_that_a_turned_image_fits_it_is_taken(folder_data) -> None:
    images, masks = folder_data()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    mask = np.zeros((40, 30), np.uint8)
    mask[:9] = 255
    Image.fromarray(np.rot90(image)).save(images / "case2.png", exif=exif)
    Image.fromarray(mask).save(masks / "case2.png")
    store = prepare(images, masks)
    assert np.array_equal(store.native_label(2)[0], mask > 0)


def test_a_mask_drawn_in_its_transparency_is_refused(folder_data) -> None:
    images, masks = folder_data()
    drawn = Image.open(masks / "case4.png")
    black = Image.new("RGB", drawn.size)
    black.putalpha(drawn)
    black.save(masks / "case4.png")
    with pytest.raises(HarmosegError, match=r"case4.png: one colour all over, only its transp"):
        prepare(images, masks)
    # Beside drawn values it says nothing.
    whole = drawn.copy()
    whole.putalpha(Image.new("L", drawn.size, 9))
    whole.save(masks / "case4.png")
    prepare(images, masks)


def test_unpaired_files_of_a_folder_may_be_skipped(folder_data) -> None:
    images, masks = folder_data()
    (masks / "case1.png").unlink()
    with pytest.raises(HarmosegError, match=r"case1.png.*--skip-unpaired"):
        prepare(images, masks)
    assert len(prepare(images, masks, skip_unpaired=True).cases) == 7


def test_the_order_of_files_changes_no_byte(folder_data, tmp_path) -> None:
    images, masks = folder_data()
    turned = tmp_path / "turned"
    for folder in (images, masks):
        (turned / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir(), reverse=True):
            (turned / folder.name / file.name).write_bytes(file.read_bytes())
    contents = []
    for root in (tmp_path, turned):
        store = prepare(root / "images", root / "masks", name="t").path
        files = sorted(path for path in store.rglob("*") if path.is_file())
        contents.append({file.relative_to(store): file.read_bytes() for file in files})
    assert contents[0] == contents[1]


def test_a_link_out_of_the_source_is_refused(folder_data, tmp_path) -> None:
    images, masks = folder_data()
    (tmp_path / "secret.png").write_bytes((images / "case0.png").read_bytes())
    (images / "case0.png").unlink()
    (images / "case0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(HarmosegError, match=r"case0.png: a symbolic link that leaves the source"):
        prepare(images, masks)
    # A folder behind such a link would not be entered, and its cases be missing without a word.
    (images / "case0.png").unlink()
    (tmp_path / "elsewhere").mkdir()
    (images / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HarmosegError, match=r"images/more: a symbolic link that leaves the source"):
        prepare(images, masks)
    (images / "more").unlink()
    (images / "case0.png").touch()
    # Within the source, and to the source itself, links are fine.
    (images / "case0.png").unlink()
    (images / "case0.png").symlink_to(images / "case1.png")
    (tmp_path / "link").symlink_to(images)
    prepare(tmp_path / "link", masks)


def test_all_links_to_nothing_are_named(folder_data) -> None:
    images, masks = folder_data()
    for folder in (images, masks):
        for number in (1, 3):
            (folder / f"case{number}.png").unlink()
            (folder / f"case{number}.png").symlink_to(f"../annex/{number}")
    names = ".*".join(f"{name}/case{n}.png" for n in (1, 3) for name in ("images", "masks"))
    with pytest.raises(
        HarmosegError, match=rf"4 symbolic link\(s\) to what is not there: .*{names}"
    ):
        prepare(images, masks, skip_unpaired=True)
    assert not (images.parent / "store").exists()


def test_an_output_among_the_images_is_refused_beforehand(folder_data, monkeypatch) -> None:
    images, masks = folder_data(suffix="_mask")
    monkeypatch.chdir(images)
    for out in (images / "store", masks / "deep" / "store", Path("store"), images):
        with pytest.raises(HarmosegError, match="lie one in the other|holds something else"):
            prepare(images, masks, out=out)
    store = prepare(images, masks).path
    # The other way round, a store that is replaced would take the images with it.
    images.rename(store / "images")
    with pytest.raises(
        HarmosegError, match=r"store: the output and the input .* lie one in the ot"
    ):
        prepare(store / "images", masks, out=store, overwrite=True)
    assert len(list((store / "images").iterdir())) == 8


def test_a_run_among_the_images_is_refused_beforehand(folder_data) -> None:
    images, _ = folder_data()
    for run in (images / "run", images.parent / "masks" / "run"):
        with pytest.raises(HarmosegError, match="lie one in the other"):
            store_of_folder(images.parent, run, size=32)
    assert sorted(path.name for path in images.parent.iterdir()) == ["images", "masks"]
    store, told = store_of_folder(images.parent, images.parent / "run", size=32)
    assert store.is_dir() and told.startswith("prepared")
    assert "already" in store_of_folder(images.parent, images.parent / "run", size=32)[1]


def test_several_masks_of_an_image_are_joined(folder_data) -> None:
    images, masks = folder_data(suffix="_mask")
    whole = prepare(images, masks)
    for file in (masks / "case2_mask.png", masks / "case5_mask.png"):
        mask = read(file)
        left = mask * (np.arange(40) < 20)
        Image.fromarray(left.astype(np.uint8)).save(file)
        Image.fromarray((mask - left).astype(np.uint8)).save(file.with_stem(f"{file.stem}_1"))
    joined = prepare(images, masks, out=images.parent / "joined")
    assert joined.info.fingerprint == whole.info.fingerprint
    assert joined.cases[2].mask == "case2_mask.png"
    assert joined.cases[2].sha256 != whole.cases[2].sha256
    Image.new("L", (39, 40)).save(masks / "case2_mask_1.png")
    with pytest.raises(HarmosegError, match=r"its mask case2_mask_1.png is 39 x 40"):
        prepare(images, masks, overwrite=True)


def test_a_pixel_of_two_classes_is_named(folder_data) -> None:
    images, masks = folder_data(suffix="_mask")
    relabel(masks, {0: 0, 1: 1, 2: 2})
    first = read(masks / "case1_mask.png")
    Image.fromarray((first == 1) * np.uint8(2)).save(masks / "case1_mask_1.png")
    with pytest.raises(
        HarmosegError, match=r"case1_mask_1.png: \d+ pixel\(s\) are of another class"
    ):
        prepare(images, masks)


def test_a_folder_that_cannot_be_read_is_named(folder_data, monkeypatch) -> None:
    images, masks = folder_data()
    (images / "more").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "more":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(HarmosegError, match=r"images/more: cannot be read \(Permission denied\)"):
        prepare(images, masks)


def test_files_are_listed_folder_by_folder_without_hidden_ones(tmp_path) -> None:
    names = ("a-b/1.png", "a/2.png", "a/1.png", "B.png", "a/.3.png", ".a/4.png", "__MACOSX/5.png")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "broken.png").symlink_to(tmp_path / "absent.png")
    listed = [path.relative_to(tmp_path).as_posix() for path in list_files(tmp_path)]
    # A link to nothing is listed too: who takes it for a case names it.
    assert listed == ["B.png", "a/1.png", "a/2.png", "a-b/1.png", "broken.png"]


def test_an_empty_image_is_named(folder_data) -> None:
    images, masks = folder_data()
    Image.new("RGB", (40, 40), (7, 7, 7)).save(images / "case2.png")
    with pytest.raises(HarmosegError, match=r"case2.png: every pixel has the value 7"):
        prepare(images, masks)


def test_a_folder_can_be_cut_into_tiles(folder_data) -> None:
    store = prepare(*folder_data(size=40), size=20, tile=20)
    assert len(store.images) == 8 * 4 and store.info.card.tile == 20
    assert store.cases[0].slices == 4 and store.native_label(0).shape == (1, 40, 40)


def prepare_in_a_child(images: Path, masks: Path, out: Path, before: str) -> subprocess.Popen[str]:
    """Run the command line in a process of its own, after the Python statement `before`."""
    code = f"{before}; from harmoseg.cli.main import main; raise SystemExit(main())"
    words = ("prepare", "folder", "--images", images, "--masks", masks, "--out", out)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_full_disk_is_said_and_leaves_nothing(folder_data, tmp_path) -> None:
    images, masks = folder_data()
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))"
    )
    child = prepare_in_a_child(images, masks, tmp_path / "store", limit)
    message = child.communicate()[1]
    assert child.returncode == 2 and "store: cannot be written" in message
    assert "Traceback" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "masks"]


@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGINT])
def test_killed_while_writing_it_starts_clean(folder_data, tmp_path, monkeypatch, which) -> None:
    images, masks = folder_data()
    # Slow enough to be killed between two cases.
    slow = (
        # A shell starts what runs in the background deaf to SIGINT.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import time, harmoseg.store.writing as w; add = w.StoreWriter.add;"
        "w.StoreWriter.add = lambda *a: (time.sleep(0.2), add(*a))"
    )
    child = prepare_in_a_child(images, masks, tmp_path / "store", slow)
    while not list(tmp_path.glob(".store.partial-*/images.npy")):
        time.sleep(0.02)
    child.send_signal(which)
    child.communicate()
    assert child.returncode != 0 and not (tmp_path / "store").exists()
    monkeypatch.setattr("harmoseg.files._SECONDS_TO_LOCK", 0)
    assert prepare(images, masks).info.counts == {"train": 6, "test": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "masks", "store"]


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGBA", 3), ("P", 3), ("L", 1), ("LA", 1), ("I;16", 1), ("1", 1)]
)
def test_images_of_every_kind(folder_data, mode, channels) -> None:
    images, masks = folder_data(count=4)
    for file in images.iterdir():
        picture = Image.fromarray(read(file)).convert("RGB")
        if mode == "I;16":
            sixteen = np.asarray(picture.convert("L")).astype(np.uint16) * 16  # 12 of 16 bits used
            Image.fromarray(sixteen).save(file)
        else:
            picture.convert(mode).save(file)
    store = prepare(images, masks, size=40)
    assert store.info.channels == channels
    assert store.images.max() > 150  # the disc is still bright
    disc = store.images[store.labels == 1].mean()
    assert disc > store.images[store.labels == 0].mean() + 30


def test_floating_point_files_are_named_where_they_say_nothing(folder_data) -> None:
    images, masks = folder_data()
    values = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    values[3, 4] = np.nan
    (images / "case1.png").unlink()
    Image.fromarray(values).save(images / "case1.tif")
    with pytest.raises(HarmosegError, match=r"images/case1.tif: image holds NaN or infinite"):
        prepare(images, masks)
    Image.fromarray(np.nan_to_num(values)).save(images / "case1.tif")
    (masks / "case2.png").unlink()
    Image.fromarray(values).save(masks / "case2.tif")
    with pytest.raises(HarmosegError, match=r"masks/case2.tif: mask of floating-point values"):
        prepare(images, masks)


def test_a_mask_with_a_palette_gives_its_indices(folder_data) -> None:
    images, masks = folder_data()
    for file in masks.iterdir():
        picture = Image.fromarray((read(file) > 127).astype(np.uint8) * 2, "P")
        picture.putpalette([0, 0, 0, 0, 0, 255, 255, 0, 0])  # black, blue, red
        picture.save(file)
    store = prepare(images, masks, label_values=[0, 1, 2])
    assert set(np.unique(store.labels)) == {0, 2}


def test_one_colour_image_makes_the_set_a_colour_set(folder_data) -> None:
    images, masks = folder_data(count=4)
    file = images / "case0.png"
    Image.fromarray(read(file)).convert("L").save(file)
    assert prepare(images, masks).info.channels == 3


def test_names_with_spaces_and_other_letters(folder_data) -> None:
    images, masks = folder_data(count=4, name="Läsion á ", suffix="_mask")
    store = prepare(images, masks)
    assert store.cases[0].case == "Läsion á 0"


@pytest.mark.parametrize("ending", [".bmp", ".tif", ".jpg"])
def test_masks_of_every_format(folder_data, ending) -> None:
    images, masks = folder_data(count=4, size=64)
    for file in list(masks.iterdir()):
        Image.fromarray(read(file)).save(file.with_suffix(ending))
        file.unlink()
    store = prepare(images, masks)
    assert store.info.card.mode == "binary"
    assert 0.05 < store.labels.mean() < 0.3


def relabel(masks: Path, table: dict[int, int]) -> None:
    """Give the disc's inner part a class of its own and save the values of the table."""
    for file in masks.iterdir():
        disc = read(file) > 0
        label = disc.astype(int) + (disc & (np.arange(disc.shape[1]) % 2 == 0))
        Image.fromarray(np.vectorize(table.get)(label).astype(np.uint8)).save(file)


def test_class_indices_are_taken_as_they_are(folder_data) -> None:
    images, masks = folder_data()
    relabel(masks, {0: 0, 1: 1, 2: 2})
    store = prepare(images, masks, classes=["background", "rim", "core"])
    assert store.info.card.classes == ("background", "rim", "core")
    assert set(np.unique(store.labels)) == {0, 1, 2}


def test_other_values_need_to_be_declared(folder_data) -> None:
    images, masks = folder_data()
    relabel(masks, {0: 0, 1: 85, 2: 170})
    with pytest.raises(HarmosegError, match=r"3 values .* 85 \(\d+ px in 8 file.*--label-values"):
        prepare(images, masks)
    store = prepare(images, masks, label_values=[0, 170, 85])
    assert store.info.card.classes == ("background", "class 170", "class 85")
    assert set(np.unique(store.labels)) == {0, 1, 2}


def test_an_unexpected_value_is_named_with_file_and_count(folder_data) -> None:
    images, masks = folder_data()
    file = masks / "case3.png"
    label = read(file).copy()
    label[0, :5] = 7
    Image.fromarray(label).save(file)
    with pytest.raises(
        HarmosegError, match=r"rarest: 7 \(5 px in 1 file\(s\), first in case3.png\)"
    ):
        prepare(images, masks)
    with pytest.raises(HarmosegError, match=r"case3.png: unexpected mask value\(s\) 7 \(5 px\)"):
        prepare(images, masks, label_values=[0, 255])
    assert prepare(images, masks, threshold=127).info.card.mode == "binary"


@pytest.mark.parametrize("value", [0, 255])
def test_a_single_class_is_refused(folder_data, value) -> None:
    images, masks = folder_data()
    for file in masks.iterdir():
        Image.new("L", (40, 40), value).save(file)
    with pytest.raises(HarmosegError, match=f"has the value {value}: a single class is present"):
        prepare(images, masks)
    with pytest.raises(HarmosegError, match="a single class is present"):
        prepare(images, masks, threshold=127)
    with pytest.raises(HarmosegError, match="a single class is present"):
        prepare(images, masks, label_values=[0, 255])


def test_colour_masks_are_refused_and_grey_ones_in_colour_form_taken(folder_data) -> None:
    images, masks = folder_data()
    for file in masks.iterdir():
        Image.fromarray(read(file)).convert("RGB").save(file)
    assert prepare(images, masks).info.card.mode == "binary"
    Image.new("RGB", (40, 40), (255, 0, 0)).save(masks / "case1.png")
    with pytest.raises(HarmosegError, match=r"case1.png: colour mask .*\(255, 0, 0\)"):
        prepare(images, masks, overwrite=True)


def test_sizes_that_differ_are_named(folder_data) -> None:
    images, masks = folder_data()
    Image.new("L", (41, 39)).save(masks / "case2.png")
    with pytest.raises(HarmosegError, match=r"case2.png is 40 x 40 .* case2.png is 41 x 39"):
        prepare(images, masks)


def test_a_truncated_jpeg_is_named_and_nothing_is_left(folder_data) -> None:
    images, masks = folder_data()
    buffer = io.BytesIO()
    Image.fromarray(read(images / "case5.png")).save(buffer, "JPEG")
    (images / "case5.png").unlink()
    (images / "case5.jpg").write_bytes(buffer.getvalue()[:400])
    with pytest.raises(HarmosegError, match=r"case5.jpg: cannot be decoded"):
        prepare(images, masks)
    assert sorted(p.name for p in images.parent.iterdir()) == ["images", "masks"]


def test_a_picture_turned_by_its_camera_is_turned_with_its_mask(folder_data) -> None:
    images, masks = folder_data(size=48)
    upright = prepare(images, masks, size=48).labels.copy()
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in (images, masks):
        for file in folder.iterdir():
            Image.fromarray(np.rot90(read(file))).save(file, exif=exif)
    assert np.array_equal(prepare(images, masks, size=48, overwrite=True).labels, upright)


def test_the_first_picture_of_a_phone_is_taken(folder_data) -> None:
    images, masks = folder_data()
    for file in list(images.iterdir()):
        picture = Image.open(file)
        more = [picture.resize((16, 16))]
        picture.save(file.with_suffix(".jpg"), format="MPO", save_all=True, append_images=more)
        file.unlink()
    store = prepare(images, masks, size=40)
    assert store.images[store.labels == 1].mean() > store.images[store.labels == 0].mean() + 90


@pytest.mark.parametrize("colours", [2, 16])
def test_masks_by_quantize_are_read_by_their_shades(folder_data, colours) -> None:
    images, masks = folder_data()
    Image.new("L", (40, 40)).save(masks / "case3.png")
    plain = prepare(images, masks)
    for file in masks.iterdir():
        Image.open(file).quantize(colours).save(file)
    assert {Image.open(file).getpalette()[0] for file in masks.iterdir()} == {0, 255}
    again = prepare(images, masks, overwrite=True)
    assert again.info.fingerprint == plain.info.fingerprint


def test_several_pages_are_refused(folder_data) -> None:
    images, masks = folder_data()
    page = Image.fromarray(read(images / "case5.png"))
    (images / "case5.png").unlink()
    page.save(images / "case5.tif", save_all=True, append_images=[page])
    with pytest.raises(HarmosegError, match=r"case5.tif: 2 pages or frames, expected one"):
        prepare(images, masks)


def test_too_many_pixels_are_refused(folder_data, monkeypatch) -> None:
    monkeypatch.setattr("harmoseg.datasets.pictures._MOST_PIXELS", 1000)
    with pytest.raises(HarmosegError, match=r"case0.png: refused, 40 x 40 are too many pixels"):
        prepare(*folder_data())


def test_a_small_file_that_claims_a_huge_image_is_refused(folder_data) -> None:
    images, masks = folder_data()

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    bomb = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
    (images / "case4.png").write_bytes(bomb)
    with pytest.raises(HarmosegError, match=r"case4.png: refused, .*too many pixels"):
        prepare(images, masks)


def test_source_data_is_never_replaced(folder_data) -> None:
    images, masks = folder_data()
    with pytest.raises(HarmosegError, match="holds something else"):
        prepare(images, masks, overwrite=True, out=images.parent)
    assert len(list(images.iterdir())) == 8


def test_a_file_that_is_no_image_is_named(folder_data) -> None:
    images, masks = folder_data()
    (images / "case5.png").write_text("hello")
    with pytest.raises(HarmosegError, match=r"case5.png: cannot be decoded"):
        prepare(images, masks)


def test_an_unwritable_output_is_named(folder_data) -> None:
    images, masks = folder_data()
    blocked = images.parent / "file"
    blocked.touch()
    with pytest.raises(HarmosegError, match="file: cannot be written"):
        prepare(images, masks, out=blocked / "store")


def test_wrong_options_are_named(folder_data) -> None:
    images, masks = folder_data()
    for options, message in (
        ({"tile": 8}, "tile must be 0 or at least 16"),
        ({"size": 8}, "size must be at least 16"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"classes": ["a", "b", "c"]}, "3 name"),
        ({"classes": ["a", "b", "b"]}, r"classes: 2 class\(es\) named 'b'"),
        ({"classes": ["a", " "]}, r"classes: 1 class\(es\) named ''"),
        ({"threshold": 1, "label_values": [0, 1]}, "not both"),
        ({"label_values": [0, 0]}, "two or more different"),
    ):
        with pytest.raises(HarmosegError, match=message):
            prepare(images, masks, **options)


def test_kvasir_needs_its_thousand_cases(folder_data) -> None:
    images, _ = folder_data()
    with pytest.raises(HarmosegError, match=r"1000 listed case\(s\) have no files .*8 case\(s\)"):
        prepare_dataset("kvasir-seg", images.parent, PrepareOptions(images.parent / "store"))
