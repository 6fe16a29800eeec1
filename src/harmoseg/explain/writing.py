"""Explanations as files: the paper's Figs. 2, 3, 8 and 9 with the numbers behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.evaluate import check_fit
from harmoseg.explain.cam import Explanation, explain_slices
from harmoseg.explain.map_figures import cam_figure, spectral_map_figure
from harmoseg.explain.slices import ShownSlice, choose_slices, power_of_slices
from harmoseg.explain.spectra import Effect, PowerShares, change_effects
from harmoseg.explain.spectrum_figures import power_share_figure, spatial_spectral_figure
from harmoseg.files import write_csv
from harmoseg.inference.saved_model import SavedModel
from harmoseg.metrics import confusion_counts, overlap_metric
from harmoseg.report.figures.style import save_figure
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store
from harmoseg.training.run import open_run

POWER_SHARE = "power-share"
SPATIAL_SPECTRAL = "spatial-spectral"
SPECTRAL_MAPS = "spectral-maps"
CAMS = "cams"
_DPI = 200
"""These figures stand alone, for print; those of a report are also for the screen."""


def write_data_explanation(
    store: Path, out: Path, *, split: Split = "train", cases: Sequence[str] = ("64",)
) -> list[Path]:
    """Write Figs. 2 and 3 of a store into a folder, and say which files were written.

    Raises HarmosegError as `choose_slices` does.
    """
    data = open_store(store)
    shown = [item for item in choose_slices(data, split, cases) if item.truth.any()]
    if not shown:
        raise HarmosegError(f"{store}: none of these cases has any foreground; choose others")
    example = shown[len(shown) // 2]
    kinds = power_of_slices(shown)
    edges, effects = change_effects([mask for item in shown for mask in item.masks()])
    name = data.info.card.title
    shares = power_share_figure(kinds, example, title=f"{name}: power of images and masks")
    changes = spatial_spectral_figure(
        edges,
        effects,
        example.truth == example.largest_class,
        title=f"{name}: changes of masks in space and spectrum",
    )
    rings = [f"ring_from_{edge:.5g}" for edge in edges]
    columns = (*_EFFECT_COLUMNS, *rings)
    return [
        *_write(shares, out / POWER_SHARE, _POWER_COLUMNS, _power_rows(kinds)),
        *_write(changes, out / SPATIAL_SPECTRAL, columns, _effect_rows(effects)),
    ]


def write_run_explanation(
    runs: Sequence[Path],
    store: Path,
    out: Path,
    *,
    layers: Sequence[str],
    split: Split = "test",
    cases: Sequence[str] = ("4",),
    target: str | None = None,
) -> list[Path]:
    """Write Figs. 8 and 9 of runs on a store into a folder, and say which files were written.

    A column of Fig. 8 is a run, one of Fig. 9 a run and a layer. `target` names the class whose
    Grad-CAM is drawn; without it that of every case with the most pixels. Everything is computed
    before anything is written.

    Raises HarmosegError where a run or the store cannot be opened, where they do not fit each
    other, for an unknown class, and as `choose_slices` and `grad_cam` do.
    """
    data = open_store(store)
    opened = [open_run(run) for run in runs]
    for model in opened:
        check_fit(model.info, data)
    shown = choose_slices(data, split, cases)
    targets = _targets(data, shown, target)
    names = _run_names(runs, opened)
    explained = {
        name: explain_slices(model.network, model.info.mode, shown, layers=layers, targets=targets)
        for name, model in zip(names, opened, strict=True)
    }
    title = data.info.card.title
    classes = data.info.card.classes
    maps = spectral_map_figure(shown, explained, title=f"{title}: spectral maps")
    cams = cam_figure(shown, explained, classes, title=f"{title}: class activation maps")
    rows = _map_rows(shown, explained, classes)
    return [*_write(maps, out / SPECTRAL_MAPS, _MAP_COLUMNS, rows), *_write(cams, out / CAMS)]


def _targets(data: Store, shown: Sequence[ShownSlice], name: str | None) -> list[int]:
    classes = data.info.card.classes
    if name is None:
        # A case that was asked for by name may hold none: then the first foreground class.
        return [item.largest_class or 1 for item in shown]
    if name not in classes[1:]:
        raise HarmosegError(
            f"{data.path}: no class {name!r}; expected one of {', '.join(classes[1:])}"
        )
    return [classes.index(name)] * len(shown)


def _run_names(runs: Sequence[Path], models: Sequence[SavedModel]) -> list[str]:
    """Name runs by their method, and by seed or folder where that does not tell them apart."""
    for names in (
        [model.info.method for model in models],
        [f"{model.info.method}, seed {model.info.seed}" for model in models],
        [run.resolve().name for run in runs],
    ):
        if len(set(names)) == len(names):
            return names
    raise HarmosegError(
        f"{', '.join(str(run) for run in runs)}: runs of one method, seed and name; give each once"
    )


Row = tuple[Any, ...]
_MAP_COLUMNS = ("run", "case", "class", "log_magnitude_r", "DSC")
_POWER_COLUMNS = (
    "kind",
    "planes",
    "zero_frequency",
    "from_cycles_per_px",
    "share",
    "share_q25",
    "share_q75",
    "cumulative",
)
_EFFECT_COLUMNS = ("change", "px", "masks", "spatial", "all_frequencies", "log_magnitude")


def _map_rows(
    shown: Sequence[ShownSlice],
    explained: Mapping[str, Sequence[Explanation]],
    classes: Sequence[str],
) -> Iterator[Row]:
    for name, parts in explained.items():
        for item, part in zip(shown, parts, strict=True):
            counts = confusion_counts(part.predicted, item.truth, len(classes))
            for value, r in part.correlation.per_class.items():
                yield name, item.name, classes[value], r, overlap_metric("DSC", counts[value])


def _power_rows(kinds: Sequence[PowerShares]) -> Iterator[Row]:
    for kind in kinds:
        if not len(kind.shares):
            continue
        low, high = np.quantile(kind.shares, (0.25, 0.75), axis=0)
        columns = (kind.edges, kind.shares.mean(0), low, high, kind.cumulative.mean(0))
        for values in zip(*columns, strict=True):
            yield kind.kind, len(kind.zero), kind.zero.mean(), *values


def _effect_rows(effects: Sequence[Effect]) -> Iterator[Row]:
    for effect in effects:
        kind, amount = effect.change.kind, effect.change.amount
        values = (effect.spatial, effect.spectrum, effect.magnitude, *effect.rings)
        yield kind, amount, effect.masks, *values


def _write(
    figure: Figure, path: Path, columns: Sequence[str] = (), rows: Iterable[Row] = ()
) -> list[Path]:
    """Write a figure, and the numbers behind it if there are some; return the files."""
    save_figure(figure, path, dpi=_DPI)
    picture, drawing, table = (path.with_name(f"{path.name}.{x}") for x in ("png", "svg", "csv"))
    if not columns:
        return [picture, drawing]
    cells = ([_cell(value) for value in row] for row in rows)
    write_csv(table, columns, (dict(zip(columns, row, strict=True)) for row in cells))
    return [picture, drawing, table]


def _cell(value: Any) -> Any:
    """Return what a CSV file holds of a value: nothing where it is not finite."""
    if isinstance(value, str | int):
        return value
    return float(value) if np.isfinite(value) else None
