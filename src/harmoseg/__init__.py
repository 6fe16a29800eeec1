"""harmoseg: does a spectral objective make medical image segmentation better?

The losses, the spectral functions and `create_model`; importing them needs torch alone. Every
command is a function too: `prepare`, `prepare_folder`, `train`, `evaluate`, `predict`, `run_study`,
`open_study`; `read_scores` reads a table of scores, `compare` judges it, and `write_report` writes
the result as a page; `xray` looks at a loss without training.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harmoseg.environment import place_caches
from harmoseg.errors import HarmosegError

if TYPE_CHECKING:
    from harmoseg.api import (
        evaluate,
        open_study,
        predict,
        prepare,
        prepare_folder,
        run_study,
        train,
    )
    from harmoseg.diagnostics.loss_card import LossCard, xray
    from harmoseg.evaluation.scoring import score
    from harmoseg.inference.saved_model import load_model as load
    from harmoseg.losses.harmonized import DeepSupervisionLoss, HarmonizedLoss
    from harmoseg.losses.spectral import SpectralCorrelationLoss
    from harmoseg.models.create import create_model
    from harmoseg.report.gallery import Gallery
    from harmoseg.report.html import write_report
    from harmoseg.scores.files import read_scores
    from harmoseg.scores.table import Scores
    from harmoseg.spectrum import (
        log_magnitude,
        make_rings,
        power_spectrum,
        ring_correlation,
        spectral_correlation,
        window_weights,
    )
    from harmoseg.statistics.comparison import Comparison, compare
    from harmoseg.statistics.planning import plan

__version__ = "0.2.0"

place_caches(os.environ)  # before a library that downloads is imported

__all__ = [
    "Comparison",
    "DeepSupervisionLoss",
    "Gallery",
    "HarmonizedLoss",
    "HarmosegError",
    "LossCard",
    "Scores",
    "SpectralCorrelationLoss",
    "compare",
    "create_model",
    "evaluate",
    "load",
    "log_magnitude",
    "make_rings",
    "open_study",
    "plan",
    "power_spectrum",
    "predict",
    "prepare",
    "prepare_folder",
    "read_scores",
    "ring_correlation",
    "run_study",
    "score",
    "spectral_correlation",
    "train",
    "window_weights",
    "write_report",
    "xray",
]

_PLACES = {
    **{
        name: ("api", name)
        for name in (
            *("evaluate", "open_study", "predict", "prepare", "prepare_folder"),
            *("run_study", "train"),
        )
    },
    "Gallery": ("report.gallery", "Gallery"),
    "write_report": ("report.html", "write_report"),
    "Comparison": ("statistics.comparison", "Comparison"),
    "LossCard": ("diagnostics.loss_card", "LossCard"),
    "Scores": ("scores.table", "Scores"),
    "xray": ("diagnostics.loss_card", "xray"),
    "compare": ("statistics.comparison", "compare"),
    "plan": ("statistics.planning", "plan"),
    "score": ("evaluation.scoring", "score"),
    "read_scores": ("scores.files", "read_scores"),
    "create_model": ("models.create", "create_model"),
    "load": ("inference.saved_model", "load_model"),
    "DeepSupervisionLoss": ("losses.harmonized", "DeepSupervisionLoss"),
    "HarmonizedLoss": ("losses.harmonized", "HarmonizedLoss"),
    "SpectralCorrelationLoss": ("losses.spectral", "SpectralCorrelationLoss"),
}
"""The module of every public name that is not of `harmoseg.spectrum`, and its name there."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for.

    Preparing and verifying data, and every --help, so start without waiting for torch.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES.get(name, ("spectrum", name))
    value = getattr(import_module(f"harmoseg.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
