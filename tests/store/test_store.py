"""The prepared store: what is read back, and every way it can be wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.files import folder_in_progress, write_csv
from harmoseg.store.card import parse_card
from harmoseg.store.inspecting import describe_shapes, describe_store
from harmoseg.store.layout import Case
from harmoseg.store.reading import open_store
from harmoseg.store.tiling import Sample, cut, resize_label
from harmoseg.store.training_view import open_training_view
from harmoseg.store.writing import writing_store

CARD = parse_card(
    'name = "t"\ntitle = "T"\nmodality = "m"\nmode = "binary"\nclasses = ["background", "x"]\n'
)


def make_case(name: str, split: str = "train", group: str | None = None) -> Case:
    return Case(
        case=name,
        group=group or name,
        split=split,  # type: ignore[arg-type]
        subset="",
        slices=1,
        depth=1,
        height=12,
        width=10,
        spacing=(),
        affine=(),
        image=f"{name}.png",
        mask=f"{name}.png",
        sha256="",
    )


def write(out: Path, cases: list[Case]) -> Path:
    random = np.random.default_rng(0)
    with writing_store(out, CARD, shape=(8, 8, 3)) as writer:
        for case in cases:
            label = random.integers(0, 2, (1, 12, 10)).astype(np.uint8)
            image = random.integers(0, 256, (1, 12, 10, 3)).astype(np.uint8)
            writer.add(case, cut(Sample(image, label), size=8), label)
        writer.finish({})
    return out


@pytest.fixture
def damaged(phantom_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantom_store, tmp_path / "store"))


def test_what_is_written_is_read_back(tmp_path) -> None:
    cases = [make_case("ä b"), make_case("c", "test")]
    store = open_store(write(tmp_path / "s", cases))
    assert list(store.cases) == cases
    assert store.cases_of("test") == [1]
    assert store.native_label(1).shape == (1, 12, 10)
    assert store.info.card == CARD
    assert isinstance(store.images, np.memmap)
    assert "1 train, 1 test" in describe_store(store)


def test_a_failure_leaves_nothing_behind(tmp_path) -> None:
    with pytest.raises(RuntimeError), writing_store(tmp_path / "s", CARD, shape=(8, 8, 3)):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_folder_keeps_the_old_one_until_the_new_is_whole(tmp_path) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(RuntimeError), folder_in_progress(out, mark="old", overwrite=True):
        raise RuntimeError
    assert (out / "old").exists()
    with folder_in_progress(out, mark="old", overwrite=True) as folder:
        (folder / "new").touch()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path) -> None:
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(HarmosegError, match="holds something else"),
        folder_in_progress(tmp_path, mark="store.json", overwrite=True),
    ):
        pass
    assert (tmp_path / "thesis.tex").exists()


def test_a_store_without_cases_is_refused(tmp_path) -> None:
    with (
        pytest.raises(HarmosegError, match="no case was added"),
        writing_store(tmp_path / "s", CARD, shape=(8, 8, 3)) as writer,
    ):
        writer.finish({})
    assert list(tmp_path.iterdir()) == []


def test_absent_and_half_written_stores_are_named(damaged, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="no such store; make one with: harmoseg prepare"):
        open_store(tmp_path / "absent")
    (damaged / "store.json").unlink()
    with pytest.raises(HarmosegError, match="half written"):
        open_store(damaged)


def change(path: Path, **values: object) -> None:
    file = path / "store.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_another_schema_version_is_refused(damaged) -> None:
    change(damaged, schema=99)
    with pytest.raises(HarmosegError, match=r"schema version 99, .* reads 2; prepare .* again"):
        open_store(damaged)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("store.json", "{", "cannot be read"),
        ("store.json", "[]", "JSON object"),
        ("store.json", '{"schema": 2}', "field missing or wrong"),
        ("cases.csv", "case,split\n", r"lacks the column"),
        ("slices.csv", "case,plane,top,left,height,width,foreground\n", "do not fit cases.csv"),
        ("images.npy", "x", "damaged: prepare the store again with --overwrite"),
        ("labels.npy", "", "damaged: prepare the store again with --overwrite"),
        ("native/000012.png", "x", "label of case .* cannot be read"),
    ],
)
def test_damage_is_named(damaged, name, content, message) -> None:
    (damaged / name).write_text(content)
    with pytest.raises(HarmosegError, match=message):
        open_store(damaged).native_label(12)


def test_arrays_that_do_not_fit_the_table_are_named(damaged) -> None:
    np.save(damaged / "images.npy", np.zeros((3, 32, 32, 1), np.uint8))
    with pytest.raises(HarmosegError, match=r"\(3, 32, 32, 1\), expected uint8 \(20, 32, 32, 1\)"):
        open_store(damaged)


def test_no_pickle_is_ever_read(damaged) -> None:
    np.save(damaged / "images.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(HarmosegError, match="Python objects"):
        open_store(damaged)


def test_a_changed_label_changes_the_fingerprint(tmp_path) -> None:
    one = open_store(write(tmp_path / "a", [make_case("a")]))
    two = open_store(write(tmp_path / "b", [make_case("a")]))
    other = open_store(write(tmp_path / "c", [make_case("a", "test")]))
    assert one.info.fingerprint == two.info.fingerprint != other.info.fingerprint


def test_the_fingerprint_is_of_content_not_of_file_names(tmp_path) -> None:
    one = open_store(write(tmp_path / "a", [make_case("a")]))
    moved = replace(make_case("a"), image="deeper/a.tif", mask="deeper/a.tif", sha256="f" * 64)
    assert open_store(write(tmp_path / "b", [moved])).info.fingerprint == one.info.fingerprint


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(1, 40, 30)], "30 x 40 px"),
        ([(1, 40, 30), (1, 20, 50)], "30-50 x 20-40 px (width, height)"),
        ([(6, 40, 30), (9, 40, 30)], "30 x 40 x 6-9 voxels (width, height, depth)"),
    ],
)
def test_sizes_are_given_axis_by_axis(shapes, said) -> None:
    assert describe_shapes(shapes) == said


def test_training_view_has_no_test_case(phantom_store) -> None:
    view = open_training_view(phantom_store, validation_fraction=0.25)
    tested = {case.case for case in open_store(phantom_store).cases if case.split == "test"}
    seen = {case.case for part in (view.train, view.validation) for case in part.cases}
    assert (len(view.train), len(view.validation)) == (9, 3)
    assert len(seen) == 12 and not seen & tested
    with pytest.raises(IndexError):
        view.train.batch([9])


def test_carving_takes_whole_groups_and_always_the_same(tmp_path) -> None:
    cases = [make_case(f"{p}-{i}", group=f"p{p}") for p in range(6) for i in range(2)]
    path = write(tmp_path / "s", cases)
    views = [open_training_view(path, validation_fraction=0.3) for _ in range(2)]
    assert views[0].validation.cases == views[1].validation.cases
    groups = [{case.group for case in part.cases} for part in (views[0].train, views[0].validation)]
    assert not groups[0] & groups[1]
    assert len(views[0].validation) == 4


def test_a_val_split_is_used_as_it_is(tmp_path) -> None:
    path = write(tmp_path / "s", [make_case("a"), make_case("b", "val"), make_case("c")])
    view = open_training_view(path, validation_fraction=0.5)
    assert [case.case for case in view.validation.cases] == ["b"]


def test_stores_that_cannot_be_trained_on_are_named(tmp_path) -> None:
    with pytest.raises(HarmosegError, match="no case has the split 'train'"):
        open_training_view(write(tmp_path / "a", [make_case("a", "test")]), validation_fraction=0.1)
    one_group = write(tmp_path / "b", [make_case("a", group="g"), make_case("b", group="g")])
    with pytest.raises(HarmosegError, match="all training cases are of one group"):
        open_training_view(one_group, validation_fraction=0.1)
    assert len(open_training_view(one_group, validation_fraction=0).train) == 2


def write_volumes(out: Path, *, empty_slices: str = "keep", depth: int = 4) -> Path:
    """Three volumes of `depth` planes, the first plane of each without foreground."""
    card = replace(CARD, empty_slices=empty_slices)  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    with writing_store(out, card, shape=(8, 8, 1)) as writer:
        for name, split in (("a", "train"), ("b", "val"), ("c", "test")):
            image = random.integers(0, 256, (depth, 12, 10, 1)).astype(np.uint8)
            label = np.zeros((depth, 12, 10), np.uint8)
            label[1:, 3:9, 2:8] = 1
            sample = Sample(image, label, (8.0, 1.25, 1.5), tuple(range(12)))
            case = replace(
                make_case(name, split),
                slices=depth,
                depth=depth,
                spacing=sample.spacing,
                affine=tuple(float(value) for value in sample.affine),
            )
            writer.add(case, cut(sample, size=8), label)
        writer.finish({})
    return out


def test_a_volume_is_a_case_of_several_slices(tmp_path) -> None:
    store = open_store(write_volumes(tmp_path / "s"))
    assert [list(store.rows_of(number)) for number in range(3)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert store.slice(6).plane == 2 and store.slice(6).foreground == 36
    assert store.native_label(1).shape == (4, 12, 10)
    assert store.cases[1].spacing == (8.0, 1.25, 1.5)
    assert store.cases[1].affine == tuple(float(value) for value in range(12))
    text = describe_store(store)
    assert "12, 3 of them without foreground (kept in training)" in text
    assert "1.50 x 1.25 x 8.00 mm (width, height, depth)" in text


def test_empty_slices_are_trained_on_or_not_as_the_card_says(tmp_path) -> None:
    for rule, trained in (("keep", 4), ("drop", 3)):
        path = write_volumes(tmp_path / rule, empty_slices=rule)
        view = open_training_view(path, validation_fraction=0)
        assert len(view.train) == trained
        # What is scored is scored whole.
        assert len(view.validation) == 4 and view.validation.owners.tolist() == [0] * 4
        assert (
            view.train.batch(list(range(trained)))[1].reshape(trained, -1).max(1) > 0
        ).sum() == 3


def test_a_training_view_says_whether_there_are_volumes(phantom_store, tmp_path) -> None:
    found = [
        open_training_view(path, validation_fraction=0.3).volumes
        for path in (write_volumes(tmp_path / "s"), phantom_store)
    ]
    assert found == [True, False]


def test_a_damaged_volume_is_named(tmp_path) -> None:
    path = write_volumes(tmp_path / "s")
    (path / "native" / "000001.npz").write_bytes(b"PK")
    with pytest.raises(HarmosegError, match="label of case 'b' cannot be read"):
        open_store(path).native_label(1)


def test_tiles_cover_an_image_evenly() -> None:
    image = np.arange(100 * 70, dtype=np.uint64).reshape(1, 100, 70, 1).astype(np.uint8)
    label = (image[..., 0] > 100).astype(np.uint8)
    pieces = cut(Sample(image, label), size=32, tile=32)
    assert len(pieces.slices) == 4 * 3
    seen = np.zeros((100, 70), int)
    for place, piece, truth in zip(pieces.slices, pieces.images, pieces.labels, strict=True):
        window = (slice(place.top, place.top + 32), slice(place.left, place.left + 32))
        assert np.array_equal(piece[..., 0], image[0, *window, 0])  # at full resolution
        assert np.array_equal(truth, label[0, *window])
        assert place.foreground == truth.sum()
        seen[window] += 1
    assert seen.min() == 1


def test_an_image_smaller_than_a_tile_is_shown_whole() -> None:
    pieces = cut(
        Sample(np.zeros((1, 20, 50, 3), np.uint8), np.zeros((1, 20, 50), np.uint8)),
        size=16,
        tile=32,
    )
    assert [(item.top, item.left, item.height, item.width) for item in pieces.slices] == [
        (0, 0, 20, 32),
        (0, 18, 20, 32),
    ]


def test_what_a_killed_process_left_is_cleared_away(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harmoseg.files._SECONDS_TO_LOCK", 0)
    (tmp_path / ".s.partial-abc").mkdir()
    (tmp_path / ".s.partial-abc" / "images.npy").touch()
    (tmp_path / ".other.partial-abc").mkdir()
    with folder_in_progress(tmp_path / "s", mark="store.json") as folder:
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [".other.partial-abc", folder.name]
        # A second process at the same time leaves the work of the first alone.
        with folder_in_progress(tmp_path / "s", mark="store.json") as second:
            (second / "store.json").touch()
            assert folder.is_dir()
    assert (tmp_path / "s").is_dir()


def test_a_replacement_killed_half_way_is_undone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harmoseg.files._SECONDS_TO_LOCK", 0)
    old = tmp_path / ".s.old-abc" / "s"
    old.mkdir(parents=True)
    (old / "store.json").touch()
    with (
        pytest.raises(HarmosegError, match="exists already"),
        folder_in_progress(tmp_path / "s", mark="store.json"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert (tmp_path / "s" / "store.json").exists()


def test_cards_refuse_what_they_do_not_know() -> None:
    with pytest.raises(HarmosegError, match=r"unknown keys \['colour'\], missing keys \['title'\]"):
        parse_card('name="t"\nmodality="m"\nmode="binary"\nclasses=["a","b"]\ncolour=1\n')
    with pytest.raises(HarmosegError, match=r"card 't': 2 class\(es\) named 'b'.*name of its own"):
        parse_card('name="t"\ntitle="t"\nmodality="m"\nmode="multiclass"\nclasses=["a","b","b"]\n')
    with pytest.raises(HarmosegError, match="needs 2 classes"):
        parse_card('name="t"\ntitle="t"\nmodality="m"\nmode="binary"\nclasses=["a"]\n')


def test_undefined_values_are_empty_fields(tmp_path) -> None:
    write_csv(tmp_path / "t.csv", ("a", "b"), [{"a": None, "b": 0.1}])
    assert (tmp_path / "t.csv").read_text() == "a,b\n,0.1\n"


def test_a_shrunk_label_stays_where_it_was() -> None:
    y, x = np.mgrid[:96, :96]
    label = (np.hypot(y - 47.5, x - 47.5) < 20).astype(np.uint8)
    for size in (48, 50, 31):
        small = resize_label(label, size, size)
        assert np.array_equal(small, small[::-1, ::-1])  # still in the middle
        assert small.sum() * (96 / size) ** 2 == pytest.approx(label.sum(), rel=0.05)


def test_a_shrunk_label_holds_only_classes_that_were_there() -> None:
    label = np.random.default_rng(0).choice([0, 2, 7], (40, 30)).astype(np.uint8)
    assert set(np.unique(resize_label(label, 16, 16))) <= {0, 2, 7}
