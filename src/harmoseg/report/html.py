"""One self-contained HTML file that says what a study found."""

from __future__ import annotations

import io
import platform
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from harmoseg.metrics import METRICS
from harmoseg.report.figures import difference_plot, training_curves
from harmoseg.report.overlays import choose_cases, overlay_figure
from harmoseg.report.page import Page, PagePicture, PageTable, Section, render
from harmoseg.store.files import make_folder, write_bytes, write_text
from harmoseg.study.compare import Study
from harmoseg.study.tables import (
    HEADLINE,
    Difference,
    Table,
    make_tables,
    paired_differences,
    write_tables,
)

REPORT_FILE = "report.html"


def write_report(study: Study) -> list[Table]:
    """Write the tables, figures and ``report.html`` of a finished study; return the tables."""
    differences = paired_differences(study)
    tables = make_tables(study, differences)
    write_tables(study, tables)
    shown = [PageTable(item.title, item.caption, item.header, item.rows) for item in tables]
    page = Page(
        title=f"{' against '.join(study.methods)} on {next(iter(study.stores))}",
        sentences=[item.sentence() for item in differences if item.metric == HEADLINE],
        warnings=_warnings(study),
        sections=[
            Section("Tables", tables=shown),
            Section("Figures", pictures=_pictures(study, differences)),
        ],
        facts=_facts(study),
    )
    write_text(study.folder / REPORT_FILE, render(page))
    return tables


def _pictures(study: Study, differences: list[Difference]) -> list[PagePicture]:
    figures = [
        (
            "training",
            "Training",
            "Thin lines are seeds, thick lines their mean.",
            training_curves(study),
        )
    ]
    if differences:
        figures.insert(
            0,
            (
                "differences",
                "Differences, case by case",
                "Each dot is one test case that has a value under every run. To the right of 0 the "
                "first method scores higher.",
                difference_plot(study, differences),
            ),
        )
    for number, store in enumerate(study.stores):
        chosen = choose_cases(study, store)
        if chosen:
            # Numbered: the name of a store is free text and not made for a file name.
            figures.append(
                (
                    f"cases-{number}",
                    f"Best, median and worst cases on {store}",
                    f"By mean {HEADLINE} over all methods and seeds. Red, solid: truth; green, "
                    "dashed: prediction.",
                    overlay_figure(study, store, chosen),
                )
            )
    folder = study.folder / "figures"
    make_folder(folder)
    return [
        PagePicture(title, caption, _save(figure, folder / f"{name}.png"))
        for name, title, caption, figure in figures
    ]


def _save(figure: Figure, path: Path) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
    return buffer.getvalue()


def _warnings(study: Study) -> list[str]:
    warnings = []
    if study.seeds < 2:
        warnings.append(
            "One seed: how much training varies is not known, so no interval is available and no "
            "conclusion about a method can be drawn."
        )
    elif study.seeds < 5:
        warnings.append(
            f"{study.seeds} seeds: how much training varies is known only roughly. The intervals "
            "allow for that and are wide for it; more seeds make them narrower."
        )
    if any(
        np.isnan(study.scores(method, store, metric)).any()
        for store in study.stores
        for method in study.methods
        for metric in METRICS
    ):
        warnings.append(
            "Some cases have no defined value: DSC and IoU where neither truth nor prediction "
            "marks anything, SE where the truth marks nothing, SP where it marks everything. A "
            "mean leaves out what is undefined under some run of its method, a paired difference "
            "what is undefined under some run of either method: also a case where one rightly "
            "marks nothing and the other marks something. The tables count the cases left out for "
            f"{HEADLINE}; results.csv has every case."
        )
    return warnings


def _facts(study: Study) -> list[tuple[str, str]]:
    store = next(iter(study.stores.values()))
    experiment = study.runs[0].experiment
    options = experiment.options
    start = "random weights"
    if options.weights is not None:
        start = "ImageNet weights" if options.weights == "imagenet" else Path(options.weights).name
        if experiment.weights_sha256:
            start += f" (sha256 {experiment.weights_sha256[:12]})"
    counts = ", ".join(f"{count} {split}" for split, count in store.info.counts.items())
    return [
        ("Trained on", f"{store.info.card.title}: {counts}; {store.info.card.split_rule}"),
        ("Store", f"{store.info.width} x {store.info.height} px, {store.info.fingerprint[:12]}"),
        ("Encoder", f"{options.encoder}, starting from {start}"),
        (
            "Training",
            f"{options.epochs} epochs, batch {options.batch_size}, SGD {options.learning_rate:g}, "
            f"momentum {options.momentum:g}, weight decay {options.weight_decay:g}, polynomial "
            f"decay {options.decay_power:g}, {options.precision}",
        ),
        ("Weights kept", f"{options.select}; the test split played no part in any choice"),
        ("Seeds", ", ".join(str(seed) for seed in range(study.seeds))),
        (
            "Made with",
            f"harmoseg on PyTorch {torch.__version__}, Python {platform.python_version()}",
        ),
    ]
