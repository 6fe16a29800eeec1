"""Every kind of damage is found, with its place and its cure; what is sound is left in peace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets import readers, verifying
from harmoseg.datasets.checks import Finding, check_near_copies, finding_of_error
from harmoseg.datasets.scan import cases_of_listing, gather
from harmoseg.datasets.sources import Listing, SourceCase, SourceOptions
from harmoseg.datasets.verifying import (
    Verification,
    as_json,
    describe,
    recognise,
    tell,
    verify,
    verify_listing,
)
from harmoseg.store.card import Card
from harmoseg.store.layout import (
    CASES_FILE,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SLICES_FILE,
)
from harmoseg.store.reading import AGAIN, open_store
from harmoseg.store.tiling import Sample

CARD = Card(
    name="kvasir-seg",
    title="Made",
    modality="made",
    mode="multiclass",
    classes=("background", "organ", "lesion"),
    counts={"train": 3, "test": 2},
)


def image_of(seed: int, depth: int = 1, size: int = 80) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (depth, 20, 20), dtype=np.uint8)
    planes = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in coarse]
    return np.stack([np.asarray(plane) for plane in planes])[..., None]


def sample_of(seed: int, depth: int = 1, **fields) -> Sample:
    label = np.zeros((depth, 80, 80), np.uint8)
    label[:, 10:40, 10 : 41 + seed] = 1
    label[:, 50:60, 50:60] = 2
    return replace(Sample(image_of(seed, depth), label), **fields)


def case_of(name: str, split: str, sample: Sample | Callable[[], Sample], group: str = ""):
    read = sample if callable(sample) else lambda: sample
    return SourceCase(name, group or name, split, "", f"{name}.png", f"{name}_m.png", (), read)  # type: ignore[arg-type]


def listing_of(changed: dict[str, Sample | Callable[[], Sample]] | None = None, **fields):
    names = {"a": "train", "b": "train", "c": "train", "d": "test", "e": "test"}
    samples = {name: sample_of(seed) for seed, name in enumerate(names)} | (changed or {})
    cases = tuple(case_of(name, names[name], samples[name]) for name in names)
    return replace(Listing(CARD, cases), **fields)


def only(verification: Verification, check: str) -> Finding:
    found = [item for item in verification.findings if item.check == check]
    assert len(found) == 1, verification.findings
    return found[0]


def test_sound_data_gives_nothing() -> None:
    result = verify_listing(listing_of(), "made")
    assert result.findings == () and result.status == 0
    assert tell(result).endswith("verified: 0 error(s), 0 warning(s), 0 note(s)")
    assert dict(describe(result))["cases"] == "3 train, 2 test (the card expects 3 train, 2 test)"


@pytest.mark.parametrize(
    ("counts", "severity", "where", "found"),
    [
        ({"train": 4, "test": 2}, "error", "train", "incomplete: 3 train cases, expected 4"),
        ({"train": 2, "test": 2}, "error", "train", "too many: 3 train cases, expected 2"),
        ({"train": 3}, "error", "test", "too many: 2 test cases, expected 0"),
        (
            {"train": 3, "val": 9, "test": 2},
            "warning",
            "val",
            "not in this copy: 0 val cases, expected 9",
        ),
    ],
)
def test_counts_against_the_card(counts, severity, where, found) -> None:
    result = verify_listing(listing_of(card=replace(CARD, counts=counts)), "made")
    item = only(result, "counts")
    assert (item.severity, item.where, item.found) == (severity, (where,), found)
    assert "download" in item.cure
    assert result.status == (severity == "error")


def test_a_card_without_counts_expects_nothing() -> None:
    assert verify_listing(listing_of(card=replace(CARD, counts={})), "made").findings == ()


def test_what_cannot_be_read_is_found_and_the_rest_is_still_checked() -> None:
    def broken() -> Sample:
        raise HarmosegError(
            "/data/x/b.png: image holds NaN or infinite values; repair or remove it"
        )

    changed = {"b": broken, "e": sample_of(0)}
    result = verify_listing(listing_of(changed), "made", root="/data/x")
    item = only(result, "readable")
    assert item.severity == "error" and item.where == ("b",)
    assert item.found == "b.png: image holds NaN or infinite values"
    assert item.cure == "repair or remove it"
    assert only(result, "duplicates across splits").where == ("a", "e")
    assert result.status == 1


def test_image_and_mask_of_different_size() -> None:
    odd = sample_of(1, label=np.ones((1, 70, 80), np.uint8))
    item = only(verify_listing(listing_of({"b": odd}), "made"), "readable")
    assert "image of shape (1, 80, 80), mask b_m.png of shape (1, 70, 80)" in item.found
    assert item.where == ("b",) and "same pixels" in item.cure


def test_label_values_beyond_the_classes() -> None:
    label = sample_of(1).label.copy()
    label[0, 0, :2] = (3, 200)
    item = only(
        verify_listing(listing_of({"b": sample_of(1, label=label)}), "made"), "label values"
    )
    assert item.severity == "error" and item.where == ("b",)
    assert item.found.startswith("value(s) 3, 200") and "map the values" in item.cure


def test_constant_images() -> None:
    flat = sample_of(1, image=np.full((1, 80, 80, 1), 7, np.uint8))
    result = verify_listing(listing_of({"b": flat, "e": flat}), "made")
    found = [item for item in result.findings if item.severity == "error"]
    # Two empty images are not called duplicates on top.
    assert [(item.check, item.where) for item in found] == [
        ("constant image", ("b",)),
        ("constant image", ("e",)),
    ]
    assert "value 7" in found[0].found and found[0].shown == ((1, 0),)


def test_empty_masks_are_noted_with_their_number() -> None:
    empty = np.zeros((1, 80, 80), np.uint8)
    changed = {"a": sample_of(0, label=empty), "d": sample_of(3, label=empty)}
    item = only(verify_listing(listing_of(changed), "made"), "empty masks")
    assert (item.severity, item.where) == ("note", ("a", "d"))
    assert item.found.startswith("2 case(s)")


def test_a_set_without_any_foreground_is_an_error() -> None:
    empty = np.zeros((1, 80, 80), np.uint8)
    changed = {name: sample_of(seed, label=empty) for seed, name in enumerate("abcde")}
    result = verify_listing(listing_of(changed), "made")
    item = only(result, "empty masks")
    assert item.severity == "error" and result.status == 1
    assert item.found == "not one pixel of foreground in 5 mask(s)"


def test_published_parts_against_the_card() -> None:
    listing = listing_of(card=replace(CARD, subset_counts={"C1": 3, "C2": 1, "C3": 9}))
    cases = tuple(
        replace(case, subset="C1" if case.case in "ab" else "C2") for case in listing.cases
    )
    result = verify_listing(replace(listing, cases=cases), "made")
    found = {item.where: item for item in result.findings if item.check == "counts"}
    assert found["C1",].found == "incomplete: 2 C1 cases, expected 3"
    assert found["C2",].found == "too many: 3 C2 cases, expected 1"
    assert found["C3",].severity == "warning" and len(found) == 3


def test_a_class_absent_from_a_split() -> None:
    changed = {
        name: sample_of(seed, label=np.minimum(sample_of(seed).label, 1))
        for name, seed in (("d", 3), ("e", 4))
    }
    item = only(verify_listing(listing_of(changed), "made"), "class shares")
    assert (item.severity, item.where) == ("warning", ("test",))
    assert "lesion" in item.found and "organ" not in item.found


def volume(seed: int, spacing=(5.0, 1.0, 1.0), flips=(1, 1, 1)) -> Sample:
    matrix = np.diag([flips[0] * 1.0, flips[1] * 1.0, flips[2] * 5.0, 1])
    affine = tuple(matrix[:3].ravel())
    return sample_of(seed, depth=2, spacing=spacing, affine=affine)


def test_spacing_missing_impossible_and_far_off() -> None:
    changed = {
        "a": volume(0),
        "b": replace(volume(1), spacing=()),
        "c": volume(2, spacing=(0.005, 0.001, 0.001)),
        "d": volume(3),
        "e": volume(4, spacing=(5.0, -1.0, 1.0)),
    }
    result = verify_listing(listing_of(changed), "made")
    found = {item.where: item for item in result.findings if item.check == "spacing"}
    assert found["b",].severity == "warning" and "1 case(s) without spacing" in found["b",].found
    assert found["c",].severity == "warning"
    assert "0.005 x 0.001 x 0.001 mm, the median is 5 x 1 x 1 mm" in found["c",].found
    assert found["e",].severity == "error" and "positive" in found["e",].cure
    assert len(found) == 3


def test_geometry_that_is_no_number() -> None:
    broken = replace(volume(1, spacing=(float("nan"), 1.0, 1.0)), affine=(float("nan"),) * 12)
    changed = {name: volume(seed) for seed, name in enumerate("abcde")} | {"b": broken}
    result = verify_listing(listing_of(changed), "made")
    assert only(result, "spacing").severity == "error"
    assert only(result, "orientation").where == ("b",)
    assert as_json(result)["cases"][1]["spacing"] == [None, 1.0, 1.0]


def test_volumes_without_any_spacing_are_noted() -> None:
    changed = {name: sample_of(seed, depth=2) for seed, name in enumerate("abcde")}
    item = only(verify_listing(listing_of(changed), "made"), "spacing")
    assert item.severity == "note" and "voxels only" in item.cure


def test_mixed_orientations() -> None:
    changed = {name: volume(seed) for seed, name in enumerate("abcde")}
    changed["d"] = volume(3, flips=(-1, -1, 1))
    result = verify_listing(listing_of(changed), "made")
    item = only(result, "orientation")
    assert (item.severity, item.where) == ("warning", ("d",))
    assert "are LPS, 4 are RAS" in item.found
    assert dict(describe(result))["orientation"] == "RAS 4, LPS 1"


def test_one_patient_on_two_sides() -> None:
    listing = listing_of()
    cases = tuple(
        replace(case, group="P1") if case.case in "ad" else case for case in listing.cases
    )
    item = only(verify_listing(replace(listing, cases=cases), "made"), "one patient on two sides")
    assert (item.severity, item.where) == ("error", ("a", "d"))
    assert item.found == "patient 'P1' has 1 case(s) in train, 1 case(s) in test"
    assert "one side" in item.cure


def test_equal_pixels_within_and_across_splits() -> None:
    other_mask = replace(sample_of(0), label=sample_of(1).label)
    result = verify_listing(listing_of({"b": sample_of(0)}), "made")
    item = only(result, "duplicates within a split")
    assert (item.severity, item.where) == ("warning", ("a", "b")) and result.status == 0
    assert "and so are their masks" in item.found and item.shown == ((0, 0), (1, 0))
    result = verify_listing(listing_of({"e": other_mask}), "made")
    item = only(result, "duplicates across splits")
    assert (item.severity, item.where) == ("error", ("a", "e")) and result.status == 1
    assert "with 2 different masks" in item.found and "keep one of them" in item.cure


def test_equal_pixels_of_two_patients_are_said_to_be_so() -> None:
    listing = listing_of({"b": sample_of(0)})
    groups = {"a": "P1", "b": "P2"}
    cases = tuple(
        replace(case, group=groups.get(case.case, "P3" + case.split)) for case in listing.cases
    )
    result = verify_listing(replace(listing, cases=cases), "made")
    assert "of 2 patients, it is said" in only(result, "duplicates within a split").found


def test_near_copies_across_splits_only() -> None:
    brighter = np.clip(image_of(0) * 0.8 + 30, 0, 255).astype(np.uint8)[:, :, ::-1]
    copy = sample_of(7, image=np.ascontiguousarray(brighter))
    assert verify_listing(listing_of({"b": copy}), "made").findings == ()
    result = verify_listing(listing_of({"e": copy}), "made")
    item = only(result, "near-duplicates across splits")
    assert (item.severity, item.where) == ("warning", ("a", "e")) and result.status == 0
    assert item.shown == ((0, 0), (4, 0)) and "look at the pair" in item.cure
    assert item.found.startswith("a (train) and e (test): ")


def test_volumes_are_reported_as_pairs_of_cases() -> None:
    shifted = np.concatenate([image_of(9, depth=1), image_of(0, depth=3)[:2] // 2 + 60])
    changed = {"a": volume_of(0), "e": sample_of(5, depth=3, image=shifted)}
    item = only(verify_listing(listing_of(changed), "made"), "near-duplicates across splits")
    assert "2 of 3 slices have a copy" in item.found


def volume_of(seed: int) -> Sample:
    return sample_of(seed, depth=3)


def test_the_search_stops_where_everything_is_alike() -> None:
    image = image_of(0)
    changed = {
        name: sample_of(seed, image=np.clip(image.astype(int) + 3 * seed, 0, 255).astype(np.uint8))
        for seed, name in enumerate("abcde")
    }
    gathered = gather(cases_of_listing(listing_of(changed)))
    found = list(check_near_copies(gathered.facts, gathered.fingerprints, most=2))
    assert found[0].found.startswith("2 pairs or more") and len(found) == 3


def test_remarks_of_the_reader_become_notes() -> None:
    item = only(verify_listing(listing_of(remarks=("no val part",)), "made"), "this copy")
    assert (item.severity, item.found) == ("note", "no val part")


def test_facts_of_a_case() -> None:
    facts = gather(cases_of_listing(listing_of({"a": volume(0)}))).facts[0]
    assert facts.shape == (2, 80, 80) and facts.slices == 2 and facts.orientation == "RAS"
    assert facts.pixels == (2 * (6400 - 30 * 31 - 100), 2 * 30 * 31, 200)
    assert facts.low == image_of(0, 2).min() and facts.high == image_of(0, 2).max()


def test_the_text_groups_findings_and_cuts_long_lists() -> None:
    label = np.full((1, 80, 80), 9, np.uint8)
    cases = tuple(case_of(f"case{n:02d}", "train", sample_of(n, label=label)) for n in range(15))
    text = tell(verify_listing(Listing(replace(CARD, counts={}), cases), "made"))
    assert text.count("map the values to classes") == 1
    assert "and 5 more (--json FILE lists all)" in text
    assert text.splitlines()[-1].startswith("verified: 15 error(s)")


def test_json_holds_everything_and_no_pictures() -> None:
    listing = listing_of({"b": sample_of(0)})
    values = json.loads(json.dumps(as_json(verify_listing(listing, "made"))))
    assert (values["schema"], values["errors"], values["warnings"]) == (1, 0, 1)
    assert values["splits"]["train"]["cases"] == 3
    assert sum(values["splits"]["test"]["class_shares"].values()) == pytest.approx(1)
    assert values["findings"][0]["where"] == ["a", "b"] and "shown" not in values["findings"][0]
    assert [case["case"] for case in values["cases"]] == list("abcde")
    assert len(values["cases"][0]["digest"]) == 64


def test_an_error_text_is_cut_into_what_and_cure() -> None:
    item = finding_of_error("/d/x.png: bad; really; replace it", "readable", root="/d/")
    assert (item.found, item.cure) == ("x.png: bad; really", "replace it")
    assert finding_of_error("it is bad", "readable").found == "it is bad"


# What a folder is taken for.


def reader_of(*names: str, title: str = "kvasir-seg") -> Callable[[Path, SourceOptions], Listing]:
    """Make a reader that needs the folders `names` and, unless told otherwise, no file `gap`."""

    def read(source: Path, options: SourceOptions) -> Listing:
        for name in names:
            if not (source / name).exists():
                raise HarmosegError(f"{source}: no {name}; wrong layout")
        if (source / "gap").exists() and not options.allow_missing:
            raise HarmosegError(f"{source}/gap: a case is missing; complete the download")
        if (source / "ruin").exists():
            raise HarmosegError(f"{source}/ruin: patient without mask; remove it")
        counts = CARD.counts if title == "kvasir-seg" else {"test": 99}
        return listing_of(card=replace(CARD, name=title, counts=counts))

    return read


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"kvasir-seg": reader_of("images"), "ph2": reader_of("images", "other", title="ph2")}
    monkeypatch.setattr(readers, "READERS", known)
    monkeypatch.setattr(verifying, "READERS", known)


@pytest.mark.usefixtures("known")
def test_the_dataset_is_recognised(tmp_path) -> None:
    with pytest.raises(HarmosegError, match="not recognised as any of kvasir-seg, ph2.*--dataset"):
        recognise(tmp_path)
    (tmp_path / "images").mkdir()
    assert recognise(tmp_path) == "kvasir-seg"
    (tmp_path / "other").mkdir()  # both list it now, but only one has the number of cases
    assert recognise(tmp_path) == "kvasir-seg"


def test_numbered_pictures_of_anybody_are_not_taken_for_a_dataset(tmp_path) -> None:
    for folder in ("images", "masks"):
        for number in (1, 2, 3):
            write_picture(tmp_path / folder / f"{number}.png", number)
    with pytest.raises(HarmosegError, match="not recognised"):
        recognise(tmp_path)
    for folder in ("images", "masks"):  # as many as ETIS-Larib has, and of its names
        for number in range(4, 197):
            write_picture(tmp_path / folder / f"{number}.png", number)
    assert recognise(tmp_path) == "etis-larib"


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 2, (8, 8), np.uint8) * 255).save(path)


@pytest.mark.usefixtures("known")
def test_two_datasets_that_fit_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(verifying.READERS, "ph2", reader_of("images"))
    (tmp_path / "images").mkdir()
    with pytest.raises(HarmosegError, match="could be kvasir-seg or ph2; pass --dataset"):
        verify(tmp_path)
    assert verify(tmp_path, "ph2").status == 0


@pytest.mark.usefixtures("known")
def test_a_source_that_cannot_be_listed_is_an_error_found(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "ruin").touch()
    result = verify(tmp_path, "kvasir-seg")
    item = only(result, "listing")
    assert (item.severity, item.found) == ("error", "ruin: patient without mask")
    assert item.cure == "remove it" and result.status == 1 and result.facts == ()
    assert "verified: 1 error(s)" in tell(result) and as_json(result)["cases"] == []


@pytest.mark.usefixtures("known")
def test_what_is_wrong_beside_missing_files_is_found_too(tmp_path) -> None:
    for name in ("images", "gap", "ruin"):
        (tmp_path / name).touch()
    found = [item.found for item in verify(tmp_path, "kvasir-seg").findings]
    assert found == ["gap: a case is missing", "ruin: patient without mask"]


@pytest.mark.usefixtures("known")
def test_where_files_are_missing_the_others_are_still_checked(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "gap").touch()
    result = verify(tmp_path)
    assert only(result, "listing").found == "gap: a case is missing" and len(result.facts) == 5


@pytest.mark.parametrize(
    ("path", "dataset", "message"),
    [
        ("absent", None, "absent: no such folder"),
        ("file", None, "file: a file; expected the folder of a store or of a dataset"),
        (".", "kvasir", r"unknown dataset 'kvasir'; did you mean 'kvasir-seg'\? Known: synapse"),
    ],
)
def test_mistakes_in_the_command(tmp_path, path, dataset, message) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HarmosegError, match=message):
        verify(tmp_path / path, dataset)


# Stores.


@pytest.fixture
def store(phantom_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantom_store, tmp_path / "store"))


def test_a_fresh_store_is_sound(store) -> None:
    result = verify(store)
    assert result.of("error") == [] and result.of("warning") == []
    assert result.kind == "store" and result.name == "store" and len(result.facts) == 20
    with pytest.raises(HarmosegError, match="leave --dataset away"):
        verify(store, "kvasir-seg")
    with pytest.raises(HarmosegError, match="leave --split and --fold away"):
        verify(store, options=SourceOptions(split="folds", fold=2))


def test_the_remarks_of_a_store_are_told(store) -> None:
    values = json.loads((store / INFO_FILE).read_text())
    values["provenance"]["remarks"] = ["no val part"]
    (store / INFO_FILE).write_text(json.dumps(values))
    item = only(verify(store), "this copy")
    assert (item.severity, item.found) == ("note", "no val part")


def flip_byte(path: Path, place: int, value: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[place] = data[place] ^ 1 if value is None else value
    path.write_bytes(data)


def test_changed_pixels_of_a_store(store) -> None:
    flip_byte(store / IMAGES_FILE, -1)
    item = only(verify(store), "hashes")
    assert (item.severity, item.where) == ("error", (IMAGES_FILE,))
    assert "prepare the store again" in item.cure


def test_changed_labels_of_a_store(store) -> None:
    flip_byte(store / LABELS_FILE, -1, value=77)
    result = verify(store)
    assert only(result, "hashes").where == (LABELS_FILE,)
    item = only(result, "label values")
    assert item.where == (LABELS_FILE,) and item.found.startswith("value(s) 77")


def test_changed_native_labels(store) -> None:
    file = store / NATIVE_FOLDER / "000003.png"
    with Image.open(file) as picture:
        label = np.array(picture)
    label[0, 0] = 9
    Image.fromarray(label).save(file)
    result = verify(store)
    assert only(result, "hashes").where == (NATIVE_FOLDER,)
    assert only(result, "label values").where == (open_store(store).cases[3].case,)


def test_unreadable_native_labels(store) -> None:
    (store / NATIVE_FOLDER / "000003.png").write_bytes(b"no picture")
    result = verify(store)
    item = only(result, "readable")
    assert item.where == (open_store(store).cases[3].case,)
    assert item.found.startswith("native/000003.png: ") and item.cure == AGAIN


def test_an_edited_table_of_cases(store) -> None:
    table = store / CASES_FILE
    rows = table.read_text().splitlines()
    names = [row.split(",")[0] for row in rows]
    last = rows[-1].split(",")
    last[1] = names[1]  # the last test case now belongs to the first training case's patient
    table.write_text("\n".join([*rows[:-1], ",".join(last)]) + "\n")
    result = verify(store)
    assert only(result, "hashes").where == (CASES_FILE,)
    assert only(result, "one patient on two sides").where == (names[1], names[-1])
    table.write_text("\n".join(rows).replace(",train,", ",val,", 1) + "\n")
    assert only(verify(store), "counts").where == (CASES_FILE,)


def test_a_window_outside_of_its_case(store) -> None:
    table = store / SLICES_FILE
    rows = table.read_text().splitlines()
    fields = rows[1].split(",")
    rows[1] = ",".join([*fields[:2], "5", *fields[3:]])
    table.write_text("\n".join(rows) + "\n")
    result = verify(store)
    item = only(result, "slices")
    assert (item.severity, item.where) == ("error", (fields[0],))
    assert "prepare the store again" in item.cure


def test_a_store_that_does_not_open_is_an_error_found(store) -> None:
    (store / CASES_FILE).unlink()
    result = verify(store)
    item = only(result, "opening")
    assert item.severity == "error" and item.found.startswith("cases.csv: no such file")
    assert item.cure == AGAIN
    assert result.status == 1 and "verified: 1 error(s)" in tell(result)
