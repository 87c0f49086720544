"""The site of the committed results in headless Chromium, opened from ``file://``.

Needs Debian's chromium and Playwright's Python package, no browser of Playwright's own. Without
them the tests skip themselves, except under ``tox -e ui``, which sets BENCH_UI=1: there they fail.
Screenshots go to BENCH_UI_SHOTS, else to a temporary folder.
"""

import importlib.util
import os
import re
import shutil
from pathlib import Path

import pytest

from leaderboard.site import write_site

RESULTS = Path(__file__).parents[2] / "results"
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
MISSING = [
    what
    for what, found in (
        ("the package playwright (pip install playwright)", importlib.util.find_spec("playwright")),
        ("a browser (apt-get install chromium)", CHROMIUM),
    )
    if not found
]
LEADERBOARD = "#testbed-leaderboard"
TOOLTIP = "node => getComputedStyle(node, '::after').content"


@pytest.fixture(scope="module")
def browser():
    if MISSING:
        reason = "not here: " + " and ".join(MISSING)
        if os.environ.get("BENCH_UI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    problems: list[str] = []
    write_site(RESULTS, out, problems, "testbed")
    assert problems == []
    return out


class Visit:
    """A page of the site, with all that it asked for and complained of."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(**{"viewport": DESKTOP, **options})
        self.page = self.context.new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.fixture
def visit(browser, site):
    """``visit(path, **options of the context)``: the opened page."""
    visits = []

    def go(path="index.html", **options):
        visits.append(Visit(browser, **options))
        visits[-1].page.goto((site / path).as_uri())
        return visits[-1].page

    yield go
    for one in visits:
        assert one.complaints == []
        assert one.requests
        assert all(url.startswith(site.as_uri()) for url in one.requests)
        one.context.close()


def column(page, header):
    """The header cell, and the sort keys below it from top to bottom."""
    text = re.compile("^" + header.replace(" ", r"\s") + "$")
    cell = page.locator(f"{LEADERBOARD} thead tr:last-child th", has_text=text)
    place = cell.evaluate("cell => cell.cellIndex")
    keys = page.locator(f"{LEADERBOARD} tbody tr").evaluate_all(
        "(rows, i) => rows.map(row => row.cells[i].dataset.key ?? row.cells[i].textContent)", place
    )
    return cell, keys


def numbers(keys):
    """The keys that are numbers; what has none must stand last."""
    dashes = [key == "–" for key in keys]
    assert dashes == sorted(dashes)
    return [float(key) for key in keys if key != "–"]


def test_the_table_sorts_by_click(visit):
    page = visit()
    header, before = column(page, "Edits %")
    assert header.get_attribute("aria-sort") == "none"
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    found = numbers(column(page, "Edits %")[1])
    assert 2 < len(found) < len(before)  # some methods have no reward model
    assert found == sorted(found, reverse=True)
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert numbers(column(page, "Edits %")[1]) == sorted(found)
    assert "Edits\u00a0%, ascending" in page.get_by_role("status").text_content()


def test_the_table_sorts_by_keyboard(visit):
    page = visit()
    header, _ = column(page, "KL")
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    length, keys = column(page, "Length")
    assert length.get_attribute("aria-sort") == "descending"
    assert header.get_attribute("aria-sort") == "none"
    assert numbers(keys) == sorted(numbers(keys), reverse=True)
    method, _ = column(page, "Method")
    method.locator("button").press("Enter")
    assert column(page, "Method")[1] == sorted(column(page, "Method")[1])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_curves_show(visit, scheme):
    images = visit(color_scheme=scheme).locator("figure img")
    assert images.count() >= 8
    found = images.evaluate_all(
        "all => all.map(i => [i.complete && i.naturalWidth, i.currentSrc, i.alt])"
    )
    for width, source, alternative in found:
        assert width > 300
        assert source.endswith("-dark.svg") == (scheme == "dark")
        assert re.search(r"token_ppo.* \d|\d \(token_ppo", alternative)


def test_token_rewards_answer_the_keyboard(visit):
    page = visit("samples/testbed-seed-0.html")
    text = page.locator("p.tokens[data-of=token_ppo]").first
    tokens = text.locator("i")
    assert text.locator("[tabindex='0']").count() == 1
    assert tokens.first.evaluate(TOOLTIP) == "none"
    tokens.first.focus()
    for key, place in (
        ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0),
        ("End", tokens.count() - 1),
    ):  # fmt: skip
        page.keyboard.press(key)
        here = page.locator(":focus")
        assert here.evaluate("node => [...node.parentNode.children].indexOf(node)") == place
        reward = here.get_attribute("data-r")
        assert here.evaluate(TOOLTIP) == f'"{reward}"'
        assert here.get_attribute("aria-label").endswith(f"reward {reward}")
        assert here.get_attribute("aria-selected") == "true"
    assert text.locator("[tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert page.locator(":focus").evaluate("node => node.parentNode.dataset.of") != ""


def test_up_and_down_go_to_the_next_line(visit):
    page = visit("samples/testbed-seed-0.html", viewport=PHONE)
    tokens = page.locator("p.tokens[data-of=token_ppo]").first.locator("i")
    tokens.first.focus()
    line = "node => Math.round([...node.getClientRects()].at(-1).top + scrollY)"
    seen = [page.locator(":focus").evaluate(line)]
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
        seen.append(page.locator(":focus").evaluate(line))
    first, second, third = seen[:3]
    assert first < second < third
    assert seen[3:] == [second, first, first]


def test_the_sign_is_not_colour_alone(visit):
    page = visit("samples/testbed-seed-0.html")
    for sign, line in (("p", "solid"), ("n", "dotted")):
        token = page.locator(f"p.tokens i[class^={sign}]").first
        assert token.evaluate("node => getComputedStyle(node).borderBottomStyle") == line
        assert token.get_attribute("data-r")[0] == {"p": "+", "n": "-"}[sign]


def test_the_samples_can_be_filtered(visit):
    page = visit("samples/testbed-seed-0.html")
    page.get_by_label("Method").select_option("sft")
    labels = page.locator("[data-label]:visible")
    assert set(labels.evaluate_all("all => all.map(n => n.dataset.label)")) == {"sft"}
    page.get_by_label("Text").fill("albania")
    assert page.locator("article:visible").count() < page.locator("article").count()
    assert re.match(r"\d+ of \d+ prompts", page.locator("#count").text_content())


def test_the_page_reads_without_javascript(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(f"{LEADERBOARD} tbody tr").count() > 2
    assert page.locator("th button").count() == 0
    token = page.locator("p.tokens[data-of=token_ppo] i").first
    token.hover()
    assert token.get_attribute("data-r")
    samples = visit("samples/testbed-seed-0.html", java_script_enabled=False)
    assert samples.locator("form").is_hidden()


def test_the_first_stop_skips_to_the_content(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.locator(":focus").text_content() == "Skip to the content"
    assert page.locator(":focus").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.locator(":focus").get_attribute("id") == "main"


def shots_folder(tmp_path):
    folder = Path(os.environ.get("BENCH_UI_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_the_window(visit, site, tmp_path, viewport, scheme):
    """No page scrolls sideways; the screenshots are for people to look at."""
    run = next((site / "runs").glob("testbed-token_ppo-s0-*.html")).relative_to(site)
    device = "phone" if viewport is PHONE else "desktop"
    for name, path in (
        ("index", "index.html"), ("samples", "samples/testbed-seed-0.html"), ("run", str(run)),
    ):  # fmt: skip
        page = visit(path, viewport=viewport, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        folder = shots_folder(tmp_path)
        page.screenshot(path=folder / f"{name}-{device}-{scheme}.png")
        if name == "index":
            shot = folder / f"full-{device}-{scheme}.png"
            page.screenshot(path=shot, full_page=True)
            assert shot.stat().st_size > 100_000
