"""The data behind the report's case browser: pictures and label maps as small text.

What is made here is read by ``template/browser.js``. Label maps travel as runs of equal labels
instead of pictures: that is no larger than PNG, decoded at once, and exact whatever a browser does
to the colours of a picture.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoseg.colours import distinct_colours
from harmoseg.errors import HarmosegError
from harmoseg.report.gallery import Gallery, GalleryCase
from harmoseg.report.page import picture_address
from harmoseg.statistics.comparison import Comparison

_JPEG_QUALITY = 88
_CAM_SIDE = 32
"""An activation map has no more detail than the features it comes from, which are coarser."""
_MOST_CLASSES = 255
_MOST_SHOWN = 9600
"""Predictions, or planes of them, in the browser of cases: about 8 MB of them at 128 px."""
_MOST_MAPPED = 2400
"""The same where every prediction has an activation map."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Prediction of one run for a case: `labels` (H, W), `cam` (h, w) from 0 to 255, and its score.

    `cam` covers the whole image at a resolution of its own. A score of None (or NaN) is undefined.
    `planes` has the labels of every plane of a volume, in the order of the case's planes.
    """

    labels: NDArray[np.uint8]
    cam: NDArray[np.uint8] | None = None
    score: float | None = None
    planes: Sequence[NDArray[np.uint8]] = ()

    @property
    def shown(self) -> Sequence[NDArray[np.uint8]]:
        """Return the labels of every plane to show."""
        return self.planes or (self.labels,)


def make_payload(
    classes: Sequence[str],
    cases: Sequence[tuple[str, GalleryCase]],
    methods: Sequence[str],
    seeds: Sequence[str],
    shown: Mapping[tuple[int, str, str], Shown],
    *,
    measure: str = "DSC",
    decimals: int = 1,
) -> dict[str, Any]:
    """Turn cases and predictions into what the page embeds: numbers, text, lists and dicts alone.

    `classes` names the foreground: label k is ``classes[k - 1]``, 0 the background. `cases`
    come with the name of their test set. `shown` maps
    (position in `cases`, method, seed) to what that run made of the case; what is missing, as
    after a failed run, is shown as not available. `measure` names the scores, which are printed
    with so many decimals. Maps of spectra are shown where some run has an activation map. Images
    become JPEG, which is close to what the
    network saw and not equal to it; label maps are exact. Raises HarmosegError for shapes, labels
    or keys that do not fit.
    """
    _check_names(classes, cases, methods, seeds)
    places = list(dict.fromkeys(place for place, _ in cases))
    for number, method, seed in shown:
        if not 0 <= number < len(cases) or method not in methods or seed not in seeds:
            raise HarmosegError(
                f"case browser: a prediction is given for case {number}, method {method!r}, seed "
                f"{seed}; expected one of {len(cases)} cases, of {', '.join(methods)} and of the "
                f"seeds {', '.join(map(str, seeds))}"
            )
    return {
        "measure": measure,
        "decimals": decimals,
        "explained": any(item.cam is not None for item in shown.values()),
        "planes": any(len(case.shown_planes) > 1 for _, case in cases),
        "classes": list(classes),
        "colours": distinct_colours(len(classes)),
        "stores": places,
        "methods": list(methods),
        "seeds": list(seeds),
        "cases": [
            {
                "name": case.name,
                "store": places.index(place),
                "planes": [f"plane {plane.number}" for plane in case.planes] or [case.note],
                # The plane with the most foreground.
                "first": int(np.argmax([np.count_nonzero(x.truth) for x in case.shown_planes])),
                "height": case.truth.shape[0],
                "width": case.truth.shape[1],
                **_encoded(
                    case,
                    len(classes),
                    [[shown.get((number, method, seed)) for seed in seeds] for method in methods],
                ),
            }
            for number, (place, case) in enumerate(cases)
        ],
    }


def gather_cases(result: Comparison, gallery: Gallery) -> dict[str, Any] | None:
    """Gather the cases to look at: of every test set as many as fit, evenly, and every run."""
    parts = [
        (block, part)
        for block in result.blocks
        if (part := gallery.part(block.trained_on, block.tested_on)) is not None
    ]
    if not parts:
        return None
    methods = list(result.methods)
    seeds = result.scores.values_of("seed")
    classes = gallery.classes
    total = sum(
        len(case.labels) * len(case.shown_planes) for _, part in parts for case in part.cases
    )
    has_maps = any(case.cams for _, part in parts for case in part.cases)
    share = min(1.0, (_MOST_MAPPED if has_maps else _MOST_SHOWN) / max(1, total))
    cases: list[tuple[str, GalleryCase]] = []
    shown: dict[tuple[int, str, str], Shown] = {}
    for block, part in parts:
        # A label of a dataset becomes the place of its class among those of all datasets.
        table = np.array([0, *(1 + classes.index(name) for name in part.classes)], np.uint8)
        count = max(1, round(share * len(part.cases)))
        chosen = np.linspace(0, len(part.cases) - 1, count).round().astype(int)
        position = {name: i for i, name in enumerate(block.cases)}
        values = {method: block.values(method, result.primary) for method in block.methods}
        for i in chosen:
            case = part.cases[i]
            for (method, seed), label in case.labels.items():
                if seed not in block.seeds.get(method, ()) or case.name not in position:
                    continue
                row = block.seeds[method].index(seed)
                score = float(values[method][row, position[case.name]])
                shown[len(cases), method, seed] = Shown(
                    table[label],
                    case.cams.get((method, seed)),
                    score if np.isfinite(score) else None,
                    [table[plane.labels[method, seed]] for plane in case.planes],
                )
            planes = tuple(replace(plane, truth=table[plane.truth]) for plane in case.planes)
            cases.append((block.place, replace(case, truth=table[case.truth], planes=planes)))
    measure, decimals = result.primary.title, result.primary.decimals
    return make_payload(classes, cases, methods, seeds, shown, measure=measure, decimals=decimals)


def encode_labels(labels: NDArray[np.uint8], kinds: int) -> str:
    """Write labels below `kinds`, row by row, as runs: length * kinds + label, seven bits a byte.

    The lowest bits come first; the highest bit of a byte says that more follow. In base64.
    """
    flat = labels.ravel()
    starts = np.concatenate(([0], np.flatnonzero(np.diff(flat)) + 1))
    lengths = np.diff(np.append(starts, flat.size))
    encoded = bytearray()
    for value in (lengths * kinds + flat[starts]).tolist():
        while value > 127:
            encoded.append(128 | value & 127)
            value >>= 7
        encoded.append(value)
    return _base64(bytes(encoded))


def disagreement(labels: Sequence[NDArray[np.uint8]]) -> float:
    """Return the share of marked pixels on which label maps do not all agree, in percent.

    0 where none marks anything.
    """
    maps = np.stack(labels)
    marked = (maps > 0).any(0)
    split = (maps != maps[0]).any(0)
    return 100.0 * int(split.sum()) / max(1, int(marked.sum()))


def _check_names(
    classes: Sequence[str],
    cases: Sequence[tuple[str, GalleryCase]],
    methods: Sequence[str],
    seeds: Sequence[str],
) -> None:
    for name, values in (("cases", cases), ("methods", methods), ("seeds", seeds)):
        if not values:
            raise HarmosegError(f"case browser: no {name} found, expected one at least")
        if name != "cases" and len(set(values)) < len(values):
            raise HarmosegError(
                f"case browser: {name} {list(values)} hold one twice; name each once"
            )
    if not 0 < len(classes) <= _MOST_CLASSES:
        raise HarmosegError(
            f"case browser: {len(classes)} foreground classes found, expected 1 to {_MOST_CLASSES}"
        )


def _encoded(case: GalleryCase, classes: int, runs: list[list[Shown | None]]) -> dict[str, Any]:
    """Encode the pictures of a case; `runs` holds what was made of it, [method][seed]."""
    expected = case.image.shape[:2]
    planes = case.shown_planes
    for plane in planes:
        image = plane.image
        if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
            raise HarmosegError(
                f"case browser: the image of {case.name} is {image.dtype} of shape "
                f"{image.shape}, expected uint8 (height, width, 1 or 3)"
            )
        _check_labels(f"the truth of {case.name}", plane.truth, expected, classes)
    made = [one for row in runs for one in row if one is not None]
    for one in made:
        if len(one.shown) != len(planes):
            raise HarmosegError(
                f"case browser: a prediction of {case.name} has {len(one.shown)} planes, expected "
                f"the {len(planes)} of the case"
            )
        for labels in one.shown:
            _check_labels(f"a prediction of {case.name}", labels, expected, classes)
    scores = [score for score in (_rounded(one.score) for one in made) if score is not None]
    return {
        # No chroma is left out: a border between tissues may be one of colour alone.
        "image": [
            picture_address(plane.image, "jpeg", quality=_JPEG_QUALITY, subsampling=0)
            for plane in planes
        ],
        "truth": [encode_labels(plane.truth, classes + 1) for plane in planes],
        "mean": _rounded(sum(scores) / len(scores)) if scores else None,
        "disagreement": _mean_disagreement(runs),
        "runs": [
            [
                None
                if one is None
                else {
                    "labels": [encode_labels(labels, classes + 1) for labels in one.shown],
                    "cam": None if one.cam is None else _encoded_cam(one.cam),
                    "score": _rounded(one.score),
                }
                for one in row
            ]
            for row in runs
        ],
    }


def _check_labels(
    what: str, labels: NDArray[np.uint8], shape: tuple[int, ...], classes: int
) -> None:
    if labels.shape != shape or labels.dtype != np.uint8 or not labels.size:
        raise HarmosegError(
            f"case browser: {what} is {labels.dtype} of shape {labels.shape}, expected uint8 of "
            f"the image's {shape}"
        )
    if labels.max() > classes:
        raise HarmosegError(
            f"case browser: {what} holds the label {labels.max()}, expected 0 to {classes}: the "
            "background and the classes named"
        )


def _mean_disagreement(runs: list[list[Shown | None]]) -> float | None:
    """Average `disagreement` of the methods over seeds; None where there is nothing to compare."""
    per_seed = [
        [one.labels for one in column if one is not None] for column in zip(*runs, strict=True)
    ]
    values = [disagreement(labels) for labels in per_seed if len(labels) > 1]
    return _rounded(sum(values) / len(values)) if values else None


def _encoded_cam(cam: NDArray[np.uint8]) -> list[Any]:
    """Return height, width and bytes of an activation map, its longer side `_CAM_SIDE` at most."""
    if cam.ndim != 2 or cam.dtype != np.uint8 or not cam.size:
        raise HarmosegError(
            f"case browser: an activation map is {cam.dtype} of shape {cam.shape}, expected uint8 "
            "(height, width)"
        )
    if max(cam.shape) > _CAM_SIDE:
        height, width = (max(1, round(side * _CAM_SIDE / max(cam.shape))) for side in cam.shape)
        smaller = Image.fromarray(cam).resize((width, height), Image.Resampling.BOX)
        cam = np.asarray(smaller)
    return [*cam.shape, _base64(cam.tobytes())]


def _rounded(value: float | None) -> float | None:
    """Round to what is shown; None stays None, and what is not a number becomes None."""
    return None if value is None or not math.isfinite(value) else round(float(value), 2)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
