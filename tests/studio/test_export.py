"""Results as the project's own readers read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.data import Annotation, Edit, Preference, Ranking, Row, read_edits, read_rows
from bench.studio.export import Exported, export
from bench.studio.results import read_results, results_of
from bench.studio.study import Study
from bench.studio.tasks import TaskName
from tests.studio.studies import ORIGINAL, answer_all, chosen, edited, pairs, people, study, write

BLUE = "The sky is blue today"


def exported(made: Study, task: TaskName, out: Path) -> Exported:
    with made.database.read() as connection:
        return export(results_of(connection, task), out)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(made: Study, name: str, task: TaskName, said: dict[str, Any]) -> None:
    """One person's answers by the row's id; what is not in `said` is left open."""
    [person] = people(made, name)
    while given := made.next(person, task):
        answer = said.get(str(given.item.content.id), {"kind": "skip"})
        made.save(person, given.item.id, answer(given) if callable(answer) else answer, seconds=2)


def test_edits_join_their_pairs_and_every_item_is_counted(tmp_path: Path) -> None:
    rows = [row | {"rejected_ids": [1, 2]} for row in pairs(6)]
    made = study(tmp_path, rows, "edit")
    gold = {k: v for k, v in pairs(1)[0].items() if k in ("id", "prompt")}
    gold |= {"original": ORIGINAL, "original_ids": [1, 2], "edited": BLUE, "source": "x"}
    made.add_golds(write(tmp_path / "gold.jsonl", [gold]), "edit")
    made.set(gold_rate=1.0)
    said = {
        "pair0": edited(BLUE),
        "pair1": edited(BLUE) | {"reasons": ["facts"]},
        "pair2": {"kind": "nothing_to_mend"},
        "pair3": {"kind": "cannot_be_mended"},
    }
    answers(made, "ana", "edit", said)
    out = tmp_path / "out" / "edits.jsonl"
    done = exported(made, "edit", out)
    assert (done.items, done.unchanged, done.several, done.people) == (5, 1, 0, {"ana": 5})
    assert done.outcomes == {"ok": 2, "cannot_be_mended": 1, "skip": 2}
    known = read_rows(tmp_path / "rows.jsonl", Preference)
    edits = read_edits(out, known)
    assert [(edit.id, edit.edited, edit.source, edit.original_ids) for edit in edits] == [
        ("pair1", BLUE, "human:ana", [1, 2]),
        ("pair2", ORIGINAL, "human:ana", [1, 2]),
    ]
    assert json.loads((out.parent / "edits.report.json").read_text())["outcomes"] == done.outcomes
    told = lines(out.parent / "edits.annotators.jsonl")
    assert [row["kind"] for row in told] == [
        *("edit", "nothing_to_mend", "cannot_be_mended", "skip", "skip")
    ]
    assert told[0]["answer"]["reasons"] == ["facts"]
    assert (told[0]["annotator"], told[0]["seconds"]) == ("ana", 2.0)


def test_of_several_editors_the_first_and_all_beside_it(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    made.set(overlap=3)
    answers(made, "ana", "edit", {})
    answers(made, "ben", "edit", {"pair0": edited(BLUE)})
    answers(made, "cid", "edit", {"pair0": edited("The sky is grey today")})
    answers(made, "dan", "edit", {"pair0": {"kind": "nothing_to_mend"}})
    done = exported(made, "edit", tmp_path / "edits.jsonl")
    assert (done.outcomes, done.several) == ({"ok": 1}, 1)
    [edit] = read_rows(tmp_path / "edits.jsonl", Edit)
    assert (edit.edited, edit.source) == (BLUE, "human:ben")
    told = lines(tmp_path / "edits.annotators.jsonl")
    assert [row["annotator"] for row in told] == ["ana", "ben", "cid", "dan"]


def test_preferences_are_the_mean_of_people_whatever_they_saw_where(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "prefer")
    made.set(overlap=2)
    tie = {"kind": "prefer", "choice": "tie"}
    for_green, for_blue = (lambda g: chosen(g, ORIGINAL)), (lambda g: chosen(g, BLUE))
    answers(made, "ana", "prefer", {"pair0": for_green, "pair1": for_blue, "pair2": for_blue})
    answers(made, "ben", "prefer", {"pair0": for_green, "pair1": tie, "pair2": for_green})
    done = exported(made, "prefer", tmp_path / "prefer.jsonl")
    assert done.outcomes == {"ok": 2, "tie": 1}
    rows = read_rows(tmp_path / "prefer.jsonl", Preference)
    assert [(row.id, row.chosen) for row in rows] == [("pair0", ORIGINAL), ("pair1", BLUE)]


def test_rankings_are_by_mean_rank_in_the_order_of_the_file(tmp_path: Path) -> None:
    row = {"id": "r", "prompt": "q", "responses": ["x", "y", "z"], "response_ids": [[1], [2], [3]]}
    made = study(tmp_path, [row], "rank")
    made.set(overlap=2)

    def order(*best: str) -> Any:
        return lambda g: {"kind": "rank", "order": [g.texts.index(text) for text in best]}

    answers(made, "ana", "rank", {"r": order("z", "x", "y")})
    [first] = read_results(tmp_path / "study.db", "rank").items
    assert first.ranks == [1, 2, 0]
    answers(made, "ben", "rank", {"r": order("z", "y", "x")})
    exported(made, "rank", tmp_path / "rank.jsonl")
    [ranking] = read_rows(tmp_path / "rank.jsonl", Ranking)
    assert (ranking.ranks, ranking.response_ids) == ([1, 1, 0], [[1], [2], [3]])


def test_spans_are_annotations_also_where_there_is_no_error(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "spans")
    span = {"start": 11, "end": 16, "type": "fact", "severity": "critical"}
    found = {"kind": "spans", "spans": [span]}
    answers(made, "ana", "spans", {"pair0": found, "pair1": {"kind": "spans", "spans": []}})
    exported(made, "spans", tmp_path / "spans.jsonl")
    rows = read_rows(tmp_path / "spans.jsonl", Annotation)
    assert [(row.id, [vars(s) for s in row.spans or []]) for row in rows] == [
        ("pair0", [{"start": 11, "end": 16, "kind": "fact"}]),
        ("pair1", []),
    ]
    assert rows[0].response[11:16] == "green"
    told = lines(tmp_path / "spans.annotators.jsonl")
    assert told[0]["answer"]["spans"] == [span]


def test_drafts_and_what_was_taken_back_are_no_results(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    [ana] = people(made, "ana")
    for done in (True, False):
        given = made.next(ana, "edit")
        assert given is not None
        made.save(ana, given.item.id, edited(BLUE), seconds=1, done=done)
    sha = read_results(tmp_path / "study.db", "edit").sha
    done_export = exported(made, "edit", tmp_path / "e.jsonl")
    assert done_export.outcomes == {"ok": 1, "unanswered": 1}
    made.undo(ana, "edit")
    assert read_results(tmp_path / "study.db", "edit").sha == sha  # a draft was taken back
    made.undo(ana, "edit")
    assert exported(made, "edit", tmp_path / "e.jsonl").outcomes == {"ok": 0, "unanswered": 2}
    assert read_results(tmp_path / "study.db", "edit").sha != sha
    assert read_rows(tmp_path / "e.jsonl", Edit) == []


@pytest.mark.parametrize("task", ["edit", "prefer", "rank", "spans"])
def test_nothing_answered_is_an_empty_file(task: TaskName, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "responses": ["x", "y"]}] if task == "rank" else pairs(2)
    made = study(tmp_path, rows, task)
    done = exported(made, task, tmp_path / "out.jsonl")
    assert done.outcomes == {"ok": 0, "unanswered": len(rows)}
    assert read_rows(tmp_path / "out.jsonl", Row) == []
    [ana] = people(made, "ana")
    assert len(answer_all(made, ana, task, {"kind": "skip"})) == len(rows)
