"""Pages of the documentation's site that are made of the code, and files that lie outside of docs/.

A hook of MkDocs (mkdocs.yml). It adds the reference of every public name, of every command and of
every loss card, and whatever a page links to elsewhere in the repository: results, notebooks,
examples. Links are rewritten, so that the same Markdown works on a code host.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import harmoseg
from harmoseg.cli.main import COMMANDS, make_parser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_IN_NAVIGATION = (
    *("CHANGELOG.md", "results/README.md", "results/trained-out/README.md"),
    *(f"examples/{path.name}" for path in sorted(ROOT.glob("examples/*.ipynb"))),
)

API = {
    "Losses": "HarmonizedLoss SpectralCorrelationLoss DeepSupervisionLoss",
    "See through a loss": "xray LossCard",
    "Judge results": "read_scores score Scores compare Comparison plan write_report Gallery",
    "Prepare, train, evaluate": "prepare prepare_folder train evaluate predict load create_model",
    "Studies": "run_study open_study",
    "Spectra": "spectral_correlation ring_correlation make_rings window_weights power_spectrum "
    "log_magnitude",
    "Errors": "HarmosegError",
}


@event_priority(100)  # before the plugin that takes the notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages, then every file of the repository that some page links to."""
    for uri, text in (
        ("reference/api.md", api_page()),
        ("reference/commands.md", commands_page()),
        ("reference/loss-cards.md", cards_page(ROOT / "results" / "xray" / "cards")),
    ):
        files.append(File.generated(config, uri, content=text))
    waiting = [DOCS / file.src_uri for file in files if file.src_uri.endswith(".md")]
    waiting += [ROOT / name for name in _IN_NAVIGATION]
    for path in waiting:  # grows
        for found in [path, *_linked(path)]:
            uri = site_uri(found)
            if files.get_file_from_path(uri) is not None or not found.exists():
                continue  # a link that leads nowhere is reported by MkDocs
            if found.is_dir():
                files.append(File.generated(config, uri, content=_folder_page(found)))
            else:
                outside = File(uri, str(ROOT), config.site_dir, config.use_directory_urls)
                outside.abs_src_path = str(found)
                files.append(outside)
            waiting.append(found)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Rewrite links to files outside of docs/, which lie elsewhere on the site."""
    path = source_path(page.file.src_uri)

    def rewrite(found: re.Match[str]) -> str:
        target = found[2]
        if ":" in target:
            return found[0]
        uri = site_uri((path.parent / target).resolve())
        start = Path(page.file.src_uri).parent
        return found[1] + os.path.relpath(uri, start) + found[3]

    return _LINK.sub(rewrite, markdown)


def site_uri(path: Path) -> str:
    """Return where a file of the repository lies on the site; of a folder, its page."""
    path = path.resolve()
    if path.is_dir():
        path = path / "README.md"
    if path == ROOT / "README.md":
        return "README.md"  # the overview of the documentation stands for it
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()


def source_path(uri: str) -> Path:
    """Return the file of the repository that a page was made of."""
    inside = DOCS / uri
    return inside if inside.exists() or uri.startswith("reference/") else ROOT / uri


def _linked(path: Path) -> Iterator[Path]:
    if path.suffix == ".md" and path.exists():
        for _, target, _ in _LINK.findall(path.read_text(encoding="utf-8")):
            found = (path.parent / target).resolve()
            if ":" not in target and found.is_relative_to(ROOT) and not found.is_relative_to(DOCS):
                yield found / "README.md" if (found / "README.md").exists() else found


def _folder_page(folder: Path) -> str:
    names = sorted(f"- {path.name}{'/' if path.is_dir() else ''}" for path in folder.iterdir())
    return f"# {folder.relative_to(ROOT)}/\n\nA folder of the repository:\n\n" + "\n".join(names)


def api_page() -> str:
    """Return the page with every public name, from its docstring."""
    listed = [name for names in API.values() for name in names.split()]
    missing = set(harmoseg.__all__) ^ set(listed)
    if missing:
        raise ValueError(f"API in {__file__} and harmoseg.__all__ differ in: {sorted(missing)}")
    lines = [
        "# Python API",
        "",
        "Everything that `import harmoseg` offers; no other name is public.",
    ]
    for title, names in API.items():
        lines += ["", f"## {title}", ""]
        lines += [f"::: harmoseg.{name}\n" for name in names.split()]
    return "\n".join(lines)


def commands_page() -> str:
    """Return the page with every command and every option, from the parsers."""
    lines = [
        "# Commands",
        "",
        "Every option has the same name, and the same default, as in Python. `--batch-size` and "
        "`--batch_size` mean the same. [What all have in common](command-line.md).",
    ]
    for name in COMMANDS:
        lines += _command(make_parser(name), f"harmoseg {name}", 2)
    return "\n".join(lines) + "\n"


def _command(parser: Any, title: str, level: int) -> list[str]:
    lines = ["", f"{'#' * level} {title}", "", _cell(parser.description or "")]
    inner: dict[str, Any] = {}
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            inner |= getattr(action, "_name_parser_map", {})
            if action.help != argparse.SUPPRESS and action.dest not in ("help", "subcommand"):
                rows.append(_row(action))
        if rows:
            name = "" if group.title in (None, "options", "positional arguments") else group.title
            lines += ["", *([_cell(name), ""] if name else []), "| option | what it is | default |"]
            lines += ["|---|---|---|", *rows]
    for name, one in inner.items():
        lines += _command(one, f"{title} {name}", level + 1)
    return lines


def _row(action: Any) -> str:
    option = action.option_strings[-1] if action.option_strings else action.dest.upper()
    default = action.default
    empty = default is None or default in ([], "==SUPPRESS==") or not action.option_strings
    told = "" if empty else f"`{getattr(default, 'value', default)}`"
    return f"| `{option.replace('_', '-')}` | {_cell(action.help or '')} | {_cell(told)} |"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def cards_page(folder: Path) -> str:
    """Return one page of all measured loss cards."""
    lines = [
        "# Loss cards",
        "",
        "What `harmoseg xray` found of every named loss, asked on four masks of Kvasir-SEG. "
        "[What losses see](../explanation/what-losses-see.md) says how to read them.",
    ]
    for path in sorted(folder.glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        failed = [check for check in card["checks"] if check["status"] == "fail"]
        likeness, cost = card["likeness"], card["cost"]
        cosines = ", ".join(f"{name} {value:.2f}" for name, value in likeness["cosines"].items())
        lines += ["", f"## {card['name']}", ""]
        if failed:
            lines += ["| failed check | found |", "|---|---|"]
            lines += [f"| {_cell(check['name'])} | {_cell(check['meaning'])} |" for check in failed]
        else:
            lines.append("Every check passed.")
        explained = f"{100 * likeness['explained']:.0f} %"
        lines += [
            "",
            f"- BCE, Dice and squared Dice explain {explained} of its gradient.",
            f"- Cosine of its gradient to that of others: {cosines}.",
            f"- Relative to BCE: time {cost['time']:.1f}, memory {cost['memory']:.1f}.",
        ]
    return "\n".join(lines) + "\n"
