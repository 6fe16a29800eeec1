"""What the values of masks mean, decided over all files of truth and predictions together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harmoseg.datasets.pictures import BLACK, WHITE, Colour
from harmoseg.errors import HarmosegError
from harmoseg.evaluation.mask_files import WHITE_SHADE, FileValues, Reading

_WHITE = (1, 255, 65535)
"""Values of white in masks of black and white."""
_VOID = (255, 65535)
"""Labels that the field gives to pixels that do not count."""
_FEW = 8
"""Masks with more values, and gaps between them, are no label maps but have soft edges."""


@dataclass(frozen=True)
class Declared:
    """The labels that a user named; none where `values` is empty."""

    values: tuple[int, ...] = ()

    @property
    def white(self) -> int | None:
        """Return the label that white stands for, if masks of black and white are possible."""
        if not self.values:
            return 1
        return self.values[0] if len(self.values) == 1 and self.values[0] in _WHITE else None


def settle_reading(
    truths: Sequence[FileValues],
    predictions: Mapping[str, Sequence[FileValues]],
    source: str,
    values: Sequence[int],
) -> Reading:
    """Decide what white and the palettes of masks mean.

    `truths` are the files of the folder `source`; `predictions` are those of every other folder;
    `values` are the labels that the user named, if any. Raises HarmosegError where palettes give
    one value different meanings.
    """
    declared = Declared(tuple(values))
    shades = _settle_palettes({source: truths, **predictions}, declared)
    found = Reading(None, shades)
    files = [*truths, *(file for folder in predictions.values() for file in folder)]
    if declared.white is not None and all(is_two_valued(seen_values(f, found)) for f in files):
        return Reading(declared.white, shades)
    return found


def seen_values(file: FileValues, reading: Reading) -> tuple[int, ...]:
    """Return the labels that a file has as it is read, sorted."""
    values = set(file.values)
    if file.path in reading.shades:
        values = {WHITE_SHADE if file.colour(value) == WHITE else 0 for value in values}
    if reading.white is not None:
        values = {reading.white if value else 0 for value in values}
    return tuple(sorted(values))


def is_two_valued(values: Iterable[int]) -> bool:
    """Return whether values are those of a black-and-white mask, or of a part of one."""
    white = set(values) - {0}
    return len(white) <= 1 and white <= set(_WHITE)


def check_labels(
    truths: Sequence[FileValues],
    predictions: Sequence[FileValues],
    reading: Reading,
    values: Sequence[int],
) -> set[int]:
    """Return the labels of the foreground; raise HarmosegError naming a file with others.

    `values` are the labels that the user named; without them they are those of the truth.
    """
    of_truth = [(file.path, set(seen_values(file, reading)) - {0}) for file in truths]
    of_runs = [(file.path, set(seen_values(file, reading)) - {0}) for file in predictions]
    if values:
        known = set(values)
        for path, labels in _worst_first([*of_truth, *of_runs], set(_WHITE)):
            if strange := labels - known:
                raise HarmosegError(
                    f"{path}: label {min(strange)}, expected {_told(known)}; declare the classes "
                    f"of all labels{_hint(labels, known)}"
                )
        return known
    known = set[int]().union(*(labels for _, labels in of_truth))
    for path, labels in _worst_first(of_runs, known):
        if strange := (labels - known - set(_WHITE)) or (labels - known):
            if is_two_valued(labels) and max(labels) > 1:
                raise _two_meanings(path, max(labels), max(known, default=0))
            raise HarmosegError(
                f"{path}: label {min(strange)}, which no truth has; expected {_told(known)}, or "
                f"name the labels with classes{_hint(labels, known)}"
            )
    _check_void(of_truth, of_runs, known)
    return known


Labelled = Sequence[tuple[Path, set[int]]]


def _worst_first(files: Labelled, known: set[int]) -> Labelled:
    """Put files that are not of black and white first where others are: they spoil the pair."""
    if not (known <= set(_WHITE)):
        return files
    return sorted(files, key=lambda item: is_two_valued(item[1]))


def _check_void(of_truth: Labelled, of_runs: Labelled, known: set[int]) -> None:
    """Raise HarmosegError where labels of the truth may be no classes: soft edges, void pixels."""
    soft = next((path for path, labels in of_truth if _is_soft(labels)), None)
    if soft is not None and all(is_two_valued(labels) for _, labels in of_runs):
        raise HarmosegError(
            f"{soft}: {len(known)} labels with gaps between them{_SOFT}; if these are classes, "
            "name them: --classes NAME=LABEL ..."
        )
    for void in _VOID:
        if void not in known or not (others := known - {void}):
            continue
        beside = [path for path, labels in of_truth if void in labels and len(labels) > 1]
        if not beside:
            path = next(path for path, labels in of_truth if void in labels)
            raise _two_meanings(path, void, max(others))
        if not any(void in labels and len(labels) > 1 for _, labels in of_runs):
            raise HarmosegError(
                f"{beside[0]}: {void} beside {_told(others)}, and no prediction has {void} beside "
                "other labels. If it marks pixels to ignore, write them as 0 in truth and "
                "predictions, as score ignores no pixels; if it is a class, name all labels: "
                f"--classes {' '.join(f'NAME={label}' for label in sorted(known)[:3])}"
            )


def _two_meanings(path: Path, white: int, most: int) -> HarmosegError:
    return HarmosegError(
        f"{path}: 0 and {white} in this file, labels up to {most} in others; write the same labels "
        "in all masks, or name them with classes"
    )


_SOFT = (
    ", as an interpolated mask or one of probabilities does: threshold it to 0 and 1, or 0 and "
    "255, and resample masks with the nearest neighbour"
)


def _is_soft(labels: set[int]) -> bool:
    return len(labels) > _FEW and max(labels) > len(labels)


def _hint(labels: set[int], known: set[int]) -> str:
    """Return advice where the labels of a file look like something else, else nothing."""
    if _is_soft(labels):
        return f". The file holds {len(labels)} values above 0{_SOFT}"
    if known <= set(_WHITE) and not labels <= set(_WHITE):
        if len(labels) == 1:
            return f". If {max(labels)} is white, or a probability, write it as 1 or 255"
        return f". The file holds {', '.join(map(str, sorted(labels)))}{_SOFT}"
    if void := (labels - known) & set(_VOID):
        return (
            f". If {max(void)} marks pixels to ignore, write them as 0 in truth and predictions: "
            "score ignores no pixels"
        )
    return ""


def _told(labels: set[int]) -> str:
    shown = sorted({0, *labels})
    return ", ".join(map(str, shown[:9])) + (f", ... {shown[-1]}" if len(shown) > 9 else "")


@dataclass
class _Palettes:
    """Colours that the palettes of a folder give to the values of its files.

    `contradiction` says where a value has one colour in one file and another in the next;
    `misplaced` where black, which is the background, is not the value 0.
    """

    files: list[FileValues] = field(default_factory=list)
    colours: dict[int, tuple[Colour, FileValues]] = field(default_factory=dict)
    values: dict[Colour, tuple[int, FileValues]] = field(default_factory=dict)
    contradiction: str = ""
    misplaced: str = ""

    def add(self, file: FileValues) -> None:
        self.files.append(file)
        for value in file.values:
            colour = file.colour(value)
            if colour == BLACK and value and not self.misplaced:
                self.misplaced = f"{file.path}: the palette has black at {value}"
            other, first = self.colours.setdefault(value, (colour, file))
            if other != colour:
                self._contradict(
                    f"value {value} is {other} in {first.path} and {colour} in {file.path}"
                )
            self._contradict(_elsewhere(self, colour, value, file))

    def _contradict(self, text: str) -> None:
        self.contradiction = self.contradiction or text

    @property
    def black_and_white(self) -> bool:
        return self.values.keys() <= {BLACK, WHITE}

    @property
    def white(self) -> int | None:
        return self.values[WHITE][0] if WHITE in self.values else None


def _elsewhere(known: _Palettes, colour: Colour, value: int, file: FileValues) -> str:
    """Return where a colour has another value than in a file; a palette may have a colour twice."""
    place, first = known.values.setdefault(colour, (value, file))
    if place == value or file.colour(place) == colour or first.colour(value) == colour:
        return ""
    return f"{colour} is value {place} in {first.path} and {value} in {file.path}"


_CURE = (
    "a value must be one class in all masks: save them with one palette, black first, or as 8-bit "
    "grey PNG of labels"
)


def _settle_palettes(
    folders: Mapping[str, Sequence[FileValues]], declared: Declared
) -> frozenset[Path]:
    """Return the files whose palette, not whose values, says what is white.

    A palette of colours shows labels, and its values are these. One of black and white means what
    is seen, unless its values say the same.
    """
    coloured: list[_Palettes] = []
    two_valued: list[_Palettes] = []
    for files in folders.values():
        found = _Palettes()
        for file in files:
            if file.palette:
                found.add(file)
        if not found.files:
            continue
        if found.black_and_white:
            two_valued.append(found)
            continue
        coloured.append(found)
        if found.contradiction:
            raise HarmosegError(f"palettes of masks differ: {found.contradiction}; {_CURE}")
        if found.misplaced and not declared.values:
            raise HarmosegError(
                f"{found.misplaced}, and 0 is the background; {_CURE}, or name all labels with "
                "classes"
            )
    if not declared.values:
        _check_across(coloured)
    usual = {*(declared.values or _WHITE), *(found.white for found in coloured), None}
    return frozenset(
        file.path
        for found in two_valued
        if found.contradiction or found.misplaced or found.white not in usual
        for file in found.files
    )


def _check_across(coloured: Sequence[_Palettes]) -> None:
    """Raise HarmosegError where two folders have the same colours in another order."""
    for other in coloured[1:]:
        first = coloured[0]
        if other.values.keys() & first.values.keys() - {BLACK}:
            for colour, (value, file) in other.values.items():
                if colour in first.values and (text := _elsewhere(first, colour, value, file)):
                    raise HarmosegError(
                        f"palettes of masks differ: {text}; {_CURE}, or name the labels with "
                        "classes if the values are right"
                    )
