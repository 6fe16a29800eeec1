"""`Gallery`: pictures of cases for the report, without which it is made of numbers alone."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.files import write_bytes

GALLERY_FILE = "gallery.npz"
MOST_CASES = 120
"""Cases of a test set of which pictures are kept."""
MOST_PLANES = 600
"""Planes of volumes of a test set to scroll through, about: of longer volumes not every plane."""
Label = NDArray[np.uint8]
Run = tuple[str, str]
"""Method and seed."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a volume to scroll through: as `GalleryCase`, `number` counted from 1."""

    number: int
    image: NDArray[np.uint8]
    truth: Label
    labels: Mapping[Run, Label] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GalleryCase:
    """One case to look at, at one resolution; of a volume its fullest plane.

    Args:
        name: The case, as in the scores.
        image: Pixels (H, W, C), C 1 or 3, in bytes.
        truth: Class indices (H, W); 0 is the background.
        note: What else to say of the picture, such as the plane of a volume.
        aspect: Height of the source over its width.
        labels: Prediction (H, W) of every run that has one.
        cams: Activation map (h, w), 0 to 255, of every run that has one.
        planes: The planes of a volume to scroll through, that of `image` among them.
    """

    name: str
    image: NDArray[np.uint8]
    truth: Label
    note: str = ""
    aspect: float = 1.0
    labels: Mapping[Run, Label] = field(default_factory=dict)
    cams: Mapping[Run, NDArray[np.uint8]] = field(default_factory=dict)
    planes: tuple[Plane, ...] = ()

    @property
    def shown_planes(self) -> tuple[Plane, ...]:
        """Return the planes of a volume; of a plain image, the image as the only one."""
        return self.planes or (Plane(0, self.image, self.truth, self.labels),)


@dataclass(frozen=True, eq=False)
class GalleryPart:
    """The cases of one test set under the networks of one training set.

    `classes` names the foreground: label k is ``classes[k - 1]``; `colours` (#RRGGBB) are theirs.
    """

    trained_on: str
    tested_on: str
    classes: tuple[str, ...]
    cases: tuple[GalleryCase, ...]
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """All cases that a report can show."""

    parts: tuple[GalleryPart, ...] = ()

    def write(self, folder: str | Path) -> None:
        """Write pictures into a folder, as the one file ``gallery.npz``."""
        arrays: dict[str, NDArray[np.uint8]] = {}

        def keep(array: NDArray[np.uint8]) -> str:
            """Put an array beside the JSON, which has its name."""
            name = f"{len(arrays):06d}"
            arrays[name] = array
            return name

        def of_runs(found: Mapping[Run, NDArray[np.uint8]]) -> list[Any]:
            return [[*run, array] for run, array in found.items()]

        def of_case(case: GalleryCase) -> dict[str, Any]:
            planes = [[x.number, x.image, x.truth, of_runs(x.labels)] for x in case.planes]
            runs = {"labels": of_runs(case.labels), "cams": of_runs(case.cams)}
            return {**vars(case), **runs, "planes": planes}

        parts = [
            {**vars(part), "cases": [of_case(case) for case in part.cases]} for part in self.parts
        ]
        index = json.dumps(parts, default=keep)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays, index=np.array(index))
        write_bytes(Path(folder) / GALLERY_FILE, buffer.getbuffer())

    @classmethod
    def read(cls, folder: str | Path) -> Gallery | None:
        """Read what `write` wrote into a folder, None where there is none.

        Raises HarmosegError where the file is damaged.
        """
        file = Path(folder) / GALLERY_FILE
        if not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:

                def of_runs(found: Sequence[Sequence[str]]) -> dict[Run, NDArray[np.uint8]]:
                    return {(method, seed): arrays[name] for method, seed, name in found}

                def of_case(case: dict[str, Any]) -> GalleryCase:
                    pictures = {name: arrays[case[name]] for name in ("image", "truth")}
                    runs = {name: of_runs(case[name]) for name in ("labels", "cams")}
                    planes = tuple(
                        Plane(number, arrays[image], arrays[truth], of_runs(labels))
                        for number, image, truth, labels in case.get("planes", ())
                    )
                    return GalleryCase(**{**case, **pictures, **runs, "planes": planes})

                parts = []
                for part in json.loads(str(arrays["index"])):
                    lists = {name: tuple(part[name]) for name in ("classes", "colours")}
                    cases = tuple(map(of_case, part["cases"]))
                    parts.append(GalleryPart(**{**part, **lists, "cases": cases}))
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise HarmosegError(f"{file}: damaged ({error}); score the masks again") from error
        return cls(tuple(parts))

    def part(self, trained_on: str, tested_on: str) -> GalleryPart | None:
        """Return the cases of a test set; None where there are none."""
        wanted = (trained_on, tested_on)
        found = (x for x in self.parts if (x.trained_on, x.tested_on) == wanted and x.cases)
        return next(found, None)

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the foreground classes of all parts, each once."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.classes))


def spread_evenly(count: int) -> list[int]:
    """Return the places of the cases that are shown of `count`: `MOST_CASES` at most, evenly."""
    places = np.linspace(0, count - 1, min(MOST_CASES, count)).round().astype(int)
    return [int(place) for place in places]
