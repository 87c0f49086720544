"""Where people disagree: who may decide, what then comes out, and that what people said remains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.data import Edit, Preference, read_rows
from bench.errors import UserError
from bench.studio.editor import HumanEditor, HumanEditorOptions
from bench.studio.export import export
from bench.studio.judge import HumanJudge, HumanJudgeOptions
from bench.studio.people import Person
from bench.studio.report import make_report
from bench.studio.results import read_results
from bench.studio.show import exported_line, report_tables
from bench.studio.study import Study
from bench.studio.tasks import TaskName
from tests.studio.studies import ORIGINAL, chosen, edited, pairs, rankings, study
from tests.studio.test_export import BLUE, answers

RED = "The sky is red today"
CANNOT: dict[str, Any] = {"kind": "cannot_be_mended"}
SKIP: dict[str, Any] = {"kind": "skip"}


def adjudicator(made: Study) -> Person:
    found = made.person(made.invite("zoe", adjudicates=True))
    assert found is not None
    return found


def disagreeing(folder: Path, task: TaskName = "prefer") -> Study:
    """Of four pairs ana and ben agree on the first two."""
    made = study(folder, pairs(4), task)
    made.set(overlap=2, max_changed=1.0)
    if task == "edit":
        answers(made, "ana", task, {f"pair{i}": edited(BLUE) for i in range(4)})
        other = {0: edited(BLUE), 1: edited(BLUE), 2: edited(RED), 3: CANNOT}
        answers(made, "ben", task, {f"pair{i}": said for i, said in other.items()})
    else:
        blue, green = (lambda g: chosen(g, BLUE)), (lambda g: chosen(g, ORIGINAL))
        answers(made, "ana", task, {f"pair{i}": blue for i in range(4)})
        answers(made, "ben", task, {f"pair{i}": blue if i < 2 else green for i in range(4)})
    return made


def ids(made: Study, person: Person, task: TaskName) -> dict[str, str]:
    """Ids of the disputed items in the study by their rows' own."""
    return {
        str(one.answered.item.content.id): one.answered.item.id
        for one in made.disputes(person, task)
    }


def test_the_adjudicators_word_comes_out_and_what_people_said_remains(tmp_path: Path) -> None:
    made = disagreeing(tmp_path)
    zoe, path = adjudicator(made), tmp_path / "study.db"
    found = ids(made, zoe, "prefer")
    assert list(found) == ["pair2", "pair3"]
    before, agreement = read_results(path, "prefer"), make_report(read_results(path, "prefer"))
    assert export(before, tmp_path / "before.jsonl").outcomes == {"ok": 2, "tie": 2}
    made.adjudicate(zoe, found["pair3"], {"kind": "prefer", "choice": "b"})  # the second: ORIGINAL
    after = read_results(path, "prefer")
    assert after.sha != before.sha
    exported = export(after, tmp_path / "after.jsonl")
    assert (exported.outcomes, exported.adjudicated) == ({"ok": 3, "tie": 1}, 1)
    assert exported_line(exported, "x") == "x: 3 of 4 items, 1 tie, 1 adjudicated"
    rows = {row.id: row.chosen for row in read_rows(tmp_path / "after.jsonl", Preference)}
    assert rows == {"pair0": BLUE, "pair1": BLUE, "pair3": ORIGINAL}
    said = [json.loads(line) for line in (tmp_path / "after.annotators.jsonl").open()]
    own = [(one["annotator"], one["adjudicates"]) for one in said if one["id"] == "pair3"]
    assert own == [("ana", False), ("ben", False), ("zoe", True)]
    judge = HumanJudge(None, HumanJudgeOptions(db=str(path)))
    prompt = str(pairs(4)[3]["prompt"])
    assert judge.compare([prompt], [ORIGINAL], [BLUE])[0].preference == 2.0
    assert judge.about()["models"] == {"zoe": 1}
    report = make_report(after)
    assert report.agreement == agreement.agreement  # of what people said
    assert report.adjudicated == 1
    assert {one.id: one.adjudicated for one in report.disagreements} == {
        "pair2": None, "pair3": "zoe"
    }  # fmt: skip
    assert report_tables(report)[1].title.endswith(
        "4 items of several people, 1 of them adjudicated"
    )
    assert list(ids(made, zoe, "prefer")) == ["pair2", "pair3"]  # the decided one last


def test_the_last_word_counts_and_can_be_taken_back(tmp_path: Path) -> None:
    made = disagreeing(tmp_path)
    zoe = adjudicator(made)
    item = ids(made, zoe, "prefer")["pair2"]

    def preference() -> float | None:
        results = read_results(tmp_path / "study.db", "prefer")
        [found] = (one for one in results.items if one.item.id == item)
        return found.preference

    assert preference() == 1.5
    first = made.adjudicate(zoe, item, {"kind": "prefer", "choice": "a"})
    assert preference() == 1.0
    second = made.adjudicate(zoe, item, {"kind": "prefer", "choice": "b"})
    assert (second > first, preference()) == (True, 2.0)
    assert made.undo_adjudication(zoe, "prefer") == item
    assert preference() == 1.0
    assert made.undo_adjudication(zoe, "edit") is None  # of another task there is none
    assert made.undo_adjudication(zoe, "prefer") == item
    assert preference() == 1.5
    assert made.undo_adjudication(zoe, "prefer") is None
    with made.database.read() as connection:
        kinds = [row["kind"] for row in connection.execute("SELECT kind FROM adjudications")]
    assert kinds == ["prefer", "prefer", "undo", "undo"]  # nothing was removed


def test_edits_and_what_cannot_be_mended(tmp_path: Path) -> None:
    made = disagreeing(tmp_path, "edit")
    zoe, path = adjudicator(made), tmp_path / "study.db"
    first, second = made.disputes(zoe, "edit")
    # One edits and one says that it cannot be: nothing in common. Of out "green" and in "blue" or
    # "red" they share the first: 2 / 4.
    assert [one.answered.item.content.id for one in (first, second)] == ["pair3", "pair2"]
    assert (first.alike, second.alike) == (0, 0.5)
    assert {one.person: one.value for one in first.answered.given} == {
        "ana": {"text": BLUE}, "ben": None
    }  # fmt: skip
    made.adjudicate(zoe, first.answered.item.id, CANNOT)
    made.adjudicate(zoe, second.answered.item.id, edited(RED))
    results = read_results(path, "edit")
    assert export(results, tmp_path / "edits.jsonl").outcomes == {"ok": 3, "cannot_be_mended": 1}
    rows = {row.id: (row.edited, row.source) for row in read_rows(tmp_path / "edits.jsonl", Edit)}
    assert rows["pair2"] == (RED, "human:zoe")
    editor = HumanEditor(HumanEditorOptions(db=str(path)))
    prompts = [str(pair["prompt"]) for pair in pairs(4)]
    found = editor.edit([(prompt, ORIGINAL) for prompt in prompts])
    assert [(one.status, one.edited) for one in found[2:]] == [("ok", RED), ("refusal", None)]


def test_ranks(tmp_path: Path) -> None:
    made = study(tmp_path, rankings(1), "rank")
    made.set(overlap=2)

    def ranked(*texts: str) -> Any:
        return lambda given: {"kind": "rank", "order": [given.texts.index(x) for x in texts]}

    answers(made, "ana", "rank", {"r0": ranked("x", "y", "z")})
    answers(made, "ben", "rank", {"r0": ranked("z", "y", "x")})
    zoe = adjudicator(made)
    [dispute] = made.disputes(zoe, "rank")
    assert dispute.answered.ranks == [0, 0, 0]
    made.adjudicate(zoe, dispute.answered.item.id, {"kind": "rank", "order": [1, 2, 0]})
    [found] = read_results(tmp_path / "study.db", "rank").items
    assert found.ranks == [2, 0, 1]


def test_who_may_decide_and_of_what(tmp_path: Path) -> None:
    made = disagreeing(tmp_path)
    ana = next(one for one in made.people() if one.name == "ana")
    for act in (
        lambda: made.disputes(ana, "prefer"),
        lambda: made.adjudicate(ana, "x", SKIP),
        lambda: made.undo_adjudication(ana, "prefer"),
    ):
        with pytest.raises(UserError, match="ana is no adjudicator: `people --add NAME"):
            act()
    zoe = adjudicator(made)
    agreed = next(
        one.item.id
        for one in read_results(tmp_path / "study.db", "prefer").items
        if one.item.content.id == "pair0"
    )
    for which in (agreed, "no item"):
        with pytest.raises(UserError, match=f"people do not disagree on the item {which}"):
            made.adjudicate(zoe, which, SKIP)
    disputed = ids(made, zoe, "prefer")["pair2"]
    with pytest.raises(UserError, match="edit is no answer to prefer"):
        made.adjudicate(zoe, disputed, edited(BLUE))
    made.revoke("zoe")
    again = made.person(made.invite("zoe"))
    assert again is not None
    assert again.adjudicates  # who has become one remains one
    assert [one.adjudicates for one in made.people()] == [False, False, True]


def test_who_skips_does_not_disagree(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "prefer")
    made.set(overlap=2)
    answers(made, "ana", "prefer", {"pair0": lambda g: chosen(g, BLUE)})
    answers(made, "ben", "prefer", {"pair0": SKIP})
    assert made.disputes(adjudicator(made), "prefer") == []
