"""The page of a report, as Chromium shows it: quiet, alone, inert, and usable by everybody."""

from __future__ import annotations

import base64
import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from harmoseg.metrics import log_magnitude_correlation
from harmoseg.report.browser import Shown, make_payload
from harmoseg.report.gallery import GalleryCase, Plane
from harmoseg.report.page import (
    Gain,
    Link,
    Opening,
    Page,
    PagePicture,
    PageTable,
    Question,
    Section,
    ShownCase,
    render,
)

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="drives Chromium; pip install playwright"
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine; apt-get install chromium"
)

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'</script><!-- {{ 7 * 7 }}"
SIZE = 32


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a page from a file; at the end it must have said nothing and asked for nothing."""
    said: list[str] = []
    opened = []

    def open_page(page: Page, *, unfolded: bool = True, fragment: str = "", **options: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_text(render(page), encoding="utf-8")
        context = chromium.new_context(**options)
        opened.append(context)
        tab = context.new_page()
        tab.set_default_timeout(60_000)  # on a machine that has other work, too
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        tab.on(
            "request",
            lambda request: (
                said.append(f"asked for {request.url}")
                if request.url.split("#")[0] != path.as_uri()
                and not request.url.startswith("data:")
                else None
            ),
        )
        tab.goto(path.as_uri() + fragment)
        if unfolded and options.get("java_script_enabled", True):
            tab.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
            if page.browser:
                drawn(tab)
        return tab

    yield open_page
    for context in opened:
        context.close()
    assert said == []


def drawn(tab: Any) -> None:
    """Wait until the case that was asked for last is drawn."""
    tab.wait_for_function(
        "() => { const it = document.getElementById('browser').dataset;"
        " return it.asked && it.asked === it.drawn }"
    )


def pixels(tab: Any, panel: str) -> np.ndarray:
    """Read a panel's picture, one pixel for each of the case's."""
    address = tab.locator(f"[data-panel='{panel}'] canvas").evaluate("it => it.toDataURL()")
    data = io.BytesIO(base64.b64decode(address.split(",")[1]))
    picture = np.asarray(Image.open(data).convert("RGB"))
    scale = picture.shape[0] // SIZE
    return picture[scale // 2 :: scale, scale // 2 :: scale].astype(int)


def square(top: int, left: int, side: int, label: int = 1) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[top : top + side, left : left + side] = label
    return mask


def payload(
    *, names: tuple[str, ...] = ("case 1", "case 2", "case 10"), **changes: Any
) -> dict[str, Any]:
    """Two methods, two seeds; the first method misses ever more, the second's seed 1 failed."""
    grey = np.full((SIZE, SIZE, 1), 60, np.uint8)
    cases = [
        ("Polyps", GalleryCase(name, grey, square(8, 8, 12), "plane 2 of 3" if i == 1 else ""))
        for i, name in enumerate(names)
    ]
    cases.append(("Other polyps", GalleryCase("elsewhere", grey, square(2, 2, 4))))
    shown = {}
    for i in range(len(cases)):
        for seed in (0, 1):
            cam = np.full((4, 4), 255, np.uint8)
            labels = square(8, 8 + 2 * i + seed, 12)
            shown[i, "unet", seed] = Shown(labels, cam, 90.0 - 10 * i)
        shown[i, "unet+scc", 0] = Shown(square(8, 8, 12), None, 100.0 if i else None)
    return {**make_payload(["polyp"], cases, ["unet", "unet+scc"], [0, 1], shown), **changes}


def table() -> PageTable:
    rows = [
        ("b", "9.5 [8.0, 11.2]", "none"),
        ("a10", ("78.4 [76.0, 80.1]", True), "<0.001"),
        ("a9", "undefined", "0.03"),
        ("c", "\u22121.0", "1e-5"),
    ]
    return PageTable(
        "Means", "In points.", ("method", "DSC", "p"), rows, [Link("CSV", "means.csv")]
    )


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, format="png")
    return buffer.getvalue()


def picture() -> PagePicture:
    return PagePicture("Training", "Loss against epochs.", png(900, 300), "Falling lines")


def opening(*, lines: int = 4, places: int = 2, cases: int = 3) -> Opening:
    gain = Gain("better", "+8.0 [+0.8, +15.2]", 80.0, 51.0, 100.0, (False, True))
    words = ("open", "worse", "equivalent", "better")
    picture = "data:image/png;base64," + base64.b64encode(png(128, 128)).decode()
    titles = ("Image", "Truth", "unet", "unet+scc")
    shown = [(title, "90.1", picture) for title in titles]
    return Opening(
        "Is a method better than its control in DSC in points, the primary measure?",
        "Of 8 comparisons 2 better, 2 worse, 2 equivalent, 2 open, for these networks.",
        [f"set {i}" for i in range(places)],
        ("worse", "better"),
        "12",
        20.0,
        [
            Question(
                f"unet+rings:{i}@sample",
                "unet+scc:1@sample",
                "overlap term instead",
                [replace(gain, word=words[i % 4])] * places,
            )
            for i in range(lines)
        ],
        "4 further comparisons below: 4 open.",
        [
            ShownCase(why, f"case {i + 1}", "+3.1 points", shown, f"#case=Polyps/case%20{i + 1}")
            for i, why in enumerate(("Typical", "Best gain", "Worst loss")[:cases])
        ],
        "unet+scc against unet on Polyps; green: prediction; red line: truth; seed 0.",
        ["One seed: how much training varies is not known. " * 2] * 3,
        "Trained on Polyps: resnet18, 15 epochs, batch 8, 128 px; harmoseg 0.1.0. 2 methods.",
    )


def full_page() -> Page:
    return Page(
        title="unet against unet+scc on Polyps",
        opening=opening(),
        warnings=["2 seeds: how much training varies is known only roughly.", "Another."],
        sections=[
            Section("Tables", ["Means first."], [table()]),
            Section("Figures", pictures=[picture()]),
        ],
        browser=payload(),
        facts=[("Seeds", "0, 1"), ("Store", "0" * 64)],
    )


def first_column(tab: Any) -> list[str]:
    return tab.locator(".sortable tbody th").all_inner_texts()


def test_one_file_that_asks_for_nothing_and_says_nothing(show) -> None:
    tab = show(full_page())
    for control in ("#pick-method", "#pick-seed"):
        tab.select_option(control, "1")
        drawn(tab)
    tab.check("#pick-compare")
    for view in ("prediction", "error", "spectrum", "cam"):
        tab.select_option("#pick-view", view)
        drawn(tab)


def test_a_table_is_sorted_by_its_numbers_with_the_mouse(show) -> None:
    tab = show(full_page())
    header, button = tab.locator(".sortable thead th").nth(1), tab.get_by_role("button", name="DSC")
    assert header.get_attribute("aria-sort") is None
    button.click()
    assert first_column(tab) == ["c", "b", "a10", "a9"]  # undefined last
    assert header.get_attribute("aria-sort") == "ascending"
    assert tab.locator("#announcer").inner_text() == "sorted by DSC, ascending"
    button.click()
    assert first_column(tab) == ["a10", "b", "c", "a9"]  # and last again
    assert header.get_attribute("aria-sort") == "descending"
    button.click()
    assert first_column(tab) == ["b", "a10", "a9", "c"]
    assert header.get_attribute("aria-sort") is None


def test_a_table_is_sorted_with_the_keyboard(show) -> None:
    tab = show(full_page())
    tab.get_by_role("button", name="method").focus()
    tab.keyboard.press("Enter")
    assert first_column(tab) == ["a9", "a10", "b", "c"]
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    assert first_column(tab) == ["c", "a10", "a9", "b"]
    assert tab.locator("[aria-sort]").all_inner_texts() == ["p"]
    assert tab.locator(".sortable tbody strong").inner_text() == "78.4 [76.0, 80.1]"


def test_columns_that_are_not_all_numbers_are_text(show) -> None:
    tab = show(full_page())
    order = "([texts, down]) => Sorting.order(texts, down)"
    assert tab.evaluate(order, [["10 mm", "9 mm", "all"], False]) == [1, 0, 2]
    assert tab.evaluate(order, [["3d", "2.5d", "11d"], False]) == [1, 0, 2]
    assert tab.evaluate(order, [["+0.5", "-1.25 [-2, 3]", "", "none (one seed)"], True]) == [
        0,
        1,
        2,
        3,
    ]
    assert tab.evaluate(order, [["1", "1", "1"], True]) == [0, 1, 2]  # equals keep their order


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 3), (7, 13), (15, 16), (32, 32), (97, 50), (224, 224)]
)
def test_spectra_are_those_of_numpy(show, shape) -> None:
    tab = show(replace(full_page(), browser=None))
    mask = np.random.default_rng(1).random(shape) < 0.4
    mask[: shape[0] // 3] = 0
    found = tab.evaluate(
        "([mask, h, w]) => Array.from(Spectrum.logMagnitude(mask, h, w))",
        [mask.astype(int).ravel().tolist(), *shape],
    )
    expected = np.fft.fftshift(np.log1p(np.abs(np.fft.fft2(mask))))
    np.testing.assert_allclose(np.reshape(found, shape), expected, rtol=0, atol=1e-10)


def test_the_correlation_is_that_of_the_tables(show) -> None:
    tab = show(full_page())
    tab.select_option("#pick-case", "2")
    drawn(tab)
    expected = log_magnitude_correlation(square(8, 12, 12), square(8, 8, 12))
    detail = tab.locator("[data-panel='spectrum'] .detail")
    assert detail.inner_text() == f"r = {expected:.3f}" == "r = 1.000"  # moved, not changed
    correlation = (
        "([a, b]) => Spectrum.correlation(...[a, b].map((it) => Spectrum.logMagnitude(it, 32, 32)))"
    )
    masks = [square(5, 5, 9), square(8, 8, 12)]
    found = tab.evaluate(correlation, [mask.ravel().tolist() for mask in masks])
    assert found == pytest.approx(log_magnitude_correlation(*masks), abs=1e-10)
    assert tab.evaluate(correlation, [[0] * SIZE**2, masks[1].ravel().tolist()]) is None


def test_case_method_and_seed_are_chosen(show) -> None:
    tab = show(full_page())
    status = tab.locator("#status")
    assert status.inner_text() == "case 1 (1 of 3) \u00b7 unet, seed 0: DSC 90.0"
    tab.select_option("#pick-case", label="case 2")
    drawn(tab)
    assert (
        status.inner_text() == "case 2 (2 of 3) \u00b7 plane 2 of 3 \u00b7 unet, seed 0: DSC 80.0"
    )
    tab.select_option("#pick-method", label="unet+scc")
    drawn(tab)
    assert status.inner_text().endswith("unet+scc, seed 0: DSC 100.0")
    tab.select_option("#pick-seed", label="1")
    drawn(tab)
    assert status.inner_text().endswith("unet+scc, seed 1: not available")
    panel = tab.locator("[data-panel='prediction']")
    assert panel.locator(".detail").inner_text() == "not available"
    label = panel.locator("canvas").get_attribute("aria-label")
    assert label == "Prediction, unet+scc, case 2, not available"
    tab.select_option("#pick-store", label="Other polyps")
    drawn(tab)
    assert status.inner_text().startswith("elsewhere (1 of 1)")


def test_undefined_scores_are_said(show) -> None:
    tab = show(full_page())
    tab.select_option("#pick-method", label="unet+scc")
    drawn(tab)
    assert tab.locator("#status").inner_text().endswith("unet+scc, seed 0: DSC undefined")


def test_arrow_keys_work_in_the_pictures_alone(show) -> None:
    tab = show(full_page())
    case, method = tab.locator("#pick-case"), tab.locator("#pick-method")
    tab.locator("body").press("ArrowRight")
    assert case.input_value() == "0"
    stage = tab.locator("#stage")
    stage.focus()
    for key, where in (
        ("ArrowRight", ("1", "0")),
        ("ArrowDown", ("1", "1")),
        ("ArrowDown", ("1", "1")),  # the lists have ends
        ("ArrowRight", ("2", "1")),
        ("ArrowRight", ("2", "1")),
        ("ArrowLeft", ("1", "1")),
        ("ArrowUp", ("1", "0")),
        ("Shift+ArrowRight", ("1", "0")),
    ):
        tab.keyboard.press(key)
        assert (case.input_value(), method.input_value()) == where
    drawn(tab)
    assert tab.locator("#status").inner_text().startswith("case 2")
    assert tab.locator("#stage").get_attribute("aria-describedby") == "keys"


def test_buttons_go_to_the_neighbours_and_keep_the_focus(show) -> None:
    tab = show(full_page())
    before, after = tab.locator("#previous"), tab.locator("#next")
    assert before.get_attribute("aria-disabled") == "true"
    for _ in range(3):
        after.press("Enter")
    assert tab.locator("#pick-case").input_value() == "2"
    assert after.get_attribute("aria-disabled") == "true"
    assert tab.evaluate("document.activeElement.id") == "next"
    drawn(tab)


def test_cases_are_found_by_name_and_put_in_order(show) -> None:
    tab = show(full_page())
    listed = lambda: tab.locator("#pick-case option").all_inner_texts()  # noqa: E731
    tab.fill("#pick-filter", "CASE 1")
    assert listed() == ["case 1", "case 10"]
    assert tab.locator("#count").inner_text() == "(2 of 3)"
    tab.fill("#pick-filter", "nothing")
    assert tab.locator("#status").inner_text() == "No case has such a name."
    assert not tab.locator("#stage").is_visible()
    tab.fill("#pick-filter", "")
    drawn(tab)
    assert tab.locator("#stage").is_visible()
    tab.select_option("#pick-order", "lowest")
    assert listed() == ["case 10 (80.0)", "case 2 (86.7)", "case 1 (90.0)"]
    tab.select_option("#pick-order", "highest")
    assert listed()[0] == "case 1 (90.0)"
    tab.select_option("#pick-order", "disagreement")
    # 12 x 12 pixels, moved by 4, by 2, by 0: 2 * 4 of 16 columns, 2 * 2 of 14, none.
    assert listed() == ["case 10 (50 %)", "case 2 (29 %)", "case 1 (0 %)"]
    drawn(tab)
    assert tab.locator("#status").inner_text().startswith("case 10 (1 of 3)")


def test_pictures_show_what_they_should(show) -> None:
    tab = show(full_page())
    tab.select_option("#pick-case", "2")
    tab.locator("#pick-opacity").fill("100")
    drawn(tab)
    truth, prediction = square(8, 8, 12) > 0, square(8, 12, 12) > 0
    inside = np.zeros_like(truth)
    inside[10:18, 10:18] = True
    image, red = pixels(tab, "image"), pixels(tab, "truth")
    assert np.abs(image - 60).max() <= 2
    assert (red[truth] == (255, 42, 42)).all() and np.array_equal(red[~truth], image[~truth])
    green = pixels(tab, "prediction")
    assert (green[prediction & inside] == (43, 232, 43)).all()
    assert np.array_equal(green[:6], image[:6])
    error = pixels(tab, "error")
    assert (error[prediction & ~truth] == (230, 159, 0)).all()
    assert (error[truth & ~prediction] == (86, 180, 233)).all()
    rest = error[truth == prediction]
    assert (rest == rest[0]).all() and (rest[0] < 60).all()  # the image, faded
    detail = tab.locator("[data-panel='error'] .detail").inner_text()
    assert detail == "48 px too much, 48 px missed"
    assert (pixels(tab, "cam") == (252, 253, 191)).all()  # active everywhere


def test_classes_have_colours_and_a_spectrum_each(show) -> None:
    truth, labels = square(8, 8, 12, 1), square(8, 8, 12, 2)
    labels[:, 18:] = 0
    labels[0, 0] = 1
    grey = np.full((SIZE, SIZE, 1), 60, np.uint8)
    classes = [f"class {i}" for i in range(1, 15)]
    browser = make_payload(
        classes,
        [("y", GalleryCase("x", grey, truth))],
        ["m"],
        [0],
        {(0, "m", 0): Shown(labels, labels)},
    )
    tab = show(replace(full_page(), browser=browser))
    tab.locator("#pick-opacity").fill("100")
    drawn(tab)
    assert (pixels(tab, "truth")[truth == 1] == (0, 158, 115)).all()
    assert (pixels(tab, "prediction")[labels == 2] == (240, 228, 66)).all()
    error = pixels(tab, "error")
    assert (error[labels == 2] == (204, 121, 167)).all()
    assert (error[(truth == 1) & (labels == 0)] == (86, 180, 233)).all()
    assert (error[0, 0] == (230, 159, 0)).all()
    assert tab.locator("#legend .entry").count() == 14 + 3 + 2
    assert len(set(browser["colours"])) == 14
    tab.select_option("#pick-class", label="class 2")
    drawn(tab)
    detail = tab.locator("[data-panel='spectrum'] .detail")
    assert detail.inner_text() == "r undefined"  # the truth has nothing of it
    assert tab.locator("#pick-store").is_hidden() and tab.locator("#pick-compare").count() == 0


def test_a_spectrum_is_painted_as_it_was_computed(show) -> None:
    tab = show(full_page())
    spectrum = np.fft.fftshift(np.log1p(np.abs(np.fft.fft2(square(8, 8, 12)))))
    found = pixels(tab, "truth-spectrum")
    brightness = np.asarray(colormaps["magma"](spectrum / spectrum.max()))[..., :3].sum(-1)
    assert np.corrcoef(found.sum(-1).ravel(), brightness.ravel())[0, 1] > 0.999
    assert (found[SIZE // 2, SIZE // 2] == (252, 253, 191)).all()


def test_opacity_and_outlines_change_the_pictures(show) -> None:
    tab = show(full_page())
    tab.locator("#pick-opacity").fill("0")
    drawn(tab)
    image = pixels(tab, "image")
    for panel in ("truth", "prediction", "cam"):
        assert np.array_equal(pixels(tab, panel), image)
    tab.locator("#pick-opacity").focus()
    for _ in range(10):
        tab.keyboard.press("ArrowRight")
    drawn(tab)
    assert tab.locator("#opacity").inner_text() == "(50 %)"
    middle = pixels(tab, "truth")[12, 12]
    np.testing.assert_allclose(middle, (image[12, 12] + (255, 42, 42)) / 2, atol=2)
    tab.select_option("#pick-paint", "line")
    drawn(tab)
    assert np.array_equal(pixels(tab, "truth")[12, 12], image[12, 12])


def test_all_methods_are_compared_side_by_side(show) -> None:
    tab = show(full_page())
    tab.check("#pick-compare")
    drawn(tab)
    assert not tab.locator("#one").is_visible()
    details = tab.locator("#all .panel").all_inner_texts()
    assert [text.split("\n")[0] for text in details] == ["Image", "Truth", "unet", "unet+scc"]
    assert "DSC 90.0" in details[2] and "DSC undefined" in details[3]
    tab.select_option("#pick-seed", "1")
    drawn(tab)
    assert "not available" in tab.locator("#all .panel").all_inner_texts()[3]
    tab.uncheck("#pick-compare")
    drawn(tab)
    assert tab.locator("#one").is_visible() and tab.locator("#pick-view").is_disabled()


def test_names_from_outside_do_nothing(show) -> None:
    browser = payload(names=(HOSTILE,), classes=[HOSTILE], methods=[HOSTILE, "b"])
    browser["cases"][0]["planes"][0] = browser["stores"][0] = HOSTILE
    page = Page(
        title=HOSTILE,
        opening=Opening(
            HOSTILE,
            HOSTILE,
            [HOSTILE],
            (HOSTILE, HOSTILE),
            HOSTILE,
            1.0,
            [Question(HOSTILE, HOSTILE, HOSTILE, [Gain("open", HOSTILE)])],
            HOSTILE,
            [ShownCase(HOSTILE, HOSTILE, HOSTILE)],
            HOSTILE,
            [HOSTILE],
            HOSTILE,
        ),
        warnings=[HOSTILE],
        sections=[
            Section(
                HOSTILE,
                [HOSTILE],
                [PageTable(HOSTILE, HOSTILE, (HOSTILE, "x"), [(HOSTILE, (HOSTILE, True))])],
                [
                    replace(
                        picture(),
                        title=HOSTILE,
                        caption=HOSTILE,
                        alt=HOSTILE,
                        dots={"cases": [HOSTILE], "methods": [], "dots": []},
                    )
                ],
            )
        ],
        browser=browser,
        facts=[(HOSTILE, HOSTILE)],
    )
    tab = show(page)
    tab.check("#pick-compare")
    drawn(tab)
    tab.get_by_role("button", name=HOSTILE).click()
    assert tab.title() == tab.locator("h1").inner_text() == HOSTILE
    assert tab.locator("tbody strong").inner_text() == HOSTILE
    assert tab.locator("#pick-case option").inner_text() == HOSTILE
    assert tab.locator("#status").inner_text().startswith(HOSTILE)
    assert tab.locator("img").count() == 1


def test_a_link_never_leaves_the_folder_by_its_name() -> None:
    assert Link("x", "javascript:alert(1)").address == "./javascript%3Aalert%281%29"
    assert Link("x", "figures/a b.svg").address == "./figures/a%20b.svg"


def test_no_other_script_runs(chromium, tmp_path) -> None:
    path = tmp_path / "report.html"
    evil = "<img src=x onerror='window.evil = 1'><script>window.evil = 1</script>"
    path.write_text(render(full_page()).replace("</main>", evil + "</main>"), encoding="utf-8")
    tab = chromium.new_page()
    tab.goto(path.as_uri() + "#cases")
    drawn(tab)
    assert tab.evaluate("window.evil === undefined")
    tab.close()


def test_a_phone_scrolls_in_one_direction(show) -> None:
    page = replace(full_page(), title="unet+scc:0.5@sample_" * 6)
    tab = show(page, viewport={"width": 360, "height": 740}, color_scheme="dark")
    tab.check("#pick-compare")
    drawn(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    boxes = [panel.bounding_box() for panel in tab.locator("#all .panel").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
    assert boxes[0]["width"] > 140
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"


def test_nothing_moves_when_cases_change(show) -> None:
    tab = show(full_page(), viewport={"width": 1200, "height": 800})
    places = "[...document.querySelectorAll('#one canvas, #made')].map((it) => it.getBoundingClientRect().top + scrollY)"
    before = tab.evaluate(places)
    tab.locator("#stage").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight"):
        tab.keyboard.press(key)
        drawn(tab)
    assert tab.evaluate(places) == before


def test_everything_has_a_name_and_headings_are_in_order(show) -> None:
    tab = show(full_page())
    assert tab.evaluate("[...document.images].every((it) => it.alt)")
    named = (
        "[...document.querySelectorAll('canvas')].every((it) => it.role === 'img' && it.ariaLabel)"
    )
    assert tab.evaluate(named)
    unnamed = (
        "[...document.querySelectorAll('select, input, button')].filter((it) =>"
        " !it.labels.length && !it.ariaLabel && !it.textContent).map((it) => it.id)"
    )
    assert tab.evaluate(unnamed) == []
    levels = tab.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((it) => +it.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map((it) => it.id)")
    assert len(set(ids)) == len(ids)
    for target in tab.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map((it) => it.hash)"
    ):
        assert target[1:] in ids or target.startswith("#case=")
    assert tab.evaluate("document.documentElement.lang") == "en"
    for landmark in ("main", "navigation", "banner"):
        assert tab.get_by_role(landmark).count() == 1


def contrast(first: str, second: str) -> float:
    """Give the contrast ratio of WCAG 2 of two colours ``rgb(r, g, b)``."""

    def luminance(colour: str) -> float:
        values = [int(v) / 255 for v in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(show, scheme) -> None:
    tab = show(full_page(), color_scheme=scheme)
    # Of every element with text of its own: its colour, and the nearest background behind it.
    pairs = tab.evaluate("""() => [...document.querySelectorAll('body *')]
      .filter((it) => !/SCRIPT|STYLE|NOSCRIPT/.test(it.tagName) && !it.disabled
        && [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
      .map((it) => {
        let behind = it;
        while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') {
          behind = behind.parentElement;
        }
        return [it.tagName, getComputedStyle(it).color, getComputedStyle(behind).backgroundColor];
      })""")
    assert len(pairs) > 50
    assert [pair for pair in pairs if contrast(*pair[1:]) < 4.5] == []


def test_the_way_to_the_findings_is_short(show) -> None:
    tab = show(full_page())
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the answer"
    assert tab.locator(".skip").bounding_box()["x"] >= 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"


def test_without_scripts_the_tables_and_figures_are_there(show) -> None:
    tab = show(full_page(), java_script_enabled=False)
    rows = tab.locator(".sortable tbody tr")
    assert rows.count() == 4 and tab.locator("thead button").count() == 0
    assert tab.get_by_text("1 better", exact=False).count() or tab.locator(".answer").is_visible()
    assert not rows.first.is_visible()
    tab.locator("summary", has_text="Tables").click()  # needs no script
    assert rows.first.is_visible()
    # Playwright turns scripts off after parsing, for which <noscript> is too late: read it instead.
    outside = render(full_page()).split("<noscript>")[1:]
    said = " ".join(part.split("</noscript>")[0] for part in outside)
    assert ".scripted { display: none; }" in said and "needs JavaScript" in said


def test_a_page_without_cases_has_no_browser(show) -> None:
    tab = show(replace(full_page(), browser=None))
    assert tab.locator("#cases").count() == 0
    parts = ["Answer", "Tables", "Figures", "What to be wary of", "How it was made"]
    assert tab.locator("nav a").all_inner_texts() == parts
    tab.get_by_role("button", name="DSC").click()
    assert first_column(tab)[0] == "c"


@pytest.mark.parametrize(("lines", "places"), [(9, 1), (9, 2), (6, 6)])
def test_the_first_screen_needs_no_scrolling(show, lines, places) -> None:
    page = replace(full_page(), opening=opening(lines=lines, places=places))
    tab = show(page, unfolded=False, viewport={"width": 1400, "height": 900})
    boxes = {
        name: tab.locator(name).first.bounding_box()
        for name in ("h1", ".question", ".answer", ".gains", ".looked", ".warnings", ".beside")
    }
    assert all(box["y"] + box["height"] <= 900 for box in boxes.values())
    assert tab.evaluate("document.documentElement.scrollWidth") == 1400
    assert tab.locator(".gains tbody tr").count() == lines
    assert tab.locator(".thumbs img").count() == 12
    assert min(img.bounding_box()["width"] for img in tab.locator(".thumbs img").all()) > 90
    assert not tab.locator(".sortable").is_visible()


def test_contents_stay_and_open_what_is_folded(show) -> None:
    tab = show(full_page(), unfolded=False, viewport={"width": 1400, "height": 900})
    tab.get_by_role("link", name="How it was made").click()
    assert tab.locator("#made dl").is_visible()
    assert tab.locator("nav").bounding_box()["y"] == 0
    tab.locator("details", has=tab.locator("#made")).locator("summary").click()
    assert not tab.locator("#made dl").is_visible()
    tab.get_by_role("link", name="How it was made").click()  # its address is there already
    assert tab.locator("#made dl").is_visible()


def test_columns_that_do_not_fit_are_one_click_away(show) -> None:
    header = ["method", *(f"measure {i}" for i in range(12))]
    rows = [[f"m{r}", *(f"{r}.{c} [10.0, 20.0]" for c in range(12))] for r in range(3)]
    wide = PageTable("Wide", "", header, rows, first=(0, 12))
    page = replace(full_page(), sections=[Section("Tables", tables=[wide])])
    for scripts in (True, False):
        tab = show(page, viewport={"width": 1400, "height": 900}, java_script_enabled=scripts)
        if not scripts:
            tab.locator("summary", has_text="Tables").click()
        shown = tab.locator(".sortable thead th:visible").all_inner_texts()
        assert shown[0] == "method" and shown[-1] == "measure 11" and 4 < len(shown) < 9
        box = tab.locator(".scroll").first
        assert box.evaluate("it => it.scrollWidth <= it.clientWidth")
        tab.get_by_label("All 13 columns").check()
        assert tab.locator(".sortable thead th:visible").count() == 13
    assert PageTable("Narrow", "", ["a", "b"], [["1", "2"]]).fits == [True, True]


def test_a_link_opens_its_case(show) -> None:
    tab = show(full_page(), unfolded=False, fragment="#case=Polyps/case%2010/unet%2Bscc/1")
    drawn(tab)
    assert tab.locator("#status").inner_text().startswith("case 10 (3 of 3)")
    assert tab.locator("#status").inner_text().endswith("unet+scc, seed 1: not available")
    link = tab.locator("#case-link").get_attribute("href")
    assert link == "#case=Polyps/case%2010/unet%2Bscc/1"
    tab.locator("a.open-case", has_text="case 2").click()
    drawn(tab)
    assert tab.locator("#status").inner_text().startswith("case 2 (2 of 3)")
    tab.evaluate("location.hash = '#case=Polyps/nothing'")  # of another report: nothing moves
    assert tab.locator("#status").inner_text().startswith("case 2 (2 of 3)")


def test_a_click_on_a_dot_opens_its_case(show) -> None:
    dots = {
        "cases": ["case 1", "case 10"],
        "methods": ["unet+scc"],
        "dots": [[0.25, 0.5, 0, 0], [0.75, 0.5, 1, 0]],
        "place": "Polyps",
        "linked": True,
    }
    page = replace(
        full_page(), sections=[Section("Figures", pictures=[replace(picture(), dots=dots)])]
    )
    tab = show(page, unfolded=False, viewport={"width": 1400, "height": 900})
    tab.locator("summary", has_text="Figures").click()
    image = tab.locator("img[data-dots]")
    box = image.bounding_box()
    place = {"x": 0.75 * box["width"] + 3, "y": 0.5 * box["height"] - 3}
    image.hover(position=place)
    assert tab.locator(".hint").inner_text() == "case 10"
    image.click(position={"x": 0.5 * box["width"], "y": 5})
    assert not tab.locator("#stage").is_visible()  # no dot is near
    image.click(position=place)
    drawn(tab)
    status = tab.locator("#status").inner_text()
    assert status.startswith("case 10 (3 of 3)") and "unet+scc, seed 0" in status


def test_a_volume_scrolls_through_its_planes(show) -> None:
    truths = [square(8, 8, side) for side in (2, 12, 6)]
    grey = np.full((SIZE, SIZE, 1), 60, np.uint8)
    planes = tuple(Plane(i + 4, grey, truth) for i, truth in enumerate(truths))
    case = GalleryCase("volume", grey, truths[1], planes=planes)
    shown = {(0, "unet", 0): Shown(truths[1], planes=truths)}
    browser = make_payload(["polyp"], [("Polyps", case)], ["unet"], [0], shown)
    tab = show(replace(full_page(), browser=browser))
    tab.locator("#pick-opacity").fill("100")

    def marked() -> int:
        drawn(tab)
        return int((pixels(tab, "truth") == (255, 42, 42)).all(-1).sum())

    assert marked() == 144 and tab.locator("#plane").inner_text() == "(2 of 3)"
    assert "plane 5" in tab.locator("#status").inner_text()
    tab.locator("#stage").focus()
    tab.keyboard.press("PageDown")
    assert marked() == 36
    tab.locator("#pick-plane").fill("0")
    assert marked() == 4 and "plane 4" in tab.locator("#status").inner_text()
    assert tab.locator("#case-link").get_attribute("href").endswith("/volume/unet/0/0")


def test_print_unfolds_everything(show) -> None:
    tab = show(full_page(), unfolded=False)
    tab.emulate_media(media="print")
    # As CSS has it, without the script that opens what is folded.
    assert tab.locator(".sortable").is_visible() and tab.locator("#made dl").is_visible()
    assert not tab.locator("nav").is_visible()
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details[open]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing(show, scheme, width) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="brings axe-core")
    viewport = {"width": width, "height": 900}
    tab = show(full_page(), color_scheme=scheme, viewport=viewport, bypass_csp=True)
    found = axe.Axe().run(tab).response["violations"]
    assert [(item["id"], item["nodes"][0]["html"]) for item in found] == []
