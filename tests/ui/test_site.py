"""The site of the committed results in headless Chromium, opened from ``file://``.

Screenshots go to BENCH_UI_SHOTS, else to a temporary folder.
"""

import os
import re
from pathlib import Path

import pytest

from leaderboard.site import write_site

RESULTS = Path(__file__).parents[2] / "results"
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1400, "height": 900}
TABLET = {"width": 1024, "height": 900}
GREEDLESS = 2  # rows: the best of n greedy answers is one
ROWS, CURVES = 31, 28  # of the published table; sft and best_of_n have no curve
LEADERBOARD = "#testbed-leaderboard"
TOOLTIP = "node => getComputedStyle(node, '::after').content"


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    problems: list[str] = []
    write_site(RESULTS, out, problems)
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
        file, _, query = path.partition("?")
        visits[-1].page.goto((site / file).as_uri() + f"?{query}" * bool(query))
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
    assert "Edits\u00a0%, ascending" in page.locator("p[role=status]").text_content()


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
def test_the_curves_are_images_without_javascript(visit, scheme):
    page = visit(color_scheme=scheme, java_script_enabled=False)
    images = page.locator("#testbed ~ section figure img, #testbed figure img")
    assert images.count() >= 8
    for image in images.all()[:8]:
        image.scroll_into_view_if_needed()  # they load when they are near
        image.evaluate("i => i.decode()")
        assert image.evaluate("i => i.naturalWidth") > 300
        assert image.evaluate("i => i.currentSrc").endswith("-dark.svg") == (scheme == "dark")
        assert re.search(r"token_ppo.* \d|\d \(token_ppo", image.get_attribute("alt"))


def curve(visit):
    """The gold score against steps, its legend as {label: button}."""
    figure = visit().locator("#testbed-gold-steps")
    keys = figure.locator(".keys button")
    labels = keys.locator(".name").all_text_contents()
    return figure, dict(zip(labels, keys.all(), strict=True))


def lines(figure):
    """How many lines are drawn in colour."""
    return figure.locator(".drawing path[class^=c]").count()


def test_the_legend_hides_and_shows_lines(visit):
    figure, keys = curve(visit)
    assert figure.locator("picture").is_hidden()
    assert len(keys) == lines(figure) == CURVES
    assert figure.locator(".drawing svg").get_attribute("aria-label").startswith("Gold score")
    keys["token_ppo"].click()
    assert keys["token_ppo"].get_attribute("aria-pressed") == "false"
    assert lines(figure) == CURVES - 1
    keys["token_ppo"].press("Enter")  # the keyboard shows it again
    assert keys["token_ppo"].get_attribute("aria-pressed") == "true"
    assert lines(figure) == CURVES
    for key in keys.values():
        key.click()
    assert lines(figure) == 0


def test_lines_have_panels_of_their_own_or_share_one(visit):
    figure, keys = curve(visit)
    titles = figure.locator(".drawing .title").all_text_contents()
    for title, label in zip(titles, keys, strict=True):  # a long one ends in an ellipsis
        assert label.startswith(title.removesuffix("…"))
    assert figure.locator(".drawing .other").count() == CURVES * (CURVES - 1)
    figure.get_by_label("one panel a method").uncheck()
    assert figure.locator(".drawing .title").count() == 1
    assert lines(figure) == CURVES
    dashes = figure.locator(".drawing path[class^=c]").evaluate_all(
        "all => all.map(p => getComputedStyle(p).strokeDasharray + getComputedStyle(p).stroke)"
    )
    assert len(set(dashes)) == CURVES


def test_the_values_under_the_pointer_and_the_slider_are_those_of_the_table(visit):
    figure, keys = curve(visit)
    figure.locator("summary").click()
    row = figure.locator("tbody tr", has=figure.page.locator("th", has_text=re.compile("^sft")))
    assert row.count() == 0  # it has no curve
    row = figure.locator("tbody tr", has=figure.page.locator("th", has_text=re.compile("gold_ppo")))
    first, second, *_ = row.locator("td .value").all()
    said, step = keys["gold_ppo"].locator(".at"), figure.locator("output")
    assert step.text_content() == "50"  # the last that all have: expert iteration ends before 60
    slider = figure.get_by_role("slider", name="Step")
    slider.press("Home")
    assert (step.text_content(), said.text_content()) == ("0", spaced(first))
    while step.text_content() != "50":
        slider.press("ArrowRight")
    assert said.text_content() == spaced(second)
    while step.text_content() != "60":
        slider.press("ArrowRight")
    at_the_end = "60", said.text_content()
    slider.press("Home")
    band = figure.locator(".drawing g path.band").nth(list(keys).index("gold_ppo"))
    band.scroll_into_view_if_needed()
    box = band.bounding_box()
    figure.page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 2)
    assert (step.text_content(), said.text_content()) == at_the_end
    assert figure.locator(".drawing circle").count() == CURVES - 1  # expert iteration ended at 57


def spaced(value):
    """A value of the table as the legend writes it."""
    return value.text_content().replace("[", " [")


def test_the_curves_over_kl_begin_where_the_rows_are_compared(visit):
    page = visit("stability/testbed.html")
    compared = page.locator("h3", has_text="At a KL of").text_content().split()[4]
    figure = page.locator("#matched-length")
    slider = figure.get_by_role("slider", name="KL")
    assert figure.locator("output").text_content() == compared
    row = page.locator("#sheet-1 tbody tr", has=page.locator("th", has_text="segment_ppo"))
    key = figure.locator(".keys button", has_text="segment_ppo")
    shown = row.locator("td[data-name=Length] .value").text_content()
    assert key.locator(".at").text_content() == shown.replace("[", " [")
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "KL 0"
    page.keyboard.press("End")  # no row's every seed comes so far but some
    assert "–" in figure.locator(".keys .at").all_text_contents()


def test_token_rewards_answer_the_keyboard(visit):
    page = visit("samples/testbed-seed-0.html?left=token_ppo&right=ppo_rlhf")
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
    page = visit("samples/testbed-seed-0.html?left=token_ppo", viewport=PHONE)
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


def shown_texts(page):
    """(method, decoding) of what is shown below each prompt."""
    found = page.locator("article:visible [data-label]:visible")
    return found.evaluate_all("all => all.map(n => [n.dataset.label, n.dataset.decoding])")


def test_two_methods_stand_beside_each_other(visit):
    page = visit("samples/testbed-seed-0.html")
    page.get_by_label("Left").select_option("token_ppo")
    page.get_by_label("Right").select_option("sft")
    assert {tuple(text) for text in shown_texts(page)} == {
        ("token_ppo", "sampled"), ("sft", "sampled"),
    }  # fmt: skip
    left, right = (
        page.locator(f"article [data-label={label}][data-decoding=sampled]").first.bounding_box()
        for label in ("token_ppo", "sft")
    )
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    page.get_by_label("Left").select_option("")
    assert len({label for label, _ in shown_texts(page)}) == ROWS
    assert page.get_by_label("Right").is_disabled()


def test_where_they_disagree_one_wins_and_the_other_loses(visit):
    page = visit("samples/testbed-seed-0.html?left=gold_ppo&right=ppo_rlhf&disagree=1")
    assert page.get_by_label("Left").input_value() == "gold_ppo"
    assert page.get_by_label("Right").input_value() == "ppo_rlhf"
    assert page.get_by_label("where they disagree").is_checked()
    verdicts = page.locator("article:visible").evaluate_all(
        """all => all.map(a => [...a.querySelectorAll("[data-label]:not([hidden])")]
           .map(n => n.dataset.outcome).sort().join())"""
    )
    assert verdicts
    assert set(verdicts) == {"lost,won"}
    said = page.locator("output").text_content()
    wins, losses = map(int, re.search(r"loses: (\d+), the reverse: (\d+)", said).groups())
    assert wins + losses == len(verdicts)
    page.get_by_label("where they disagree").uncheck()
    page.get_by_label("Text").fill("algeria")
    assert 0 < page.locator("article:visible").count() < page.locator("article").count()


def test_the_end_of_a_response_is_a_mark_not_a_token(visit):
    page = visit("samples/testbed-seed-0.html")
    assert "<|eos|>" not in page.locator("main").inner_text()
    end = page.locator("p.tokens[data-of=token_ppo] i.end").first
    assert (end.inner_text().lower(), end.get_attribute("data-token")) == ("end", "<|eos|>")


def test_the_page_reads_without_javascript(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(f"{LEADERBOARD} tbody tr").count() > 2
    assert page.locator("th button").count() == 0
    assert "gold_ppo" in page.locator(".finding").first.inner_text()
    assert page.locator(".intervals").first.locator(".bar").count() == ROWS
    token = page.locator("p.tokens[data-of=token_ppo] i").first
    token.hover()
    assert token.get_attribute("data-r")
    samples = visit("samples/testbed-seed-0.html", java_script_enabled=False)
    assert samples.locator("form").is_hidden()
    assert len(shown_texts(samples)) == 16 * (2 * ROWS - GREEDLESS)


def test_words_say_what_they_mean_to_pointer_keyboard_and_reader(visit, site):
    run = next((site / "runs").glob("testbed-token_ppo-s0-*.html")).relative_to(site)
    page = visit(str(run))
    tip = page.get_by_role("tooltip")
    assert tip.is_hidden()
    word = page.locator(".term", has_text=re.compile("^kl coef$"))
    word.focus()
    assert tip.is_visible()
    assert tip.text_content().startswith("ppo.kl_coef: ")
    assert page.locator("[aria-describedby=tip]").text_content() == "kl coef"
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator(".term", has_text=re.compile("^Localisation$")).hover()
    assert "wrong tokens" in tip.text_content()
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= DESKTOP["width"]


def test_a_run_stands_in_two_columns(visit, site):
    run = next((site / "runs").glob("testbed-token_ppo-s0-*.html")).relative_to(site)
    places = (
        visit(str(run))
        .locator(".columns > .block")
        .evaluate_all("all => all.map(n => n.getBoundingClientRect().left)")
    )
    assert len(set(places)) == 2


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


SIDEWAYS = """() => [...document.querySelectorAll(".scroll")]
    .filter(node => node.scrollWidth > node.clientWidth + 1)
    .map(node => node.querySelector("table").id)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, TABLET, PHONE], ids=["desktop", "tablet", "phone"])
def test_it_fits_the_window(visit, site, tmp_path, viewport, scheme):
    """No page scrolls sideways, no table has a column cut; people look at the screenshots."""
    run = next((site / "runs").glob("testbed-token_ppo-s0-*.html")).relative_to(site)
    device = f"{viewport['width']}-{scheme}"
    for name, path in (
        ("index", "index.html"), ("samples", "samples/testbed-seed-0.html"), ("run", str(run)),
        ("stability", "stability/testbed.html"),
    ):  # fmt: skip
        page = visit(path, viewport=viewport, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        folder = shots_folder(tmp_path)
        page.screenshot(path=folder / f"{name}-{device}.png")
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        cut = page.evaluate(SIDEWAYS)
        if viewport is not TABLET:  # a matrix of that many columns is wider than any window
            assert cut in ([], ["testbed-matrix"])
        assert "testbed-leaderboard" not in cut
        if name == "index":
            shot = folder / f"full-{device}.png"
            page.screenshot(path=shot, full_page=True)
            assert shot.stat().st_size > 100_000


def test_what_folds_away_in_a_narrow_window_is_in_another_table(visit):
    page = visit(viewport=TABLET)
    folded = page.locator(f"{LEADERBOARD} th.minor")
    assert folded.count() >= 3
    assert folded.evaluate_all("all => all.every(n => n.offsetParent === null)")
    details = page.locator("[id^=testbed-details-] th").all_text_contents()
    assert {"original pairs\u00a0%", "gold", "length"} <= set(details)


# What a newcomer asks: the clicks to the answer, and what must then be in the window.
QUESTIONS = {
    "who-wins": ([], ".finding", r"gold_token_ppo, the best"),
    "is-it-sure": (["Is it sure?"], "#testbed-matrix", r"\+1\d\.\d \*\s*\[\+\d.*p 0\.0"),
    "what-is-token-ppo": (["Methods and numbers"], LEADERBOARD, "a reward at every token"),
    "where-does-it-fail": (["Where do they fail?"], "#testbed-details-5", r"▾ \d+\.\d"),
    "does-it-stay-stable": (
        ["Stability at equal KL"],
        ".finding",
        r"At a KL of .* nats .*95 % interval",
    ),
    "what-did-it-cost": (["What did it cost?"], "#testbed-cost-1", r"\d\.\d min"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_newcomers_question_is_answered_within_two_clicks(visit, tmp_path, question):
    clicks, place, answer = QUESTIONS[question]
    assert len(clicks) <= 2
    page = visit(viewport=DESKTOP, reduced_motion="reduce")
    for name in clicks:
        page.get_by_role("link", name=name, exact=True).first.click()
    found = page.locator(place).first
    assert re.search(answer, found.inner_text(), re.DOTALL)
    box = found.bounding_box()
    assert box["y"] < DESKTOP["height"] / 2
    assert box["y"] + box["height"] > 0
    page.screenshot(path=shots_folder(tmp_path) / f"question-{question}.png")
