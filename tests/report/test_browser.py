"""report.html in a real browser: it opens from disk, silent, with charts and a sortable table."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.report.history import history
from scripts.report.html_page import write_html
from scripts.report.sections import sections
from tests.report.factory import facts_of, usual

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")

SIZES = {"desk": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; as root it starts only without its sandbox."""
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the usual line-up, on disk."""
    file: Path = tmp_path_factory.mktemp("page") / "report.html"
    facts, rows = facts_of(usual()), usual()
    page = write_html(facts, rows, sections(facts, rows, history(rows, None), ""))
    file.write_text(page, encoding="utf-8")
    return file.as_uri()


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """What the system asks for."""
    return str(request.param)


def _opened(browser: Any, address: str, size: str = "desk", scheme: str = "light") -> Any:
    """The page, with `page.faults`: what went to the console or over the network."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(5000)
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("request", lambda sent: page.faults.append(sent.url) if sent.url != address else None)
    page.goto(address)
    return page


@pytest.mark.parametrize("size", SIZES)
def test_it_opens_in_silence_and_fits(browser: Any, address: str, size: str, scheme: str) -> None:
    page = _opened(browser, address, size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    charts = page.get_by_role("img").all()
    assert len(charts) == 4
    for chart in charts:
        assert chart.get_attribute("aria-label")
        (shown,) = [one for one in chart.locator("svg").all() if one.is_visible()]
        box = shown.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 150
    page.wait_for_load_state("networkidle")
    assert page.faults == []
    page.close()


def test_advice_is_seen_without_scrolling(browser: Any, address: str) -> None:
    page = _opened(browser, address)
    for heading in ("Smallest that stays usable", "Fastest", "Closest to FP16"):
        box = page.get_by_role("heading", name=heading, exact=True).bounding_box()
        assert box["y"] + box["height"] < SIZES["desk"][1]
    page.close()


def test_button_turns_light_into_dark_and_back(browser: Any, address: str, scheme: str) -> None:
    page = _opened(browser, address, scheme=scheme)
    button = page.get_by_role("button", name="Dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    chart = "getComputedStyle(document.querySelector('.chart text')).fill"
    before = page.evaluate(paper), page.evaluate(chart)
    assert (button.get_attribute("aria-pressed") == "true") == (scheme == "dark")
    button.click()
    after = page.evaluate(paper), page.evaluate(chart)
    assert not set(before) & set(after)
    button.click()
    assert (page.evaluate(paper), page.evaluate(chart)) == before
    page.close()


def _column(page: Any, place: int) -> list[str]:
    found: list[str] = page.locator(f"#figures tbody tr > :nth-child({place})").all_inner_texts()
    return found


def test_table_sorts_by_mouse(browser: Any, address: str) -> None:
    page = _opened(browser, address)
    head = page.get_by_role("columnheader", name="size MB", exact=True)
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    sizes = [float(text) for text in _column(page, 4)]
    assert sizes == sorted(sizes)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in _column(page, 4)] == sizes[::-1]
    assert page.get_by_role("status").inner_text() == "Sorted by size MB, descending"
    page.close()


def test_first_click_sorts_the_best_first(browser: Any, address: str) -> None:
    page = _opened(browser, address)
    head = page.locator("#figures").get_by_role("columnheader", name="decode t/s", exact=True)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    speeds = [float(text) for text in _column(page, 6)]
    assert speeds == sorted(speeds, reverse=True)
    page.close()


def test_table_sorts_by_keyboard_one_column_at_a_time(browser: Any, address: str) -> None:
    page = _opened(browser, address)
    page.get_by_role("button", name="artefact").focus()
    page.keyboard.press("Enter")
    names = _column(page, 1)
    assert names == sorted(names, key=str.lower) or names[0] == "FP16 base (PyTorch)"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    words = _column(page, 2)
    assert words[0] == "the yardstick"
    assert words[-1] == "broken"
    assert page.locator("[aria-sort]").count() == 1
    page.close()


def test_skip_link_is_first_and_seen_when_focused(browser: Any, address: str) -> None:
    page = _opened(browser, address)
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the advice")
    assert link.evaluate("one => one === document.activeElement")
    assert link.bounding_box()["x"] >= 0
    page.close()


def test_without_scripts_all_is_there_but_the_buttons(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.get_by_role("button").count() == 0
    assert page.get_by_role("columnheader", name="size MB", exact=True).is_visible()
    context.close()
