"""The published numbers: cell by cell those of the paper, and what its text makes of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from harmoseg import HarmosegError
from harmoseg.datasets.catalogue import load_card
from harmoseg.losses.method import parse_method
from harmoseg.paper.published import (
    PublishedColumn,
    find_published,
    published_columns,
    read_published,
)
from harmoseg.store.corruptions import parse_corruption

ROOT = Path(__file__).parents[2]
PAPER = ROOT.parent / "shared" / "paper.md"
PAGE = ROOT / "docs" / "explanation" / "published-numbers.md"
TABLES = range(1, 7)
CELLS = list(chain.from_iterable(read_published(table) for table in TABLES))


# -- against the paper itself --------------------------------------------------------------------

METHODS = {
    "UNet": "unet",
    "TransUNet": "transunet",
    "UNet(Ours)": "unet+scc",
    "UNet(ours)": "unet+scc",
    "TransUNet(Ours)": "transunet+scc",
    "TransUNet(ours)": "transunet+scc",
    r"$\lambda=0.1$": "unet+scc:0.1",
    r"$\lambda=0.2$": "unet+scc",
    r"$\lambda=0.3$": "unet+scc:0.3",
    r"$\lambda=0.5$": "unet+scc:0.5",
    r"$\lambda=0.9$": "unet+scc:0.9",
}
OVERLAP = "DSC IOU SE SP"
ORGANS = "DSC Aorta GB KL KR Liver PC SP SM"
# What stands over the columns of each part, with the printed names of their last line.
HEADINGS = [
    (
        1,
        [("Kvasir-SEG", OVERLAP), ("ISIC-18", OVERLAP), ("MoNuSeg", "DSC IOU"), ("BTSeg", OVERLAP)],
    ),
    (2, [("Synapse", ORGANS), ("ACDC", "DSC MYO RL LV")]),
    (2, [("Synapse", ORGANS.replace("DSC", "HD")), ("ACDC", "HD MYO RL LV")]),
    (3, [("ISIC-18 > ISIC-17", OVERLAP), ("Kvasir-SEG > PolypGen", OVERLAP)]),
    (
        4,
        [
            ("ISIC-18", "ECE MCE"),
            ("Kvasir-SEG", "ECE MCE"),
            ("ISIC-18 > ISIC-17", "ECE MCE"),
            ("Kvasir > PolypGen", "ECE MCE"),
        ],
    ),
    (
        5,
        [
            ("Synapse, Gaussian", "DSC HD"),
            ("ACDC, Gaussian", "DSC HD"),
            ("Synapse, Bernoulli", "DSC HD"),
            ("ACDC, Bernoulli", "DSC HD"),
        ],
    ),
    (6, [("ACDC", "DSC HD"), ("Kviser-SEG", "DSC IOU")]),
]
NAMES = {
    "Kvasir-SEG": "kvasir-seg",
    "Kvasir": "kvasir-seg",
    "Kviser-SEG": "kvasir-seg",
    "ISIC-18": "isic-2018",
    "ISIC-17": "isic-2017",
    "MoNuSeg": "monuseg",
    "BTSeg": "btseg",
    "Synapse": "synapse",
    "ACDC": "acdc",
    "PolypGen": "polypgen",
    "Gaussian": "gaussian:0.01",
    "Bernoulli": "bernoulli:0.01",
    "Aorta": "aorta",
    "GB": "gallbladder",
    "KL": "left kidney",
    "KR": "right kidney",
    "Liver": "liver",
    "PC": "pancreas",
    "SP": "spleen",
    "SM": "stomach",
    "MYO": "MYO",
    "RL": "RV",
    "LV": "LV",
}
METRICS = {
    "DSC": "DSC",
    "IOU": "IoU",
    "SE": "SE",
    "SP": "SP",
    "HD": "HD95",
    "ECE": "ECE",
    "MCE": "MCE",
}


def column(heading: str, name: str, part: int) -> PublishedColumn:
    """Read a printed heading; in the parts of Table 2 all but the first column are of a class."""
    data, _, condition = heading.partition(", ")
    trained, _, tested = data.partition(" > ")
    of_class = part in (1, 2) and name not in ("DSC", "HD")
    return PublishedColumn(
        NAMES[trained],
        NAMES[tested or trained],
        NAMES[condition] if condition else "clean",
        NAMES[name] if of_class else "",
        ("DSC", "HD95")[part - 1] if of_class else METRICS[name],
    )


def printed_parts() -> list[list[list[str]]]:
    """Give the tables of the paper as text: a list of parts, each with its lines of values."""
    parts: list[list[list[str]]] = []
    for line in PAPER.read_text(encoding="utf-8").splitlines():
        words = [word.strip() for word in line.split("\t")]
        if words[0] in ("Method", "Backbone"):
            parts.append([])
        elif len(words) > 1 and words[0]:
            parts[-1].append([word for word in words if word])
    return parts


@pytest.mark.skipif(not PAPER.is_file(), reason=f"the paper is not there: ../shared/{PAPER.name}")
def test_every_cell_is_that_of_the_paper_and_bold_where_it_is() -> None:
    expected = []
    for part, ((table, groups), lines) in enumerate(zip(HEADINGS, printed_parts(), strict=True)):
        columns = [
            column(heading, name, part) for heading, names in groups for name in names.split()
        ]
        for method, *values in lines:
            for place, value in zip(columns, values, strict=True):
                text = value.removeprefix("<b>").removesuffix("</b>")
                spelled = METHODS[method.replace(" ", "")]
                expected.append((table, spelled, place, text, text != value))
    found = [(cell.table, cell.method, cell.column, cell.text, cell.bold) for cell in CELLS]
    assert len(expected) == 276 and found == expected


# -- without the paper ---------------------------------------------------------------------------


def test_no_cell_is_missing_or_there_twice() -> None:
    assert Counter(cell.table for cell in CELLS) == {1: 56, 2: 104, 3: 32, 4: 32, 5: 32, 6: 20}
    for table in TABLES:
        methods = 5 if table == 6 else 4
        places = {(cell.method, cell.column) for cell in read_published(table)}
        assert len(places) == methods * len(published_columns(table)) == len(read_published(table))


def test_every_name_is_one_that_harmoseg_knows() -> None:
    for cell in CELLS:
        place = cell.column
        assert cell.method == str(parse_method(cell.method))
        assert load_card(place.trained_on).name == place.trained_on
        classes = load_card(place.tested_on).classes
        assert place.label in ("", *classes[1:])
        if place.condition != "clean":
            assert place.condition == str(parse_corruption(place.condition))
        assert place.metric in set(METRICS.values())
        if place.metric not in ("ECE", "MCE", "HD95") and place.trained_on == place.tested_on:
            assert place.metric in load_card(place.tested_on).metrics


def test_every_number_is_one_that_its_metric_can_have() -> None:
    for cell in CELLS:
        assert re.fullmatch(r"\d{1,2}\.\d\d", cell.text)
        assert 1 < cell.value < 100


def test_a_mean_is_that_of_its_classes() -> None:
    # Every class is rounded to 0.005, and the mean once more.
    odd = []
    for cell in read_published(2):
        if not cell.column.label:
            alike = (cell.column.tested_on, cell.column.metric)
            values = [
                other.value
                for other in read_published(2)
                if other.column.label
                and (other.method, other.column.tested_on, other.column.metric)
                == (cell.method, *alike)
            ]
            assert len(values) == len(load_card(cell.column.tested_on).classes) - 1
            if abs(sum(values) / len(values) - cell.value) > 0.01 + 1e-9:
                odd.append((cell.method, *alike, cell.text, round(sum(values) / len(values), 2)))
    assert odd == [("unet+scc", "acdc", "DSC", "89.69", 89.75)]


def test_bold_marks_the_better_of_a_network_with_and_without_the_term() -> None:
    for cell in CELLS:
        if cell.table == 6:
            rivals = [other.value for other in read_published(6) if other.column == cell.column]
        else:
            network = cell.method.removesuffix("+scc")
            pair = (
                find_published(cell.table, name, cell.column)
                for name in (network, f"{network}+scc")
            )
            rivals = [other.value for other in pair]
        best = min(rivals) if cell.column.lower_is_better else max(rivals)
        assert cell.bold == (cell.value == best), cell


def test_the_sensitivity_table_is_of_the_unet() -> None:
    for place in published_columns(6):
        (elsewhere,) = (
            cell.text
            for cell in CELLS
            if cell.table < 6 and cell.method == "unet+scc" and cell.column == place
        )
        assert find_published(6, "unet+scc", place).text == elsewhere


def test_a_table_that_the_paper_does_not_have_is_refused() -> None:
    with pytest.raises(HarmosegError, match="published table 7: the paper has the tables 1 to 6"):
        read_published(7)
    assert find_published(1, "unet+scc:0.5", published_columns(1)[0]) is None


def test_they_are_read_without_torch() -> None:
    code = "import sys, harmoseg.paper.published as p; p.read_published(1); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- the page about them -------------------------------------------------------------------------


def rows_of_page(header: str) -> list[list[str]]:
    """Give the rows of the page's table with this header."""
    (table,) = re.findall(
        rf"^{re.escape(header)}\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text("utf-8"), re.M
    )
    return [
        [cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]


def value(
    table: int, method: str, tested: str, metric: str, condition: str = "clean", label: str = ""
) -> float:
    (found,) = (
        cell.value
        for cell in read_published(table)
        if (cell.method, cell.column.tested_on, cell.column.metric) == (method, tested, metric)
        and (cell.column.condition, cell.column.label) == (condition, label)
    )
    return found


def test_the_page_says_which_stated_differences_follow_from_the_cells() -> None:
    rows = rows_of_page("| section | table | network | tested on | metric | text | cells |")
    odd = []
    for _, table, network, tested, metric, said, cells in rows:
        place = (tested, metric)
        gap = value(int(table), f"{network}+scc", *place) - value(int(table), network, *place)
        assert cells == f"{gap:+.2f}"
        if cells != said:
            odd.append((network, tested, metric, said))
    assert len(rows) == 22 and odd == [("transunet", "monuseg", "DSC", "+0.58")]


def test_the_page_counts_gains_and_losses() -> None:
    for table, *counts in rows_of_page("| table | unet | transunet |"):
        for network, count in zip(("unet", "transunet"), counts, strict=True):
            gains = []
            for place in published_columns(int(table)):
                term, plain = (
                    find_published(int(table), name, place).value
                    for name in (f"{network}+scc", network)
                )
                gains.append((plain - term) if place.lower_is_better else (term - plain))
            signs = [sum(g > 0 for g in gains), gains.count(0), sum(g < 0 for g in gains)]
            assert count == " / ".join(map(str, signs))


def least_iou(dsc: float) -> float:
    return 100 * (dsc / 100) / (2 - dsc / 100)


def test_the_page_says_which_dsc_and_iou_cannot_be_averages_of_the_same() -> None:
    for trained, tested, dsc, iou, least in rows_of_page(
        "| trained on | tested on | DSC | IoU | least IoU |"
    ):
        table = 1 if trained == tested else 3
        assert float(dsc) == value(table, "unet", tested, "DSC")
        assert float(iou) == value(table, "unet", tested, "IoU")
        assert least == f"{least_iou(float(dsc)):.2f}"
    below, above = [], []
    for cell in CELLS:
        if cell.column.metric == "IoU":
            dsc = value(cell.table, cell.method, cell.column.tested_on, "DSC")
            # To their favour, both may have been rounded.
            odd = cell.value + 0.005 < least_iou(dsc - 0.005)
            (below if odd else above).append((cell.table, cell.method, cell.column.tested_on))
    assert (len(below), len(above)) == (20, 9)
    assert {place[2] for place in below} == {"kvasir-seg", "isic-2018", "btseg", "isic-2017"}
    assert Counter(place[2] for place in above) == {"monuseg": 4, "polypgen": 4, "kvasir-seg": 1}


def test_the_page_says_which_dsc_is_too_high_for_its_sensitivity() -> None:
    odd = []
    for cell in CELLS:
        if cell.column.metric == "SE":
            most = 2 * (cell.value + 0.005) / (1 + (cell.value + 0.005) / 100)
            if value(cell.table, cell.method, cell.column.tested_on, "DSC") - 0.005 > most:
                odd.append((cell.method, cell.column.tested_on))
    assert odd == [
        ("transunet+scc", "btseg"),
        *((method, "isic-2017") for method in ("unet", "transunet", "unet+scc", "transunet+scc")),
    ]


def test_what_else_the_page_says_of_the_tables() -> None:
    methods = ("unet", "transunet", "unet+scc", "transunet+scc")
    for method in methods:
        for metric in ("DSC", "HD95"):
            of_myo, of_rv = (
                value(2, method, "acdc", metric, label=label) for label in ("MYO", "RV")
            )
            assert of_myo > of_rv
            assert metric == "DSC" or 1.8 < of_myo / of_rv < 3.5
    pairs = [(m, c) for m in methods for c in published_columns(4) if c.metric == "ECE"]
    ratios = [
        value(4, method, place.tested_on, "MCE") / find_published(4, method, place).value
        for method, place in pairs
    ]
    assert len(ratios) == 16 and round(min(ratios), 2) >= 1.84 and round(max(ratios), 2) <= 1.96
    noisy = {m: value(5, m, "synapse", "HD95", "gaussian:0.01") for m in methods}
    better = [m for m in methods if noisy[m] < value(2, m, "synapse", "HD95")]
    assert better == ["unet", "transunet", "unet+scc"]
    lost = [
        round(value(2, m, "synapse", "DSC") - value(5, m, "synapse", "DSC", "gaussian:0.01"), 2)
        for m in methods
    ]
    assert (min(lost), max(lost)) == (6.58, 10.89)
