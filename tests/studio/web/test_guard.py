"""What every answer carries, and which requests are none that the page sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.studio.study import Study
from bench.studio.tasks import TASKS, TaskName
from bench.studio.web.forms import LARGEST
from bench.studio.web.guard import POLICY
from tests.studio.studies import pairs, study
from tests.studio.web.visits import HTMX, Visit, address, csrf

NASTY = "</textarea><script>alert(1)</script><img src=x onerror=alert(1)>\" ' &amp; {{ 7 * 7 }}"


@pytest.fixture
def made(tmp_path: Path) -> Study:
    return study(tmp_path, pairs(2), "prefer")


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("127.0.0.1:8765", True),
        ("localhost:9000", True),  # of a tunnel
        ("[::1]:8765", True),
        ("192.168.1.7:8765", True),
        ("Studio.lan", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("studio.lan.evil.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_a_name_that_is_led_here_is_refused(made: Study, host: str, let_in: bool) -> None:
    visit = Visit(made, names=["studio.lan"])
    for path in ("/prefer", "/static/page.js"):
        response = visit.get(path, headers={"host": host})
        assert response.status_code == (200 if let_in else 400)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},  # another server of this machine
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(made: Study, headers: dict[str, str]) -> None:
    visit = Visit(made)
    page = visit.page("prefer")
    fields = {"csrf": csrf(page), "choice": "a"}
    refused = visit.client.post(address(page), data=fields, headers=HTMX | headers)
    assert refused.status_code == 403
    own = {"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}
    assert visit.client.post(address(page), data=fields, headers=HTMX | own).status_code == 200


def test_every_answer_has_the_headers(made: Study) -> None:
    visit = Visit(made)
    paths = ("/", "/welcome", "/prefer", "/prefer/guide", "/none", "/static/studio.css", "/static/")
    answers = [visit.get(path) for path in paths]
    answers.append(visit.get("/", headers={"host": "evil.example"}))
    answers.append(visit.client.post("/prefer/undo"))
    answers.append(visit.client.put("/prefer"))
    page = visit.page("prefer")
    answers.append(visit.answer(page, choice="a"))
    assert len({answer.status_code for answer in answers}) >= 4
    for answer in answers:
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        kept = answer.url.path.startswith("/static/")
        assert answer.headers["cache-control"] == ("no-cache" if kept else "no-store")
    assert "'unsafe" not in POLICY
    assert "http" not in POLICY


ROWS: dict[TaskName, dict[str, Any]] = {
    "edit": {"prompt": NASTY, "chosen": "b", "rejected": NASTY},
    "prefer": {"prompt": NASTY, "chosen": "b", "rejected": NASTY},
    "rank": {"prompt": NASTY, "responses": [NASTY, "b"]},
    "spans": {"prompt": NASTY, "response": NASTY},
}
MARKED = json.dumps([{"start": 0, "end": 20, "type": NASTY, "severity": "minor"}])


@pytest.mark.parametrize("task", TASKS)
def test_a_response_that_is_a_script_stays_text(tmp_path: Path, task: TaskName) -> None:
    made = study(tmp_path, [ROWS[task]], task)
    made.set(span_types=[NASTY])
    visit = Visit(made, made.invite("<i>ana</i>"))
    page = visit.page(task)
    fields = {"text": NASTY + "<script>", "order": "1,0", "choice": "a", "spans": MARKED}
    draft = visit.answer(page, draft=True, **fields)
    assert draft.status_code in (200, 204)
    for text in (page, visit.page(task), visit.get("/").text, draft.text):
        for wrong in ("<script>", "<img", "(1)>\" '", "<i>ana", " style=", " onclick="):
            assert wrong not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert page.count("<script") == page.count("<script defer src=") > 0
    assert visit.answer(page, kind=NASTY).headers["content-type"].startswith("text/plain")


def test_a_problem_is_text_too(made: Study) -> None:
    shown = Visit(made).get("/<script>alert(1)<script>")
    assert shown.status_code == 404
    assert "<script>" not in shown.text


@pytest.mark.parametrize("sent", ["[" * 50_000, '[{"start": 0, "end": 1' + "0" * 5000 + "}]", "5"])
def test_what_no_page_sends_is_a_line(tmp_path: Path, sent: str) -> None:
    visit = Visit(study(tmp_path, pairs(1), "spans"))
    page = visit.page("spans")
    for draft in (True, False):
        assert visit.answer(page, draft=draft, spans=sent).status_code == 422


def test_files_and_long_forms_are_refused(made: Study) -> None:
    visit = Visit(made)
    page = visit.page("prefer")
    file = {"file": ("a.txt", b"x")}
    sent = visit.client.post(address(page), data={"csrf": csrf(page)}, files=file, headers=HTMX)
    assert sent.status_code == 415
    assert visit.client.post(address(page), json={"csrf": csrf(page)}).status_code == 415
    long = visit.answer(page, choice="a", more="x" * LARGEST)
    assert long.status_code == 413
    many = "&".join(f"f{n}=1" for n in range(101))
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert visit.client.post(address(page), content=many, headers=kind).status_code == 400
    assert visit.client.post(address(page), content=b"a=\xff", headers=kind).status_code == 400
    assert visit.answer(page, choice="a").status_code == 200


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "x", "1e99"])
def test_a_time_that_is_none_loses_no_answer(made: Study, seconds: str) -> None:
    visit = Visit(made)
    assert visit.answer(visit.page("prefer"), choice="a", seconds=seconds).status_code == 200
