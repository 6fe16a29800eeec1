"""How tables are written: the same content in Markdown, LaTeX and CSV, whatever names hold."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess

import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.statistics.printing import Table, to_latex, to_markdown, to_terminal, write_tables
from harmoseg.statistics.tables import difference_table

HOSTILE = r"a_b & 50% of $x^2 #1 {y} ~ \z < > | [q] *"
TABLE = Table(
    "my_table",
    "What_was found",
    "In 100 % of cases.",
    ("method", "A x", "A y", "B x"),
    (("unet", "78.4\n[-1.2, 80.1]", "-3.00", ""), (HOSTILE, "1", "2", "3")),
    levels=(("", "A", "A", "B"), ("method", "x", "y", "x")),
    bold=frozenset({(0, 1), (1, 3)}),
    records=(
        {"method": "unet", "mean": 78.4, "low": None, "bold": True},
        {"method": HOSTILE, "mean": float("nan"), "low": 0.1 + 0.2, "bold": False},
    ),
)


def latex_is_sound(text: str) -> None:
    """Check what makes LaTeX stop: braces, environments, columns, special characters."""
    plain = re.sub(r"\\[\\{}$&#%_]", "", text.replace(r"\\", " ROW "))
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    begun = re.findall(r"\\begin\{(\w+)\}", text)
    assert begun == re.findall(r"\\end\{(\w+)\}", text)[::-1] == ["table", "tabular"]
    lines = text.splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.startswith(r"\begin{tabular}"))
    (end,) = (i for i, line in enumerate(lines) if line.startswith(r"\end{tabular}"))
    columns = len(re.search(r"\{(l+)\}", lines[start])[1])
    for line in lines[start + 1 : end]:
        assert line  # an empty one would begin a row
        if not re.fullmatch(r"\\(top|mid|bottom)rule|(\\cmidrule\(lr\)\{\d+-\d+\})+", line):
            assert line.endswith(r" \\")
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            cells = len(re.findall(r"(?<!\\)&", line)) + 1 - len(spans) + sum(spans)
            assert cells == columns, line
            assert not re.search(r"\\\\\s*[\[*]", line)  # would be read as options of the line end
    for line in lines[1:]:
        assert not re.search(r"(?<!\\)[#~]|(?<!\\)%(?!$)", line), line


def test_markdown_is_aligned_and_bold_where_asked() -> None:
    text = to_markdown(TABLE)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({len(row) for row in rows}) == 1
    assert "| **78.4** [-1.2, 80.1] | -3.00 |" in rows[2] and "| **3** |" in rows[3]
    assert r"> \| [q]" in rows[3]
    assert text.startswith("**What_was found**\n\n") and text.endswith("\n\nIn 100 % of cases.\n")


def test_latex_has_every_cell_and_is_sound() -> None:
    text = to_latex(TABLE)
    latex_is_sound(text)
    assert r"& \multicolumn{2}{c}{A} & \multicolumn{1}{c}{B} \\" in text.replace("&  ", "& ")
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}" in text
    assert r"\shortstack[l]{\textbf{78.4}\\{[}$-$1.2, 80.1]} & $-$3.00 &  \\" in text
    assert (
        r"a\_b \& 50\% of \$x\textasciicircum{}2 \#1 \{y\} \textasciitilde{} \textbackslash{}z "
        r"\textless{} \textgreater{} \textbar{} {[}q] {*}"
    ) in text
    assert r"\textbf{3}" in text and r"\textbf{What\_was found.} In 100 \% of cases." in text
    assert r"\label{tab:my-table}" in text


def test_headings_of_one_name_below_different_ones_stay_apart() -> None:
    levels = (("A", "B"), ("x", "x"), ("1", "2"))
    text = to_latex(Table("t", "T", "", ("A x 1", "B x 2"), (), levels))
    latex_is_sound(text)
    assert text.count(r"\multicolumn{1}{c}{x}") == 2


def test_hyphens_are_not_minus_signs() -> None:
    rows = (("isic-2018", "2017-2018", "-1"),)
    text = to_latex(Table("t", "T", "", ("a", "b", "c"), rows))
    assert r"isic-2018 & 2017-2018 & $-$1 \\" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_compiles(tmp_path) -> None:
    (tmp_path / "t.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
        + to_latex(TABLE)
        + r"\end{document}",
        encoding="utf-8",
    )
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True)  # noqa: S607


def test_csv_has_numbers_or_nothing(tmp_path) -> None:
    write_tables([TABLE], tmp_path / "tables")
    with (tmp_path / "tables" / "my_table.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [
        {"method": "unet", "mean": "78.4", "low": "", "bold": "true"},
        {"method": HOSTILE, "mean": "", "low": "0.30000000000000004", "bold": "false"},
    ]
    assert (tmp_path / "tables" / "my_table.md").read_text("utf-8") == to_markdown(TABLE)
    assert (tmp_path / "tables" / "my_table.tex").read_text("utf-8") == to_latex(TABLE)


def test_a_table_without_records_has_its_text_as_csv(tmp_path) -> None:
    write_tables([Table("t", "T", "", ("a", "b"), (("1", "2"),))], tmp_path)
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,2\n"


def test_a_folder_that_cannot_be_made_is_told(tmp_path) -> None:
    (tmp_path / "tables").touch()
    with pytest.raises(HarmosegError, match="tables: cannot be written"):
        write_tables([TABLE], tmp_path / "tables")


@pytest.mark.parametrize("width", [80, 120, 400])
def test_a_table_for_a_terminal_keeps_the_verdict_and_names_what_is_left_out(made, width) -> None:
    values = {"unet": np.full((2, 6), 80.0), "unet+scc": np.linspace(70, 90, 12).reshape(2, 6)}
    table = difference_table(made.make_comparison(values))
    lines = to_terminal(table, width).splitlines()
    header = lines[2]
    assert "DSC word" in header and "method" in header and " DSC " in header
    if width >= 120:
        assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    left = [name for name in table.header if f" {name} " not in header.replace("|", " ")]
    assert bool(left) == ("Not shown here, but in the report: " in said)
    assert all(name in said for name in left)
