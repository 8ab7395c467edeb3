"""The page of a report in a real browser: headless Chromium, without a network.

Playwright drives the Chromium that Debian has. Selenium would need a driver of the same version beside it, and cannot
tell which requests a page makes.
"""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from scored_sets import scored

from evaluation.clips import Clip, encode
from evaluation.html_calls import worst_calls
from evaluation.html_report import to_html
from evaluation.report import Report

pytestmark = pytest.mark.long

QUIET = [
    "--no-sandbox",  # CI runs as root, and pages are our own
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDTHS = (375, 1280)
# The least contrast of each text with what is behind it (WCAG 2.2, 1.4.3), and where it is.
CONTRAST = """() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return [...found.slice(0, 3), found[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const behind = (node) => {
    const layers = [];
    for (let at = node; at instanceof Element; at = at.parentElement) {
      layers.push(parse(getComputedStyle(at).backgroundColor));
    }
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
    return layers.reverse().reduce((below, top) => over(top, below), canvas);
  };
  const light = (colour) => {
    const [red, green, blue] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !node.getClientRects().length) continue;
    const style = getComputedStyle(node), below = behind(node);
    const ink = over(parse(node.closest("svg") ? style.fill : style.color), below);
    const [dim, bright] = [light(ink), light(below)].sort((one, other) => one - other);
    const contrast = (bright + 0.05) / (dim + 0.05);
    if (contrast < worst[0]) worst = [contrast, `${node.tagName}.${node.getAttribute("class")}: ${node.textContent}`];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with nobody's profile; in CI it must be there."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as driver:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        started = driver.chromium.launch(executable_path=program, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator["Opened"]:
    """Opens pages, and sees after the test that none asked for anything or complained."""
    one = Opened(browser, tmp_path)
    yield one
    one.close()
    assert ([], []) == (one.requests, one.complaints)


class Opened:
    """Pages of reports, and what they asked for and complained about."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._browser, self._folder = browser, folder
        self._contexts = []

    def page(self, report: Report, *, width: int = 1280, scheme: str = "light", sound: bool = False) -> Page:
        """The page of a report; with sound where it is asked for."""
        worst = worst_calls(report)
        tone = np.sin(np.arange(40_000, dtype=np.float32) / 5)[:, None] * np.array([[0.5, 0.1]], dtype=np.float32)
        clip = Clip(0.0, 5.0, encode(tone.astype(np.float32), 8000))
        clips = {one.score.call_id: clip for one in worst} if sound else {}
        file = self._folder / "report.html"
        file.write_text(to_html(report, datetime(2026, 11, 27, tzinfo=UTC), worst=worst, clips=clips), encoding="utf-8")
        context = self._browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        self._contexts.append(context)
        page = context.new_page()
        page.on("request", lambda one: self._asked(one.url, file.as_uri()))
        page.on("console", lambda one: self.complaints.append(one.text))
        page.on("pageerror", lambda one: self.complaints.append(str(one)))
        page.on("dialog", lambda one: (self.complaints.append(one.message), one.dismiss()))
        page.goto(file.as_uri())
        return page

    def _asked(self, url: str, own: str) -> None:
        if url != own and not url.startswith("data:audio/mpeg;base64,"):
            self.requests.append(url)

    def close(self) -> None:
        """Close what was opened."""
        for context in self._contexts:
            context.close()


def until(page: Page, condition: str) -> None:
    """Wait until something is so. Playwright's own waiting evaluates text in the page, which its policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"never: {condition}")


def column(table: Locator, at: int) -> list[str]:
    """The texts of a column."""
    return table.locator(f"tbody tr > :nth-child({at + 1})").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("calls", "nasty"), [(0, False), (1, False), (12, True), (300, False)])
def test_pages_fit_and_can_be_read(opened: Opened, calls: int, nasty: bool, width: int, scheme: str) -> None:
    """Nothing is wider than the window, all text stands out, and markup in names of calls does nothing."""
    page = opened.page(scored(calls, nasty=nasty), width=width, scheme=scheme, sound=calls == 12)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrast, where = page.evaluate(CONTRAST)
    assert contrast >= 4.5, where
    wide = (
        "[...document.querySelectorAll('main *')].filter((one) => !one.closest('.box, svg, .plot') && "
        "one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert [] == page.evaluate(wide)


def test_tables_sort_by_click_and_by_keyboard(opened: Opened) -> None:
    """Largest numbers first, then the other way round; what is not known stays last; names from A."""
    page = opened.page(scored(30))
    table = page.locator("#table-calls")
    errors = table.locator("thead th").nth(2)
    assert "none" == errors.get_attribute("aria-sort")
    errors.locator("button").click()
    assert "descending" == errors.get_attribute("aria-sort")
    numbers = [int(text) for text in column(table, 2)]
    assert sorted(numbers, reverse=True) == numbers
    errors.locator("button").focus()
    page.keyboard.press("Enter")
    assert "ascending" == errors.get_attribute("aria-sort")
    assert sorted(numbers) == [int(text) for text in column(table, 2)]
    name = table.locator("thead th").first
    name.locator("button").focus()
    page.keyboard.press("Space")
    assert ("ascending", "none") == (name.get_attribute("aria-sort"), errors.get_attribute("aria-sort"))
    assert sorted(column(table, 0)) == column(table, 0)
    assert 30 == len(column(table, 0))


def test_sound_plays_from_a_line_on(opened: Opened) -> None:
    """The clip has a length, a line moves to where it begins, and is marked while it is heard."""
    page = opened.page(scored(2), width=375)
    assert 0 == page.locator("audio").count()
    page = opened.page(scored(2), width=375, sound=True)
    until(page, "document.querySelector('audio').readyState >= 1")
    assert pytest.approx(5.0, abs=0.3) == page.evaluate("document.querySelector('audio').duration")
    line = page.locator(".line.heard").nth(1)
    line.locator(".play").click()
    until(page, "document.querySelector('audio').currentTime > 4.2")
    until(page, "document.querySelectorAll('.line.heard')[1].classList.contains('now')")
    assert page.evaluate("document.querySelector('audio').error") is None


def test_paper_shows_all_calls(opened: Opened) -> None:
    """What is folded on the screen is open in print."""
    page = opened.page(scored(3))
    assert 1 == page.locator("details.call[open]").count()
    assert b"%PDF" == page.pdf()[:4]
    assert page.locator("details.call").count() == page.locator("details.call[open]").count()
