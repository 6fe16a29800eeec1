"""Ask every loss of MONAI and segmentation-models-pytorch; write a table of what was found.

    python tools/xray_libraries.py --out results/xray/libraries.csv

A loss is usable as it is, with an adapter (how it is spelled then), beside another loss only, or
not usable, with the reason. Classes that are no loss of a prediction and a mask are among them.
"""

from __future__ import annotations

import argparse
import inspect
import warnings
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from harmoseg.diagnostics.contract import ORDER
from harmoseg.diagnostics.loss_card import LossCard, examine
from harmoseg.diagnostics.probe import Question, phantom_masks
from harmoseg.diagnostics.training_guard import passing_spellings
from harmoseg.errors import HarmosegError
from harmoseg.files import write_csv
from harmoseg.losses.method import parse_loss
from harmoseg.losses.modes import Mode

_LIBRARIES = {
    "monai": "monai.losses",
    "segmentation-models-pytorch": "segmentation_models_pytorch.losses",
}
_SIZE, _COUNT = 64, 3
MODES: tuple[Mode, ...] = ("binary", "multiclass")
_OPTIONS = {
    "LocalNormalizedCrossCorrelationLoss": "(spatial_dims=2)",
    "SSIMLoss": "(spatial_dims=2)",
    "JukeboxLoss": "(spatial_dims=2)",
    "NACLLoss": "(classes={channels},dim=2)",
}
"""What constructors need that no default gives."""


def loss_classes(module: str) -> list[str]:
    """List the classes that a module of losses has to offer, without their aliases."""
    found = import_module(module)
    return [n for n in dir(found) if n[0].isupper() and inspect.isclass(getattr(found, n))]


def look_at(path: str, mode: Mode) -> dict[str, Any]:
    """Return the row of one loss."""
    classes = 2 if mode == "binary" else 4
    masks = phantom_masks(classes, _SIZE, _SIZE, count=_COUNT)
    question = Question(mode, 1 if mode == "binary" else classes, masks, "phantom")
    needed = _OPTIONS.get(path.rpartition(".")[2], "").format(channels=question.channels)
    loss = parse_loss(path + needed)
    try:
        card = examine(loss, question)
    except HarmosegError as error:
        # It cannot be made as it is; another way to call it may make it too.
        spelled = passing_spellings(loss, question)
        use = "with an adapter" if spelled else "not usable"
        return {"use": use, "spelling": "".join(spelled), "why": str(error)}
    return {**_use(card), **_measures(card)}


def _use(card: LossCard) -> dict[str, str]:
    failed = [check for check in card.checks if check.status == "fail"]
    alone = [check for check in failed if check.name in ORDER]
    if card.spellings:
        return {
            "use": "with an adapter",
            "spelling": card.spellings[0],
            "why": card.refusals[0].meaning,
        }
    if card.refusals:
        return {"use": "not usable", "why": card.refusals[0].meaning}
    if alone:
        return {"use": "beside another loss", "why": alone[0].meaning}
    return {"use": "as it is", "why": "; ".join(check.name for check in failed)}


def _measures(card: LossCard) -> dict[str, str]:
    if card.likeness is None or card.spectrum is None:
        return {}
    cosines = card.likeness.cosines
    nearest = max(cosines, key=lambda name: cosines[name])
    return {
        "explained": f"{card.likeness.explained:.2f}",
        "nearest": f"{nearest} {cosines[nearest]:.2f}",
        "below_4_px": f"{card.spectrum.shares[-1]:.2f}",
    }


def main() -> None:
    """Ask every loss in both modes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    columns = (
        "library",
        "loss",
        "mode",
        "use",
        "spelling",
        "explained",
        "nearest",
        "below_4_px",
        "why",
    )
    rows = []
    for library, module in _LIBRARIES.items():
        version = metadata.version(library)
        for name in loss_classes(module):
            for mode in MODES:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = look_at(f"{module}.{name}", mode)
                row = {"library": f"{library} {version}", "loss": name, "mode": mode, **found}
                row["why"] = " ".join(row["why"].split())[:300]
                rows.append({column: row.get(column, "") for column in columns})
                print(*rows[-1].values(), sep=" | ", flush=True)
                write_csv(out, columns, rows)


if __name__ == "__main__":
    main()
