"""The data of the case browser: exact label maps, small pictures, refusal of what does not fit."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.report.browser import (
    Shown,
    disagreement,
    encode_labels,
    make_payload,
)
from harmoseg.report.gallery import GalleryCase, Plane


def decoded(text: str, kinds: int) -> list[int]:
    """Read label runs as their description says, a bit at a time."""
    bits, values = "", []
    for byte in base64.b64decode(text):
        bits = f"{byte & 127:07b}" + bits
        if byte < 128:
            values.append(int(bits, 2))
            bits = ""
    return [value % kinds for value in values for _ in range(value // kinds)]


def disc(size: int = 24, radius: float = 7, x: float = 12) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (np.hypot(rows - 12, columns - x) < radius).astype(np.uint8)


def case(**changes: object) -> tuple[str, GalleryCase]:
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return "data", replace(GalleryCase("a", image, disc()), **changes)


@given(st.integers(1, 14), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_labels_come_back_as_they_were(classes, height, width, seed) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes + 1, (height, width), dtype=np.uint8)
    labels[random.random((height, width)) < 0.8] = 0
    assert decoded(encode_labels(labels, classes + 1), classes + 1) == labels.ravel().tolist()


def test_a_mask_of_the_papers_size_is_a_few_hundred_characters() -> None:
    rows, columns = np.mgrid[:224, :224]
    mask = (np.hypot(rows - 100, columns - 120) < 60).astype(np.uint8)
    assert len(encode_labels(mask, 2)) < 2 * (2 * 120) * 4 / 3  # two runs a row, two bytes a run


def test_disagreement_is_the_share_of_marked_pixels() -> None:
    first, second = np.zeros((2, 4, 4), np.uint8)
    assert disagreement([first, second]) == 0
    first[0] = 1
    second[0, :3] = 1
    assert disagreement([first, second, second]) == 25  # one of four
    assert disagreement([first, 2 * first]) == 100  # everywhere another class
    assert disagreement([first, first]) == 0


def test_what_is_missing_and_what_is_undefined_are_told_apart() -> None:
    shown = {(0, "unet", 0): Shown(disc(), None, float("nan")), (0, "unet", 1): Shown(disc())}
    payload = make_payload(["polyp"], [case()], ["unet", "unet+scc"], [0, 1], shown)
    (item,) = payload["cases"]
    assert [run["score"] for run in item["runs"][0]] == [None, None]
    assert item["runs"][1] == [None, None]
    assert item["mean"] is None and item["disagreement"] is None


def test_means_and_disagreement_of_a_case() -> None:
    shown = {
        (0, "unet", 0): Shown(disc(), None, 80.0),
        (0, "unet+scc", 0): Shown(disc(), None, 90.0),
        (0, "unet", 1): Shown(disc(), None, 100.0),
        (0, "unet+scc", 1): Shown(np.zeros_like(disc()), None, None),
    }
    (item,) = make_payload(["polyp"], [case()], ["unet", "unet+scc"], [0, 1], shown)["cases"]
    assert item["mean"] == 90 and item["disagreement"] == 50


def test_the_payload_is_json_and_its_image_is_near_to_the_truth() -> None:
    smooth = np.repeat(np.linspace(0, 255, 24).astype(np.uint8)[:, None, None], 24, 1)
    payload = make_payload(["a"], [case(image=smooth)], ["m"], [0], {})
    payload = json.loads(json.dumps(payload, allow_nan=False))
    (address,) = payload["cases"][0]["image"]
    assert address.startswith("data:image/jpeg;base64,")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
    assert shown.shape == (24, 24)  # grey stays grey
    assert np.abs(shown.astype(int) - smooth[..., 0]).max() <= 4


def test_a_volume_has_all_of_its_planes_and_begins_with_the_fullest() -> None:
    truths = [disc(radius=radius) for radius in (2, 7, 4)]
    image = np.zeros((24, 24, 1), np.uint8)
    planes = tuple(Plane(2 * i + 1, image + i, truth) for i, truth in enumerate(truths))
    shown = {(0, "m", 0): Shown(truths[1], planes=truths)}
    payload = make_payload(["a"], [case(image=image, planes=planes)], ["m"], [0], shown)
    (item,) = payload["cases"]
    assert payload["planes"] and item["planes"] == ["plane 1", "plane 3", "plane 5"]
    assert item["first"] == 1 and len(item["image"]) == 3
    for found in (item["truth"], item["runs"][0][0]["labels"]):
        assert [decoded(text, 2) for text in found] == [t.ravel().tolist() for t in truths]
    with pytest.raises(HarmosegError, match="a prediction of a has 1 planes, expected the 3"):
        make_payload(
            ["a"], [case(image=image, planes=planes)], ["m"], [0], {(0, "m", 0): Shown(disc())}
        )


def test_activation_maps_are_made_small() -> None:
    ramp = np.tile(np.linspace(0, 255, 224).astype(np.uint8), (112, 1))
    payload = make_payload(["a"], [case()], ["m"], [0], {(0, "m", 0): Shown(disc(), ramp)})
    height, width, text = payload["cases"][0]["runs"][0][0]["cam"]
    values = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)
    assert (height, width) == (16, 32)
    assert np.abs(values[0] - np.linspace(0, 255, 224).reshape(32, 7).mean(1)).max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((24, 24), np.uint8)}, r"image of a is uint8 of shape \(24, 24\), exp"),
        ({"image": np.zeros((24, 24, 2), np.uint8)}, r"expected uint8 \(height, width, 1 or 3\)"),
        ({"image": np.zeros((24, 24, 1))}, "image of a is float64"),
        (
            {"truth": np.zeros((24, 23), np.uint8)},
            r"truth of a is .*\(24, 23\).*the image's \(24, ",
        ),
        ({"truth": disc() * 3}, "truth of a holds the label 3, expected 0 to 2"),
    ],
)
def test_a_case_that_does_not_fit_is_refused(changes, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        make_payload(["x", "y"], [case(**changes)], ["m"], [0], {})


@pytest.mark.parametrize(
    ("key", "shown", "message"),
    [
        ((0, "other", 0), Shown(disc()), "case 0, method 'other', seed 0; expected one of 1 cases"),
        ((1, "m", 0), Shown(disc()), "given for case 1"),
        ((0, "m", 7), Shown(disc()), "seed 7; expected .* of the seeds 0"),
        ((0, "m", 0), Shown(disc() * 2), "a prediction of a holds the label 2, expected 0 to 1"),
        ((0, "m", 0), Shown(disc(), np.zeros((3, 3))), "activation map is float64 of shape"),
    ],
)
def test_a_prediction_that_does_not_fit_is_refused(key, shown, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        make_payload(["x"], [case()], ["m"], [0], {key: shown})


def test_names_that_cannot_be_chosen_from_are_refused() -> None:
    for classes, cases, methods, seeds, message in (
        ([], [case()], ["m"], [0], "0 foreground classes found, expected 1 to 255"),
        (["x"], [], ["m"], [0], "no cases found"),
        (["x"], [case()], [], [0], "no methods found"),
        (["x"], [case()], ["m", "m"], [0], "hold one twice"),
    ):
        with pytest.raises(HarmosegError, match=message):
            make_payload(classes, cases, methods, seeds, {})
