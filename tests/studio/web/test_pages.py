"""Each task from its page to the study, and what no page may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.studio.results import results_of
from bench.studio.study import Study
from bench.studio.tasks import LONGEST, TaskName
from tests.studio.studies import ORIGINAL, pairs, rankings, study
from tests.studio.web.visits import Visit, address, csrf, found, texts

MENDED = "The sky is blue today"


def values(made: Study, task: TaskName) -> list[dict[str, Any] | None]:
    """What people said of each item that they answered."""
    with made.database.read() as connection:
        results = results_of(connection, task)
    return [one.value for answered in results.items for one in answered.given]


def actions(made: Study) -> int:
    with made.database.read() as connection:
        return int(connection.execute("SELECT count(*) FROM actions").fetchone()[0])


def test_preferences_are_kept_as_they_were_shown_and_the_next_item_comes(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "prefer")
    visit = Visit(made)
    page = visit.page("prefer")
    for n, (label, choice) in enumerate((("better", None), ("tie", "tie"), ("skip", None))):
        prompt, first, _ = texts(page)
        assert prompt == f"What is the sky's colour on day {n}?"
        assert f"{n} done, {3 - n} left" in page
        given = choice or ("a" if first == MENDED else "b")
        fields = {"kind": "skip"} if label == "skip" else {"choice": given}
        response = visit.answer(page, seconds="2.5", **fields)
        assert response.status_code == 200
        assert response.headers["Studio-Said"] == "Saved"
        page = response.text
    assert "Nothing is left for you" in page
    assert "2.5 s" not in page
    assert "2 s each" in page
    assert values(made, "prefer") == [{"preference": 1.0}, {"preference": 1.5}, None]


def test_the_longest_response_can_be_edited_and_skipped(tmp_path: Path) -> None:
    long = "😀 " * (LONGEST // 5)
    made = study(tmp_path, [{"prompt": "q", "chosen": "x", "rejected": long}], "edit")
    visit = Visit(made)
    page = visit.page("edit")
    assert visit.answer(page, draft=True, text=long + "x").status_code == 200
    assert visit.answer(page, text=long, kind="skip").status_code == 200


def test_leaving_and_coming_back_goes_on_at_the_same_item(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    visit = Visit(made)
    page = visit.page("edit")
    assert visit.answer(page, draft=True, text="The sky is", reason=["facts"]).status_code == 200
    again = Visit(made).page("edit")
    assert address(again) == address(page)
    assert found(r"<textarea[^>]*>\n([^<]*)</textarea>", again) == "The sky is"
    assert 'value="facts" checked' in again
    assert 'value="safety" checked' not in again


def test_the_difference_is_the_one_that_decides(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    visit = Visit(made)
    page = visit.page("edit")
    live = visit.answer(page, draft=True, text=MENDED).text
    assert "The sky is <del>green</del><ins>blue</ins> today" in live
    assert "1 word or mark changed, 20 % replaced; at most 65 % may be" in live
    live = visit.answer(page, draft=True, text="Blue, of course, my dear child").text
    assert "This is too much for a minimal edit" in live
    refused = visit.answer(page, kind="edit", text="Blue, of course, my dear child")
    assert refused.status_code == 422
    assert refused.headers["content-type"].startswith("text/plain")
    assert "at most 65.0% may be" in refused.text
    unchanged = visit.answer(page, kind="edit", text=ORIGINAL)
    assert unchanged.status_code == 422
    assert "nothing to mend" in unchanged.text
    assert values(made, "edit") == []
    assert visit.answer(page, kind="edit", text=MENDED, reason="facts").status_code == 200
    assert values(made, "edit") == [{"text": MENDED}]


@pytest.mark.parametrize("kind", ["nothing_to_mend", "cannot_be_mended", "skip"])
def test_an_edit_may_be_none(tmp_path: Path, kind: str) -> None:
    made = study(tmp_path, pairs(1), "edit")
    visit = Visit(made)
    assert "Nothing is left" in visit.answer(visit.page("edit"), kind=kind, text="x").text
    expected = {"text": ORIGINAL} if kind == "nothing_to_mend" else None
    assert values(made, "edit") == [expected]


def test_undo_takes_back_drafts_one_by_one_and_then_the_item_before(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    visit = Visit(made)
    first = visit.page("edit")
    visit.answer(first, draft=True, text="The sky")
    visit.answer(first, draft=True, text=MENDED)
    visit.answer(first, draft=True, text=MENDED)  # nothing new: one action
    assert actions(made) == 2
    second = visit.answer(first, kind="edit", text=MENDED).text
    assert address(second) != address(first)
    for text in (MENDED, "The sky", ORIGINAL):
        undone = visit.undo(second)
        assert undone.headers["Studio-Said"] == "Undone"
        assert address(undone.text) == address(first)
        assert found(r"<textarea[^>]*>\n([^<]*)</textarea>", undone.text) == text
    assert visit.undo(second).headers["Studio-Said"] == "There is nothing to undo"


def test_a_rank_is_kept_while_it_is_made(tmp_path: Path) -> None:
    made = study(tmp_path, rankings(1), "rank")
    visit = Visit(made)
    page = visit.page("rank")
    shown = texts(page)[1:]
    assert sorted(shown) == ["x", "y", "z"]
    assert visit.answer(page, draft=True, order="2,0,1").status_code == 204
    page = visit.page("rank")
    assert texts(page)[1:] == [shown[2], shown[0], shown[1]]
    assert found('name="order" value="([^"]*)"', page) == "2,0,1"
    assert visit.answer(page, kind="rank", order="0,x").status_code == 422
    assert visit.answer(page, kind="rank", order="2,0,1").status_code == 200
    ranks = {"ranks": [[shown[2], shown[0], shown[1]].index(text) for text in ("x", "y", "z")]}
    assert values(made, "rank") == [ranks]


def test_spans_are_marked_in_code_points(tmp_path: Path) -> None:
    rows = [{"id": "s", "prompt": "q", "response": "A 😀 is\r\nnot <b>"}]
    made = study(tmp_path, rows, "spans")
    visit = Visit(made)
    page = visit.page("spans")
    assert "A 😀 is&#13;\nnot &lt;b&gt;</div>" in page
    spans = [{"start": 2, "end": 6, "type": "fact", "severity": "critical"}]
    draft = visit.answer(page, draft=True, spans=json.dumps(spans)).text
    assert 'A <mark class="critical" title="fact">😀 is</mark>&#13;\nnot' in draft
    assert "fact, critical" in draft
    twice = visit.answer(page, draft=True, spans=json.dumps(spans * 2))
    assert (twice.status_code, "there twice" in twice.text) == (422, True)
    assert visit.answer(page, draft=True, spans="[{").status_code == 422
    again = visit.page("spans")
    assert json.loads(found('name="spans" id="spans" value="([^"]*)"', again)) == spans
    assert visit.answer(again, spans=json.dumps(spans)).status_code == 200
    assert values(made, "spans") == [{"spans": [{"start": 2, "end": 6, "kind": "fact"}]}]


def test_only_types_of_the_study_can_be_chosen(tmp_path: Path) -> None:
    made = study(tmp_path, [{"prompt": "q", "response": "a b"}], "spans")
    assert '<input id="type"' in Visit(made).page("spans")
    made.set(span_types=["fact", "<i>"])
    assert "<option>fact</option><option>&lt;i&gt;</option>" in Visit(made).page("spans")


def test_what_was_answered_stays_whatever_an_old_page_sends(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    visit = Visit(made)
    page = visit.page("edit")
    upcoming = visit.answer(page, kind="edit", text=MENDED).text
    late = visit.answer(page, draft=True, text="The sky is")
    assert (late.status_code, "answered already" in late.text) == (409, True)
    twice = visit.answer(page, kind="nothing_to_mend")
    assert "answered already" in twice.headers["Studio-Said"]
    assert address(twice.text) == address(upcoming)
    assert actions(made) == 1


def test_a_person_sees_their_own_items_only(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "prefer")
    ana = Visit(made, made.invite("ana"))
    ben = Visit(made, made.invite("ben"), beside=ana)
    anas, bens = ana.page("prefer"), ben.page("prefer")
    assert address(anas) != address(bens)
    assert address(ana.page("prefer")) == address(anas)
    for path in (address(anas), address(anas) + "/draft", "/prefer/none"):
        assert ben.send(path, csrf(bens), choice="a").status_code == 404
    assert actions(made) == 0
    assert ben.answer(bens, choice="a").status_code == 200
    assert "Nothing is left" in ben.page("prefer")


def test_an_item_is_reached_by_its_own_task(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "prefer")
    made.add(tmp_path / "rows.jsonl", "edit")
    visit = Visit(made)
    page = visit.page("prefer")
    wrong = address(page).replace("prefer", "edit")
    assert visit.send(wrong, csrf(page), kind="skip").status_code == 404
    assert visit.get("/rank").status_code == 404
    home = visit.get("/").text
    assert '<a href="/edit/guide">' in home
    assert "0 done, 1 left" in home


def test_a_study_with_one_task_begins_with_its_instructions(tmp_path: Path) -> None:
    visit = Visit(study(tmp_path, pairs(2), "prefer"))
    assert visit.get("/").url.path == "/prefer/guide"
    visit.answer(visit.page("prefer"), choice="a")
    assert visit.get("/").url.path == "/prefer"


def test_how_many_are_left_is_said_about(tmp_path: Path) -> None:
    page = Visit(study(tmp_path, pairs(44), "prefer")).page("prefer")
    assert "0 done, about 40 left" in page  # 44 would tell hidden items, which are not counted
    assert "at this pace" not in page
