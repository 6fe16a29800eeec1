"""The documentation as a site: built strictly, complete, searchable, readable on a phone."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harmoseg
from harmoseg.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site; a broken link, a missing page or an undocumented argument fails."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # quiet counts no warning
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(
        [*command, "--site-dir", str(out)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_public_name_and_command_can_be_found(site) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {entry["location"] for entry in index["docs"]}
    for name in harmoseg.__all__:
        assert f"reference/api/#harmoseg.{name}" in places
    titles = {entry["title"] for entry in index["docs"]}
    assert {f"harmoseg {name}" for name in COMMANDS} <= titles
    assert {"Exit statuses", "rings", "skeleton-recall"} <= titles


def test_pages_ask_for_nothing_from_elsewhere(site) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"(https?:[^\"]+)", text)
        loaded += re.findall(r"<link[^>]+stylesheet[^>]+href=\"(https?:[^\"]+)", text)

        assert not loaded, (page, loaded)


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Serve the site on this machine alone."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine; apt-get install chromium"
)
def test_pages_fit_desktop_and_phone_and_search_finds(address) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for width in (1400, 390):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.set_default_timeout(60_000)
            for path in (
                "",
                "reference/api/",
                "reference/commands/",
                "explanation/what-losses-see/",
            ):
                page.goto(f"{address}/{path}")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            page.close()
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{address}/")
        page.locator(".md-search__input").fill("HarmonizedLoss")
        page.wait_for_selector("a[href*='harmoseg.HarmonizedLoss']", state="attached")
        browser.close()
