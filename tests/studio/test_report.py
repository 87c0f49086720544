"""Agreement, attention, time and disagreements, on answers whose numbers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.grid import Grid
from bench.studio.agreement import alike, measures
from bench.studio.queue import Assigned
from bench.studio.report import make_report
from bench.studio.results import read_results
from bench.studio.show import report_tables
from bench.studio.tasks import Item, TaskName, ToEdit, ToMark, ToPrefer, ToRank, Value
from tests.studio.studies import ORIGINAL, chosen, edited, pairs, study, write
from tests.studio.test_export import BLUE, answers

TO_EDIT = ToEdit(prompt="p", original="one two three four")
TO_MARK = ToMark(prompt="p", response="one two three four")
TO_PREFER = ToPrefer(prompt="p", output_1="x", output_2="y")
TO_RANK = ToRank(prompt="p", responses=["x", "y", "z"])


def spans(*places: tuple[int, int]) -> Value:
    return {"spans": [{"start": start, "end": end, "kind": "k"} for start, end in places]}


@pytest.mark.parametrize(
    ("task", "content", "one", "other", "expected"),
    [
        ("prefer", TO_PREFER, {"preference": 1.0}, {"preference": 1.0}, 1),
        ("prefer", TO_PREFER, {"preference": 1.0}, {"preference": 1.5}, 0),
        ("rank", TO_RANK, {"ranks": [0, 1, 2]}, {"ranks": [0, 2, 1]}, 2 / 3),
        ("rank", TO_RANK, {"ranks": [0, 1, 2]}, {"ranks": [2, 1, 0]}, 0),
        # out "two" and in "2" of both; the other also takes "four" out: 2 * 2 / (2 + 3)
        ("edit", TO_EDIT, {"text": "one 2 three four"}, {"text": "one 2 three"}, 0.8),
        ("edit", TO_EDIT, {"text": "one 2 three four"}, {"text": "one two three 4"}, 0),
        ("edit", TO_EDIT, {"text": TO_EDIT.original}, {"text": TO_EDIT.original}, 1),
        ("edit", TO_EDIT, {"text": TO_EDIT.original}, {"text": "one 2 three four"}, 0),
        # tokens one, two against two, three
        ("spans", TO_MARK, spans((0, 7)), spans((4, 13)), 0.5),
        ("spans", TO_MARK, spans((1, 2)), spans((0, 3)), 1),  # the same token
        ("spans", TO_MARK, spans(), spans(), 1),
        ("spans", TO_MARK, spans(), spans((0, 3)), 0),
    ],
)
def test_alike(task: TaskName, content: Any, one: Value, other: Value, expected: float) -> None:
    item = Item.of(task, content)
    assert alike(item, one, other) == pytest.approx(expected)
    assert alike(item, other, one) == pytest.approx(expected)


def test_preferences_of_two_people(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(10), "prefer")
    made.set(overlap=2)
    green, blue = (lambda g: chosen(g, ORIGINAL)), (lambda g: chosen(g, BLUE))
    answers(made, "ana", "prefer", {f"pair{i}": green if i < 5 else blue for i in range(10)})
    answers(made, "ben", "prefer", {f"pair{i}": green if i < 4 else blue for i in range(10)})
    report = make_report(read_results(tmp_path / "study.db", "prefer"))
    found = {one.name: one.estimate for one in report.agreement}
    same, alpha = found["equal preferences"], found["Krippendorff's alpha"]
    kappa = found["Cohen's kappa, ana and ben"]
    assert same is not None
    assert alpha is not None
    assert kappa is not None
    assert (same.mean, same.n) == (pytest.approx(0.9), 10)
    assert kappa.mean == pytest.approx((0.9 - 0.5) / 0.5)
    assert alpha.mean == pytest.approx(1 - 2 * 19 / (2 * 9 * 11))  # D_o = 2, D_e = 2 * 9 * 11 / 19
    assert report.several == 10
    [one] = report.disagreements
    assert (one.id, one.alike) == ("pair4", 0)
    assert one.said == {"ana": {"preference": 2.0}, "ben": {"preference": 1.0}}


def test_chance_does_not_depend_on_which_response_a_file_has_first(tmp_path: Path) -> None:
    """Pairs have the better one first: all who are right say the first, which is not chance."""
    rows = [
        {"id": f"pair{i}", "prompt": str(i), "chosen": "ab"[i % 2], "rejected": "ba"[i % 2]}
        for i in range(10)
    ]
    made = study(tmp_path, rows, "prefer")
    made.set(overlap=2)
    right = {row["id"]: (lambda g, text=row["chosen"]: chosen(g, text)) for row in rows}
    answers(made, "ana", "prefer", right)
    answers(made, "ben", "prefer", right | {"pair0": lambda g: chosen(g, "b")})
    found = {
        one.name: one.estimate for one in measures(read_results(tmp_path / "study.db", "prefer"))
    }
    alpha, kappa = found["Krippendorff's alpha"], found["Cohen's kappa, ana and ben"]
    assert alpha is not None
    assert kappa is not None
    assert alpha.mean == pytest.approx(1 - 2 * 19 / (2 * 9 * 11))
    assert kappa.mean == pytest.approx((0.9 - 0.5) / 0.5)


def test_nor_is_the_order_of_a_file_s_rankings_chance(tmp_path: Path) -> None:
    """The best one is first in the file, as in pairs; of 20 judgements of 10 units 19 are right."""
    rows = [
        {"id": f"r{i}", "prompt": str(i), "responses": ["ab"[i % 2], "ba"[i % 2]]}
        for i in range(10)
    ]
    made = study(tmp_path, rows, "rank")
    made.set(overlap=2)

    def best(text: str) -> Callable[[Assigned], dict[str, Any]]:
        return lambda g: {"kind": "rank", "order": sorted((0, 1), key=lambda i: g.texts[i] != text)}

    right = {row["id"]: best(row["responses"][0]) for row in rows}
    answers(made, "ana", "rank", right)
    answers(made, "ben", "rank", right | {"r0": best("b")})
    [_, alpha] = measures(read_results(tmp_path / "study.db", "rank"))
    assert alpha.estimate is not None
    assert alpha.estimate.mean == pytest.approx(1 - 2 * 19 / (2 * 9 * 11))  # as of preferences


def test_who_skips_an_item_is_none_of_its_several_people(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "prefer")
    made.set(overlap=2)
    first = {"kind": "prefer", "choice": "a"}
    answers(made, "ana", "prefer", dict.fromkeys(("pair0", "pair1", "pair2"), first))
    answers(made, "ben", "prefer", {"pair0": first})  # the others are skipped
    results = read_results(tmp_path / "study.db", "prefer")
    assert results.several == 1
    [same, *_] = measures(results)
    assert same.estimate is not None
    assert same.estimate.n == results.several


def test_attention_and_time_of_each_person(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(4), "prefer")
    gold = [{"id": f"g{i}", "prompt": f"g{i}", "chosen": "x", "rejected": "y"} for i in range(4)]
    made.add_golds(write(tmp_path / "gold.jsonl", gold), "prefer")
    made.set(gold_rate=1.0)
    right, wrong = (lambda g: chosen(g, "x")), (lambda g: chosen(g, "y"))
    said = {"g0": right, "g1": right, "g2": wrong}  # the others are skipped
    answers(made, "ana", "prefer", said)
    report = make_report(read_results(tmp_path / "study.db", "prefer"))
    assert (report.items, report.golds, report.outcomes) == (4, 4, {"ok": 0, "skip": 4})
    [ana] = report.work
    assert ana.gold is not None
    assert ana.seconds is not None
    assert (ana.gold.mean, ana.gold.n, ana.gold.missing) == (pytest.approx(2 / 3), 3, 1)
    assert (ana.seconds.mean, ana.seconds.n, ana.answers) == (2.0, 8, 4)


def test_edits_of_several_and_those_who_say_that_nothing_is_wrong(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    made.set(overlap=3)
    nothing = {"kind": "nothing_to_mend"}
    answers(made, "ana", "edit", {"pair0": edited(BLUE), "pair1": edited(BLUE)})
    answers(made, "ben", "edit", {"pair0": edited(BLUE), "pair1": nothing})
    answers(made, "cid", "edit", {"pair0": edited(BLUE), "pair1": edited(BLUE)})
    [f1] = measures(read_results(tmp_path / "study.db", "edit"))
    assert f1.estimate is not None
    assert f1.estimate.mean == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("task", ["edit", "prefer", "rank", "spans"])
def test_a_study_that_nobody_answered_has_a_report(task: TaskName, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "responses": ["x", "y"]}] if task == "rank" else pairs(2)
    study(tmp_path, rows, task)
    report = make_report(read_results(tmp_path / "study.db", task))
    assert report.outcomes == {"ok": 0, "unanswered": len(rows)}
    assert all(one.estimate is None and one.problem for one in report.agreement)
    tables = report_tables(report)
    assert all(isinstance(table, Grid) for table in tables)
    assert tables[1].notes[0].endswith("no item was answered by two.")


def test_marks_are_shown_as_places_and_types(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "spans")
    made.set(overlap=2)
    marks = [{"start": start, "end": end, "type": "fact"} for start, end in ((0, 3), (11, 16))]
    answers(made, "ana", "spans", {"pair0": {"kind": "spans", "spans": marks}})
    answers(made, "ben", "spans", {"pair0": {"kind": "spans", "spans": []}})
    table = report_tables(make_report(read_results(tmp_path / "study.db", "spans")))[-1]
    assert isinstance(table, Grid)
    assert "ana: 0-3 fact, 11-16 fact; ben: nothing" in str(vars(table))
