"""Commands that make scores: of a run on a store, and of folders of masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from harmoseg.cli.parsing import Repeated
from harmoseg.errors import HarmosegError
from harmoseg.metrics import Definition, OnEmpty
from harmoseg.store.layout import Split
from harmoseg.store.writing import check_apart_from_sources


def evaluate(
    run: Path,
    store: Path,
    *,
    out: Path | None = None,
    split: Split = "test",
    condition: Repeated = (),
    corruption_seed: int = 0,
    tta: bool = False,
    definition: Definition = "pooled",
    on_empty: OnEmpty = "nan",
    tolerance: float = 2.0,
    thin: bool | None = None,
    calibration_band: float | None = None,
    keep_probabilities: bool = False,
    overwrite: bool = False,
) -> None:
    """Evaluate a run and print the summary.

    Interrupted and called again, it continues where it stopped.

    Args:
        run: The run folder.
        store: The store to test on.
        out: Folder to write; RUN/evaluations/STORE if absent.
        split: Which split to score.
        condition: Corruptions to score beside the clean images: gaussian, gaussian:0.01 (a level),
            gaussian@3 (a severity of 1 to 5).
        corruption_seed: What corruptions are drawn from.
        tta: Average over the image and its mirror images (test-time augmentation).
        definition: Of HD95: the percentile of both directions pooled, or the max of the two.
        on_empty: Distances where prediction or truth is empty: nan leaves them out and counts them,
            diagonal punishes by that of the image, transunet is the rule of published tables.
        tolerance: Of the surface Dice (NSD): in mm where the store knows spacings, else in pixels.
        thin: Measure centreline Dice and the number of connected parts too; as the dataset's card
            says if absent.
        calibration_band: Calibrate within this distance of the truth's boundary only, not over all
            pixels.
        keep_probabilities: Keep probabilities at native resolution, in float16: large.
        overwrite: Replace the folder if it exists.
    """
    from harmoseg.evaluation.case_scores import Measuring
    from harmoseg.evaluation.evaluate import EvaluationOptions
    from harmoseg.evaluation.evaluate import evaluate as evaluate_run
    from harmoseg.evaluation.tables import format_summary

    out = out or run / "evaluations" / store.resolve().name
    check_apart_from_sources(out, store)
    measuring = Measuring(definition, on_empty, tolerance, calibration_band, thin)
    evaluation = evaluate_run(
        run,
        store,
        out,
        conditions=condition,
        options=EvaluationOptions(split, corruption_seed, flips=tta, measuring=measuring),
        keep_probabilities=keep_probabilities,
        overwrite=overwrite,
    )
    print(format_summary(evaluation.summary))
    print(f"wrote {out}")


def score(
    predictions: Sequence[str],
    *,
    truth: str,
    probabilities: Sequence[str] = (),
    gallery: bool = False,
    images: str | None = None,
    out: Path = Path("scores"),
    classes: Sequence[str] = (),
    per_class: bool = False,
    spacing: Sequence[str] = (),
    groups: str | None = None,
    subsets: str | None = None,
    tested_on: str = "",
    unmatched: Literal["error", "skip"] = "error",
    definition: Definition = "pooled",
    on_empty: OnEmpty = "nan",
    tolerance: float = 2.0,
    calibration_band: float | None = None,
    overwrite: bool = False,
) -> None:
    """Score folders of masks, write the table, and print what comes next.

    Interrupted and called again, it continues where it stopped.

    Args:
        predictions: NAME=FOLDER for every method; the same name again for a further training. A
            folder of folders seed0, seed1, ... holds one training in each. A pattern such as
            'data/*_2nd.png' names files. Or one folder alone: one method, or results of nnU-Net.
        truth: Folder, or pattern, of the true masks.
        probabilities: NAME=FOLDER of probability maps (.npy, .npz, NIfTI), for calibration.
        gallery: Keep pictures of cases, which the report then shows.
        images: Folder, or pattern, of the images, for these pictures; black without it.
        out: Folder to write.
        classes: Names of the labels 1, 2, ...; or NAME=LABEL, or NAME=#rrggbb, for each class.
        per_class: Every file holds one class, which its folder or the end of its name says.
        spacing: Pitch in mm along the axes of a mask, or pixel; that of NIfTI files if absent.
        groups: Patients: a CSV file with case and group, or a pattern for the name of a case.
        subsets: Centres: a CSV file with case and subset, or a pattern.
        tested_on: Name of the test set.
        unmatched: Cases without truth or prediction: an error, or left out.
        definition: Of HD95, as in evaluate.
        on_empty: Distances of empty masks, as in evaluate.
        tolerance: Of the surface Dice, in mm or pixels.
        calibration_band: Calibration within this distance of the truth's boundary, as in evaluate.
        overwrite: Replace the scores if they exist.
    """
    from harmoseg.evaluation.case_scores import Measuring
    from harmoseg.evaluation.scoring import score as score_folders

    is_one = len(predictions) == 1 and "=" not in predictions[0]
    score_folders(
        predictions[0] if is_one else parse_folders(predictions),
        truth,
        probabilities=parse_folders(probabilities) or None,
        classes=parse_classes(classes),
        per_class=per_class,
        spacing=_parse_spacing(spacing),
        unmatched=unmatched,
        measuring=Measuring(definition, on_empty, tolerance, calibration_band),
        groups=groups,
        subsets=subsets,
        tested_on=tested_on,
        images=images,
        gallery=gallery,
        out=out,
        overwrite=overwrite,
    )
    print(f"wrote {out}; next: harmoseg compare {out}")


def parse_folders(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read ``NAME=FOLDER`` words; raise HarmosegError for one of another form."""
    folders: dict[str, list[str]] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise HarmosegError(f"{text!r}: expected NAME=FOLDER, for example unet=predictions/a")
        folders.setdefault(name, []).append(folder)
    return folders


def parse_classes(texts: Sequence[str]) -> Any:
    """Return names, or a mapping from names to labels or colours."""
    if not any("=" in text for text in texts):
        return list(texts) or None
    found: dict[str, int | str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        found[name] = int(value) if re.fullmatch(r"\d+", value) else value
    return found


def _parse_spacing(texts: Sequence[str]) -> Any:
    if not texts or list(texts) == ["pixel"]:
        return texts[0] if texts else None
    try:
        return tuple(float(text) for text in texts)
    except ValueError as error:
        raise HarmosegError(
            f"option 'spacing': {' '.join(texts)!r}; expected numbers in mm, or pixel"
        ) from error
