"""The page of a study in headless Chromium: all tasks by keyboard, by mouse and by touch.

Screenshots go to BENCH_UI_SHOTS, else to a temporary folder.
"""

from __future__ import annotations

import http.server
import os
import threading
from pathlib import Path

import pytest

from bench.editing.changes import text_changes
from bench.studio.results import results_of
from tests.studio.studies import ORIGINAL, pairs, people, rankings, study
from tests.ui.studios import SIZES, Seat, Served, picture

MENDED = "The sky is blue today"
WITH_FACE = "A 😀 is red. The sky is green today, and\nso it will be tomorrow."


@pytest.fixture(params=SIZES)
def size(request):
    return SIZES[request.param]


@pytest.fixture
def serve(tmp_path):
    """``serve(rows, task)``: a study of these rows, served."""
    opened = []

    def go(rows, task, **settings):
        made = study(tmp_path, rows, task)
        made.set(**settings)
        opened.append(Served(made))
        return opened[-1]

    yield go
    for one in opened:
        one.stop()


@pytest.fixture
def sit(browser):
    """``sit(served, path, **options of the context)``: a person in front of it."""
    seats = []

    def go(served, path="/", **options):
        seats.append(Seat(browser, served.url, path, **options))
        return seats[-1]

    yield go
    for seat in seats:
        seat.close()


def preferences(served):
    return [value and value["preference"] for value in served.values()]


def chosen(page, text):
    """The key for the response with this text."""
    first = page.locator(".card .text").first.text_content()
    return "1" if first == text else "2"


def test_prefer_by_keyboard(serve, sit, size):
    served = serve(pairs(4), "prefer")
    seat = sit(served, "/", **size)
    page = seat.page
    page.keyboard.press("Tab")
    assert page.locator("a:focus").text_content() == "Skip to the content"
    seat.begin()
    for number, keys in enumerate(("chosen", "rejected", "3", "s"), start=1):
        seat.item(number)
        texts = {"chosen": MENDED, "rejected": ORIGINAL}
        page.keyboard.press(chosen(page, texts[keys]) if keys in texts else keys)
    seat.end()
    assert preferences(served) == [1.0, 2.0, 1.5, None]
    page.keyboard.press("u")
    seat.item(4)
    assert page.locator("#saved").text_content() == "Undone"
    page.keyboard.press("u")
    seat.item(3)
    page.keyboard.press(chosen(page, MENDED))
    seat.item(4)
    page.keyboard.press("Control+1")  # a browser's own
    page.keyboard.press("x")
    page.keyboard.press("3")
    seat.end()
    assert preferences(served) == [1.0, 2.0, 1.0, 1.5]


def test_prefer_by_mouse_or_finger(serve, sit, size):
    served = serve(pairs(3), "prefer")
    seat = sit(served, "/prefer", **size)
    page = seat.page
    press = "tap" if size.get("has_touch") else "click"
    better = "A is better" if chosen(page, MENDED) == "1" else "B is better"
    getattr(page.get_by_role("button", name=better), press)()
    seat.item(2)
    getattr(page.get_by_role("button", name="Skip"), press)()
    seat.item(3)
    getattr(page.get_by_role("button", name="Undo"), press)()
    seat.item(2)
    getattr(page.get_by_role("button", name="Tie"), press)()
    seat.item(3)
    getattr(page.get_by_role("button", name="Tie"), press)()
    seat.end()
    assert preferences(served) == [1.0, 1.5, 1.5]
    with served.study.database.read() as connection:
        seconds = [row[0] for row in connection.execute("SELECT seconds FROM actions WHERE done")]
    assert all(0 < one < 60 for one in seconds)


def test_edit_by_keyboard(serve, sit, size):
    served = serve(pairs(5), "edit")
    seat = sit(served, "/edit", **size)
    page = seat.page
    page.keyboard.press("e")
    page.keyboard.press("Control+Home")
    for key in ["ArrowRight"] * len("The sky is ") + ["Shift+ArrowRight"] * len("green"):
        page.keyboard.press(key)
    page.keyboard.type("blue")  # keys of the page, too
    page.locator("#live ins", has_text="blue").wait_for()
    assert page.locator("#live del").text_content() == "green"
    assert "1 word or mark changed, 20 % replaced" in page.locator("#live .share").text_content()
    seat.saved()
    assert served.drafts()[-1] == {"kind": "edit", "text": MENDED, "reasons": []}
    page.keyboard.press("Control+Enter")
    seat.item(2)
    page.keyboard.press("n")
    seat.item(3)
    page.keyboard.press("c")
    seat.item(4)
    page.keyboard.press("s")
    seat.item(5)
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(" or")
    page.keyboard.press("Alt+u")  # what was typed is saved first, and then taken back
    page.locator("#saved", has_text="Undone").wait_for()
    assert page.locator("#text").input_value() == ORIGINAL
    page.keyboard.press("e")
    page.keyboard.type("So ")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.get_by_text("Nothing changed yet").wait_for()
    page.keyboard.press("Control+Enter")
    page.get_by_role("alert").get_by_text("is there nothing to mend?").wait_for()
    seat.complaints.clear()  # of the browser, about the status 422
    page.keyboard.press("n")
    seat.end()
    mended, unchanged = {"text": MENDED}, {"text": ORIGINAL}
    assert served.values() == [mended, unchanged, None, None, unchanged]


def test_edit_by_mouse_or_finger(serve, sit, size):
    served = serve(pairs(2), "edit", max_changed=0.3)
    seat = sit(served, "/edit", **size)
    page = seat.page
    text = page.get_by_label("Response, to be edited")
    text.fill("Nobody can say whether it was blue")
    page.get_by_text("This is too much for a minimal edit").wait_for()
    page.get_by_role("button", name="Reset").click()
    page.get_by_text("Nothing changed yet").wait_for()
    assert text.input_value() == ORIGINAL
    text.fill(MENDED)
    page.get_by_label("Facts").check()
    page.get_by_text("1 word or mark changed").wait_for()
    page.get_by_role("button", name="Done").click()
    seat.item(2)
    page.get_by_role("button", name="Undo").click()
    seat.item(1)
    assert text.input_value() == MENDED
    assert page.get_by_label("Facts").is_checked()
    page.get_by_role("button", name="Done").click()
    seat.item(2)
    assert served.values() == [{"text": MENDED}]
    assert served.drafts()[-1]["reasons"] == ["facts"]


def test_the_numbers_shown_are_the_harness_own(serve, sit):
    row = {
        "prompt": "q",
        "chosen": "x",
        "rejected": "\n<b>One</b>, two…\n\nthree  four  日本語 😀.",
    }
    served = serve([row], "edit")
    seat = sit(served, "/edit")
    text = seat.page.locator("#text")
    assert text.input_value() == row["rejected"]
    after = row["rejected"].replace("two", "2 & <i>").replace("本", "")
    text.fill(after)
    changes = text_changes(row["rejected"], after)
    seat.page.get_by_text(f"{changes.tokens} words or marks changed").wait_for()
    assert served.drafts()[-1]["text"] == after
    shown = seat.page.locator("#live .diff").evaluate(
        "node => { node.querySelectorAll('del').forEach(d => d.remove()); return node.textContent }"
    )
    assert shown == after


def order(page):
    return page.locator(".ranked .text").evaluate_all(
        "texts => texts.map(text => text.lastChild.data)"
    )


def ranks(texts):
    return {"ranks": [texts.index(text) for text in ("x", "y", "z")]}


def test_rank_by_keyboard(serve, sit, size):
    served = serve(rankings(2), "rank")
    seat = sit(served, "/rank", **size)
    page = seat.page
    first, second, third = order(page)
    page.locator(".ranked li").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Alt+ArrowUp")  # it is the first
    assert order(page) == [third, first, second]
    assert page.locator("#announced").text_content() == "C is now number 1 of 3"
    seat.saved()
    page.keyboard.press("u")
    page.locator("#saved", has_text="Undone").wait_for()
    assert order(page) == [first, third, second]
    page.keyboard.press("Control+Enter")
    seat.item(2)
    assert served.values() == [ranks([first, third, second])]


def test_rank_by_mouse_or_finger(serve, sit, size):
    served = serve(rankings(1), "rank")
    seat = sit(served, "/rank", **size)
    page = seat.page
    first, second, third = order(page)
    start = page.locator(".grip").first.bounding_box()
    end = page.locator(".ranked li").last.bounding_box()
    x, y = start["x"] + start["width"] / 2, start["y"] + 12
    below = end["y"] + end["height"] - 4
    if size.get("has_touch"):
        cdp = seat.context.new_cdp_session(page)

        def touch(kind, *points):
            cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

        touch("touchStart", {"x": x, "y": y})
        for step in range(1, 9):
            touch("touchMove", {"x": x, "y": y + (below - y) * step / 8})
        touch("touchEnd")
    else:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x, below, steps=8)
        page.mouse.up()
    assert order(page) == [second, third, first]
    seat.saved()
    page.get_by_role("button", name="Move C up").click()
    assert order(page) == [third, second, first]
    page.reload()
    assert order(page) == [third, second, first]
    page.get_by_role("button", name="Done").click()
    seat.end()
    assert served.values() == [ranks([third, second, first])]


def spans(served):
    return served.drafts()[-1]["spans"]


def words(span):
    return WITH_FACE[span["start"] : span["end"]]


def test_spans_by_keyboard(serve, sit, size):
    rows = [{"id": f"s{i}", "prompt": f"q{i}", "response": WITH_FACE} for i in range(2)]
    served = serve(rows, "spans", span_types=["fact", "form"])
    seat = sit(served, "/spans", **size)
    page = seat.page
    page.keyboard.press("e")
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowRight")
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")  # blank space before and behind is left out
    assert page.locator("#selected").text_content() == "“😀 is”"
    page.keyboard.press("Enter")
    page.locator("#text mark", has_text="😀 is").wait_for()
    assert [(words(one), one["type"], one["severity"]) for one in spans(served)] == [
        ("😀 is", "fact", "major")
    ]
    page.keyboard.press("ArrowRight")  # the caret is where it was
    page.keyboard.press("x")  # and the text cannot be changed
    page.keyboard.press("Delete")
    assert page.locator("#text").text_content() == WITH_FACE
    page.keyboard.press("Shift+Control+End")
    page.get_by_label("Type").select_option("form")
    page.get_by_label("Severity").select_option("critical")
    page.get_by_label("Severity").press("Enter")
    page.locator("#text mark.critical").wait_for()
    assert words(spans(served)[1]).endswith("tomorrow.")
    assert spans(served)[1]["type"] == "form"
    page.get_by_role("button", name="Remove the mark on 😀 is").press("Enter")
    page.locator("#text mark.major").wait_for(state="detached")
    page.keyboard.press("u")
    page.locator("#text mark.major").wait_for()
    page.keyboard.press("Control+Enter")
    seat.item(2)
    (said,) = served.values()
    assert [words(one)[:4] for one in said["spans"]] == ["😀 is", "red."]


def test_spans_by_mouse(serve, sit, size):
    served = serve([{"prompt": "q", "response": WITH_FACE}], "spans")
    seat = sit(served, "/spans", **size)
    page = seat.page
    mark = page.get_by_role("button", name="Mark")
    assert mark.is_disabled()
    page.locator("#text").evaluate(
        "text => { window.place = word => { const range = document.createRange();"
        " const at = text.firstChild.data.indexOf(word); range.setStart(text.firstChild, at);"
        " range.setEnd(text.firstChild, at + word.length);"
        " const { x, y, width, height } = range.getBoundingClientRect();"
        " return { x, y, width, height } } }"
    )
    box = page.evaluate("place('green today')")
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.locator("#selected", has_text="“green today”").wait_for()
    page.get_by_label("Type").fill("wrong colour")
    page.get_by_label("Severity").select_option("minor")
    mark.click()
    page.locator("#marks", has_text="wrong colour, minor").wait_for()
    assert words(spans(served)[0]) == "green today"
    page.get_by_role("button", name="Remove").click()
    page.locator("#marks", has_text="Nothing.").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.locator("#marks", has_text="wrong colour, minor").wait_for()
    page.get_by_role("button", name="Done").click()
    seat.end()
    assert [words(one) for one in served.values()[0]["spans"]] == ["green today"]


def test_leaving_and_coming_back_goes_on_where_it_was(serve, sit, browser):
    served = serve(pairs(2), "edit")
    token = served.study.invite("ana")
    seat = sit(served, f"/?token={token}")
    page = seat.page
    seat.begin()
    assert token not in page.url
    page.locator("#text").fill("The sky is")
    seat.saved()
    page.locator("#text").press_sequentially("!", delay=0)
    page.close()  # before the pause after which it is sent
    again = sit(served, f"/?token={token}")
    again.begin()
    assert again.page.locator("#text").input_value() in ("The sky is!", "!The sky is")


def test_two_people_at_once(serve, sit, size):
    served = serve(pairs(6), "prefer")
    seats = [sit(served, f"/?token={served.study.invite(name)}", **size) for name in ("ana", "ben")]
    for seat in seats:
        seat.begin()
    for number in (1, 2, 3):
        prompts = set()
        for seat in seats:
            seat.item(number)
            prompts.add(seat.page.locator(".prompt .text").text_content())
        assert len(prompts) == 2
        for seat in seats:
            seat.page.keyboard.press("3")
    for seat in seats:
        seat.end()
    assert preferences(served) == [1.5] * 6


def test_a_link_on_another_site_leads_in(serve, browser):
    served = serve(pairs(1), "prefer")
    link = f"{served.url}/?token={served.study.invite('ana')}".encode()

    class Letter(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<a href='" + link + b"'>the study</a>")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Letter) as site:
        threading.Thread(target=site.handle_request).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{site.server_port}/")  # another site than 127.0.0.1
        page.get_by_role("link").click()
        page.get_by_role("link", name="Begin").wait_for()
        page.context.close()


def test_a_server_that_is_gone_is_said_and_nothing_is_lost(serve, sit):
    served = serve(pairs(1), "edit")
    seat = sit(served, "/edit")
    page = seat.page
    served.stop()
    page.locator("#text").fill(MENDED)
    page.get_by_role("alert").get_by_text("Trying again").wait_for()
    assert page.locator("#saved").text_content() == ""
    again = Served(served.study, served.port)
    seat.saved()
    assert page.get_by_role("alert").text_content() == ""
    assert served.drafts()[-1]["text"] == MENDED
    again.stop()
    assert all("REFUSED" in one or "htmx" in one for one in seat.complaints)
    seat.complaints.clear()


def test_people_disagree_and_an_adjudicator_decides(serve, sit, size, tmp_path):
    served = serve(pairs(1), "edit", overlap=2)
    made = served.study
    for person, text in zip(people(made, "ana", "ben"), (MENDED, "The sky is grey"), strict=True):
        given = made.next(person, "edit")
        made.save(person, given.item.id, {"kind": "edit", "text": text}, seconds=3)
    seat = sit(served, f"/?token={made.invite('zoe', adjudicates=True)}", **size)
    page = seat.page
    page.get_by_role("link", name="Decide").click()
    seat.item(1)
    name = "phone" if size.get("is_mobile") else "desktop"
    picture(page, Path(os.environ.get("BENCH_UI_SHOTS") or tmp_path), f"decide-{name}")
    text = page.get_by_label("Response, to be edited")
    assert text.input_value() == MENDED
    text.fill("The sky is black today")
    page.locator("#live ins", has_text="black").wait_for()
    assert page.locator("#saved").text_content() == ""
    page.keyboard.press("Control+Enter")
    seat.end()
    with made.database.read() as connection:
        (answered,) = results_of(connection, "edit").items
    assert answered.values == [{"text": "The sky is black today"}]
    page.keyboard.press("u")
    seat.item(1)


LONG = (
    "The sky is blue because sunlight is made of many colours. When it meets the air, red light is "
    "bent more than blue light, so that the blue goes everywhere and reaches your eyes from all "
    "sides.\n\nAt noon the sky is green for a moment, as the sun is 8 light hours away."
)
GOOD = (
    "Sunlight looks white, but it is made of all colours of the rainbow. When it meets the air, "
    "the blue light bounces about much more than the red.\n\nWhat colour is the sky on Mars?"
)
PROMPT = (
    "My daughter asked why the sky is blue. Explain it to a seven-year-old in a few sentences, and "
    "end with a question that she could think about."
)
SHOWN = {
    "edit": {"prompt": PROMPT, "chosen": GOOD, "rejected": LONG},
    "prefer": {"prompt": PROMPT, "chosen": GOOD, "rejected": LONG},
    "rank": {"prompt": PROMPT, "responses": [GOOD, "Because of physics.", LONG]},
    "spans": {"prompt": PROMPT, "response": LONG},
}


def work(seat, task):
    """Do what a picture should show."""
    page = seat.page
    if task == "edit":
        text = LONG.replace("red light is bent more than blue", "blue light is bent more than red")
        page.locator("#text").fill(text.replace("is green", "is white").replace("hours", "minutes"))
    if task == "rank":
        page.get_by_role("button", name="Move B up").click()
    if task == "spans":
        page.keyboard.press("e")
        page.keyboard.press("Control+End")
        for _ in range(4):
            page.keyboard.press("Control+Shift+ArrowLeft")
        page.keyboard.press("Enter")
    if task != "prefer":
        seat.saved()


@pytest.mark.parametrize("task", SHOWN)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_can_be_read(serve, sit, size, task, scheme, tmp_path):
    folder = Path(os.environ.get("BENCH_UI_SHOTS") or tmp_path)
    served = serve([SHOWN[task] | {"id": f"i{i}"} for i in range(12)], task)
    seat = sit(served, "/", color_scheme=scheme, **size)
    page = seat.page
    name = f"{'phone' if size.get('is_mobile') else 'desktop'}-{scheme}"
    picture(page, folder, f"{task}-guide-{name}")
    seat.begin()
    work(seat, task)
    picture(page, folder, f"{task}-{name}")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size["viewport"]["width"]
    page.mouse.wheel(0, 2000)
    prompt = page.locator(".prompt").bounding_box()
    assert prompt["y"] >= 0  # the instruction stays in sight
    bar = page.locator(".bar").bounding_box()
    assert bar["y"] + bar["height"] <= size["viewport"]["height"] + 1
    unnamed = page.locator("button, input:not([type=hidden]), textarea, select").evaluate_all(
        "all => all.filter(e => !(e.textContent.trim() || e.labels?.length || e.ariaLabel)).length"
    )
    assert unnamed == 0
