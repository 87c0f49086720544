"""Where people disagree: what an adjudicator sees, decides and takes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.studio.results import Answered, results_of
from bench.studio.study import Study
from bench.studio.tasks import TaskName
from tests.studio.studies import ORIGINAL, chosen, edited, pairs, people, rankings, study
from tests.studio.web.visits import Visit, address, csrf, found, texts

MENDED, OTHER = "The sky is blue today", "The sky is grey today"


def disagreeing(made: Study, task: TaskName, *answers: Any) -> None:
    """Everybody answers all items in their own way."""
    made.set(overlap=len(answers))
    for person, answer in zip(people(made, "ana", "ben", "cleo"), answers, strict=False):
        while given := made.next(person, task):
            said = answer(given) if callable(answer) else answer
            made.save(person, given.item.id, said, seconds=1.0)


def results(made: Study, task: TaskName) -> list[Answered]:
    with made.database.read() as connection:
        return list(results_of(connection, task).items)


def zoe(made: Study) -> Visit:
    return Visit(made, made.invite("zoe", adjudicates=True))


def test_an_edit_is_decided_and_taken_back(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    cannot = {"kind": "cannot_be_mended"}
    disagreeing(made, "edit", edited(MENDED), edited(OTHER), cannot)
    visit = zoe(made)
    assert '<a href="/edit/decide">Decide</a>' in visit.get("/edit/guide").text
    first = visit.page("edit/decide")
    for said in ("ana", "<del>green</del><ins>grey</ins>", "It cannot be mended", "0 done, 2 left"):
        assert said in first
    assert found(r"<textarea[^>]*>\n([^<]*)</textarea>", first) == MENDED
    draft = visit.answer(first, draft=True, text=OTHER)
    assert "<ins>grey</ins>" in draft.text
    assert draft.headers["Studio-Said"] == ""
    assert results(made, "edit")[0].adjudicated is None
    second = visit.answer(first, kind="edit", text=OTHER).text
    assert address(second) != address(first)
    assert "1 done, 1 left" in second
    assert results(made, "edit")[0].values == [{"text": OTHER}]
    assert "Nothing is left" in visit.answer(second, kind="cannot_be_mended").text
    undone = visit.undo(second)
    assert undone.headers["Studio-Said"] == "Undone"
    assert address(undone.text) == address(second)
    assert results(made, "edit")[1].adjudicated is None


def test_a_preference_is_decided_in_the_items_own_order(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "prefer")
    disagreeing(made, "prefer", lambda one: chosen(one, MENDED), lambda one: chosen(one, ORIGINAL))
    visit = zoe(made)
    page = visit.page("prefer/decide")
    assert "A is better</dd>" in page
    assert "B is better</dd>" in page
    assert texts(page)[1:] == [MENDED, ORIGINAL]
    assert visit.answer(page, choice="b").status_code == 200
    assert results(made, "prefer")[0].preference == 2.0


def test_a_rank_begins_with_that_of_the_first_person(tmp_path: Path) -> None:
    made = study(tmp_path, rankings(1), "rank")
    orders = [2, 0, 1], [0, 1, 2]
    disagreeing(made, "rank", *({"kind": "rank", "order": order} for order in orders))
    page = zoe(made).page("rank/decide")
    order = found('name="order" value="([^"]*)"', page)
    ranks = results(made, "rank")[0].given[0].value
    assert ranks is not None
    assert [ranks["ranks"][int(place)] for place in order.split(",")] == [0, 1, 2]
    said = " > ".join("ABC"[int(place)] for place in order.split(","))
    assert f">{said}</dd>" in page.replace("&gt;", ">")


def test_marks_are_decided(tmp_path: Path) -> None:
    made = study(tmp_path, [{"id": "s", "prompt": "q", "response": "a <b> c"}], "spans")
    span = {"start": 2, "end": 5, "type": "t", "severity": "minor"}
    disagreeing(made, "spans", {"kind": "spans", "spans": [span]}, {"kind": "spans", "spans": []})
    visit = zoe(made)
    page = visit.page("spans/decide")
    assert '<mark class="minor" title="t">&lt;b&gt;</mark>' in page
    assert json.loads(found('name="spans" id="spans" value="([^"]*)"', page)) == [span]
    assert "/spans/decide/" in visit.answer(page, draft=True, spans="[]").text
    assert visit.answer(page, spans="[]").status_code == 200
    assert results(made, "spans")[0].values == [{"spans": []}]


@pytest.mark.parametrize(
    "sent", ["5", "[1]", '[{"start": 0, "end": 1, "type": "t", "severity": "huge"}]']
)
def test_a_draft_that_is_no_answer_is_a_line(tmp_path: Path, sent: str) -> None:
    made = study(tmp_path, [{"id": "s", "prompt": "q", "response": "a b"}], "spans")
    span = {"start": 0, "end": 1, "type": "t", "severity": "minor"}
    disagreeing(made, "spans", {"kind": "spans", "spans": [span]}, {"kind": "spans", "spans": []})
    visit = zoe(made)
    assert visit.answer(visit.page("spans/decide"), draft=True, spans=sent).status_code == 422


def test_who_marks_the_same_of_another_type_disagrees(tmp_path: Path) -> None:
    made = study(tmp_path, [{"id": "s", "prompt": "q", "response": "a b"}], "spans")
    span = {"start": 0, "end": 1, "type": "t", "severity": "minor"}
    said = [{"kind": "spans", "spans": [span | {"type": kind}]} for kind in ("t", "u")]
    disagreeing(made, "spans", *said)
    assert "ana" in zoe(made).page("spans/decide")


@pytest.mark.parametrize("adjudicates", [True, False])
def test_who_is_no_adjudicator_sees_nothing_of_others(tmp_path: Path, adjudicates: bool) -> None:
    made = study(tmp_path, pairs(1), "edit")
    disagreeing(made, "edit", edited(MENDED), edited(OTHER))
    visit = Visit(made, made.invite("max", adjudicates=adjudicates))
    item = results(made, "edit")[0].item.id
    token = csrf(visit.page("edit"))
    answers = [visit.get("/edit/decide")]
    for path, fields in (("undo", {}), (f"{item}/draft", {"text": "x"}), (item, edited(OTHER))):
        answers.append(visit.send(f"/edit/decide/{path}", token, **fields))
    assert {one.status_code for one in answers} == ({200} if adjudicates else {404})
    assert ("grey" in "".join(one.text for one in answers)) == adjudicates
    assert ("/decide" in visit.get("/edit/guide").text) == adjudicates
    assert visit.send("/edit/decide/none", token, **edited(OTHER)).status_code == 404
