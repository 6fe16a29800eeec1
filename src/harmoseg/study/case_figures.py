"""A study's spectral maps and activation maps, from what its runs exhibit, and its data's spectra.

These are the paper's Figs. 2, 3, 8 and 9 for every task of a study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.explain.cam import Explanation
from harmoseg.explain.map_figures import cam_figure, spectral_map_figure
from harmoseg.explain.slices import ShownSlice, choose_slices, power_of_slices, spread_over_sizes
from harmoseg.explain.spectra import change_effects, classes_in, map_correlation, spectral_map
from harmoseg.explain.spectrum_figures import power_share_figure, spatial_spectral_figure
from harmoseg.losses.method import parse_method
from harmoseg.report.figures.overview import NamedFigure
from harmoseg.report.gallery import Gallery, GalleryCase, GalleryPart, Plane
from harmoseg.study.results import Study, StudyRun, StudyTask
from harmoseg.study.sample_predictions import (
    CAM_LAYER,
    Exhibits,
    exhibited_planes,
    exhibited_slices,
)

EXPLAINED = "Spectra and activation"
_ROWS = 4
_COLUMNS = 6
_DATA_CASES = "64"
"""As many slices of the training split stand for the data in Figs. 2 and 3."""


def exhibited_figures(task: StudyTask) -> Iterator[NamedFigure]:
    """Draw the spectra of a task's data, and maps of a few cases of every store it tests on.

    Grad-CAMs are made where they are missing.
    """
    yield from _of_data(task)
    methods = _main_methods(task.methods)
    for store in task.stores:
        found: dict[str, tuple[StudyRun, Exhibits]] = {}
        for method in methods:
            run = next(run for run in task.runs if run.experiment.method == method)
            if (exhibits := run.exhibits(store)) is not None:
                found[method] = run, exhibits
        if found:
            yield from _of_store(task, store, found)


def make_gallery(study: Study, *, explain: bool = False) -> Gallery:
    """Return every exhibited case with every run's prediction, volumes with planes to scroll.

    With `explain` also every run's Grad-CAM, made where it is missing. Raises HarmosegError where
    the exhibits are of other cases than a store has now.
    """
    parts: dict[tuple[str, str], GalleryPart] = {}
    for task in study.tasks:
        for store in task.stores:
            part = _gallery_part(task, store, explain)
            key = part.trained_on, part.tested_on
            # Tasks that leave one centre out each are one test set.
            before = parts[key].cases if key in parts else ()
            parts[key] = replace(part, cases=(*before, *part.cases))
    return Gallery(tuple(parts.values()))


def _gallery_part(task: StudyTask, name: str, explain: bool) -> GalleryPart:
    store = task.stores[name]
    slices = exhibited_slices(store, task.split_of(name))
    planes: dict[str, list[ShownSlice]] = {}
    for item in exhibited_planes(store, task.split_of(name)):
        if item.plane:
            planes.setdefault(item.case, []).append(item)
    found = {}
    cams = {}
    for run in task.runs:
        key = run.experiment.method, str(run.experiment.seed)
        if (exhibits := run.exhibits(name)) is None:
            continue
        if list(dict.fromkeys(exhibits.cases)) != [item.case for item in slices]:
            raise HarmosegError(
                f"{key[0]}, seed {key[1]}: its exhibits are of other cases than {name} has now; "
                "remove the folder exhibits of its run and run the study again"
            )
        found[key] = exhibits
        cams[key] = run.cams(task, name) if explain else {}
    card = store.info.card
    cases = []
    for item in slices:
        scrolled = tuple(
            Plane(plane.plane, plane.image, plane.truth, labels)
            for plane in planes.get(item.case, ())
            # Runs of an older version may lack planes; what one run lacks none can show.
            if (labels := _labels(found, plane)).keys() == found.keys()
        )
        cases.append(
            GalleryCase(
                item.case,
                item.image,
                item.truth,
                f"plane {item.plane}" if item.plane else "",
                item.aspect,
                _labels(found, item),
                {run: maps[item.case] for run, maps in cams.items() if item.case in maps},
                scrolled if len(scrolled) > 1 else (),
            )
        )
    return GalleryPart(
        task.place(task.name),
        task.place(name),
        card.classes[1:],
        tuple(cases),
        tuple(card.colours or ()),
    )


def _labels(
    found: Mapping[tuple[str, str], Exhibits], item: ShownSlice
) -> dict[tuple[str, str], NDArray[np.uint8]]:
    labels = {run: exhibits.label_of(item) for run, exhibits in found.items()}
    return {run: label for run, label in labels.items() if label is not None}


def _of_data(task: StudyTask) -> Iterator[NamedFigure]:
    store = task.stores[task.name]
    shown = [item for item in choose_slices(store, "train", [_DATA_CASES]) if item.truth.any()]
    example = shown[len(shown) // 2]
    edges, effects = change_effects([mask for item in shown for mask in item.masks()])
    yield NamedFigure(
        f"{task.name}-power",
        f"Where images and masks of {task.name} have their power",
        f"Fig. 2 of the paper. {len(shown)} training slices of all sizes of the foreground; "
        "without the zero frequency. Lines: means; shaded: quartiles over slices.",
        power_share_figure(power_of_slices(shown), example),
        EXPLAINED,
    )
    yield NamedFigure(
        f"{task.name}-changes",
        f"Changes of masks of {task.name} in space and spectrum",
        f"Fig. 3 of the paper, in numbers: masks of {len(shown)} training slices, changed in five "
        "ways; 1 - correlation in every octave ring, named with the spatial change, 1 - Dice.",
        spatial_spectral_figure(edges, effects, example.truth == example.largest_class),
        EXPLAINED,
    )


def _of_store(
    task: StudyTask, store: str, found: Mapping[str, tuple[StudyRun, Exhibits]]
) -> Iterator[NamedFigure]:
    data = task.stores[store]
    # Spread over the sizes of the foreground: no result has a say in what is shown.
    slices = [
        item
        for item in exhibited_slices(data, task.split_of(store))
        if all(exhibits.label_of(item) is not None for _, exhibits in found.values())
    ]
    sizes = [np.count_nonzero(item.truth) / item.truth.size for item in slices]
    shown = [slices[i] for i in spread_over_sizes(sizes, _ROWS)]
    if not shown:
        return
    explained = {
        method: _explain(shown, exhibits, run.cams(task, store))
        for method, (run, exhibits) in found.items()
    }
    seeds = sorted({run.experiment.seed for run, _ in found.values()})
    told = (
        f"Predictions of the first finished seed ({', '.join(map(str, seeds))}); cases spread over "
        "the sizes of the foreground, chosen by no score."
    )
    where = f"on {store}" if store == task.name else f"trained on {task.name}, tested on {store}"
    yield NamedFigure(
        f"{task.name}-maps-{store}",
        f"Spectral maps, {where}",
        "Fig. 8 of the paper: log-magnitude of the masks' spectra, zero frequency in the middle, "
        f"and its correlation with that of the truth. {told}",
        spectral_map_figure(shown, explained),
        EXPLAINED,
        is_photo=True,
    )
    yield NamedFigure(
        f"{task.name}-cams-{store}",
        f"Grad-CAM, {where}",
        f"Fig. 9 of the paper: Grad-CAM at the {CAM_LAYER} for the class that the truth has most "
        "of; every map from 0 to its own maximum, so colours say where and not how much. Solid: "
        f"truth; dashed: prediction. {told}",
        cam_figure(shown, explained, data.info.card.classes),
        EXPLAINED,
        is_photo=True,
    )


def _main_methods(methods: Sequence[str]) -> list[str]:
    """Choose as many methods as a page is wide: those that only control others go first."""
    controls = {str(parse_method(method).overlap_control) for method in methods}
    main = [method for method in methods if method not in controls] or list(methods)
    return main[:_COLUMNS]


def _explain(
    shown: Sequence[ShownSlice], exhibits: Exhibits, cams: Mapping[str, NDArray[np.uint8]]
) -> list[Explanation]:
    """Return the explanations of slices, from what a run exhibits of them."""
    found = []
    for item in shown:
        predicted = np.asarray(exhibits.label_of(item))
        found.append(
            Explanation(
                predicted,
                spectral_map(predicted, classes_in(item.truth)),
                map_correlation(predicted, item.truth),
                item.largest_class or 1,
                {CAM_LAYER: np.asarray(cams[item.case] / 255, np.float32)},
            )
        )
    return found
