"""Files into a study: the project's own rows, the same item once, mistakes with their place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.studio.study import Study
from bench.studio.tasks import LONGEST, TaskName, read_items
from tests.studio.studies import ORIGINAL, answer_all, pairs, people, study, write

EDIT = {
    "id": "pair0",
    "prompt": "What is the sky's colour on day 0?",
    "original": ORIGINAL,
    "edited": "The sky is blue today",
    "source": "an expert",
}


def test_the_same_file_twice_adds_nothing_and_says_so(tmp_path: Path) -> None:
    made = Study(tmp_path / "s.db", create=True)
    path = write(tmp_path / "a.jsonl", pairs(3))
    assert vars(made.add(path, "edit")) == {"new": 3, "known": 0, "golds": 0}
    assert vars(made.add(path, "edit")) == {"new": 0, "known": 3, "golds": 0}
    more = tmp_path / "b.jsonl.gz"
    more.write_bytes(gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in pairs(5))))
    assert vars(made.add(more, "edit")) == {"new": 2, "known": 3, "golds": 0}
    assert vars(made.add(path, "prefer"))["new"] == 3  # another task is another item


@pytest.mark.parametrize(
    ("task", "row", "responses", "value"),
    [
        ("edit", pairs(1)[0], (ORIGINAL,), None),
        ("edit", EDIT, (ORIGINAL,), {"text": "The sky is blue today"}),
        ("prefer", {"prompt": "p", "output_1": "x", "output_2": "y"}, ("x", "y"), None),
        (
            "prefer",
            {"prompt": "p", "output_1": "x", "output_2": "y", "preference": 2.0},
            ("x", "y"),
            {"preference": 2.0},
        ),
        ("prefer", {"prompt": "p", "chosen": "x", "rejected": "y"}, ("x", "y"), {"preference": 1}),
        ("rank", {"prompt": "p", "responses": ["x", "y"]}, ("x", "y"), None),
        (
            "rank",
            {"prompt": "p", "responses": ["x", "y"], "ranks": [1, 0]},
            ("x", "y"),
            {"ranks": [1, 0]},
        ),
        ("spans", {"prompt": "p", "response": "x"}, ("x",), None),
        ("spans", {"prompt": "p", "response": "x", "spans": None}, ("x",), None),
        (
            "spans",
            {"prompt": "p", "response": "x", "spans": [{"start": 0, "end": 1, "kind": "k"}]},
            ("x",),
            {"spans": [{"start": 0, "end": 1, "kind": "k"}]},
        ),
        ("spans", {"prompt": "p", "chosen": "x", "rejected": "y"}, ("y",), None),
    ],
)
def test_rows_of_each_task(
    task: TaskName, row: dict[str, Any], responses: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    [(item, found)] = read_items(write(tmp_path / "rows.jsonl", [row]), task)
    assert (item.responses, found) == (responses, value)


def test_an_edit_is_of_the_item_that_its_pair_makes(tmp_path: Path) -> None:
    [(one, _)] = read_items(write(tmp_path / "a.jsonl", pairs(1)), "edit")
    [(other, _)] = read_items(write(tmp_path / "b.jsonl", [EDIT]), "edit")
    assert one == other


@pytest.mark.parametrize(
    ("task", "line", "said"),
    [
        ("edit", '{"prompt": "p", "chosen": "x"}', "line 2, field rejected: Field required"),
        ("edit", '{"prompt": "p", "chosen": "x", "rejected": 3}', "line 2, field rejected: "),
        ("edit", '{"id": "pair0", "prompt": "p", "chosen": "x", "rejected": "y"}', "is the id of"),
        ("prefer", '{"prompt": "p", "output_1": "x"}', "line 2, field output_2: Field required"),
        ("rank", '{"prompt": "p", "responses": ["x"]}', "line 2, field responses: "),
        ("spans", '{"prompt": "p"}', "line 2, field response: Field required"),
        ("spans", "[1]", "line 2: a list, no row; it has to be .json (a list of rows)"),
        ("edit", "{nothing", "line 2: not JSON"),
        ("edit", '{"prompt": "p", "chosen": "x", "rejected": "\\ud800"}', "half a character"),
        ("prefer", '{"prompt": "p", "output_1": "x", "output_2": "y", "preference": 7}', "1 to 2"),
        ("rank", '{"prompt": "p", "responses": ["x", "y"], "ranks": [0]}', "1 ranks of 2"),
        (
            "spans",
            '{"prompt": "p", "response": "x", "spans": [{"start": 0, "end": 2, "kind": "k"}]}',
            "the span 0 to 2 is not within the response, which has 1 characters",
        ),
    ],
)
def test_a_wrong_row_is_one_line_and_nothing_is_added(
    task: TaskName, line: str, said: str, tmp_path: Path
) -> None:
    good = {
        "edit": pairs(1)[0],
        "prefer": pairs(1)[0],
        "rank": {"prompt": "p", "responses": ["x", "y"]},
        "spans": {"prompt": "p", "response": "x"},
    }
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(good[task]) + "\n" + line + "\n")
    made = Study(tmp_path / "s.db", create=True)
    with pytest.raises(UserError) as caught:
        made.add(path, task)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert made.tasks() == []


def test_a_response_that_no_form_holds_is_refused(tmp_path: Path) -> None:
    row = pairs(1)[0] | {"rejected": "é" * (LONGEST // 2) + "x"}
    with pytest.raises(
        UserError, match=f"line 1: a response of {LONGEST + 1} bytes; the page takes"
    ):
        read_items(write(tmp_path / "rows.jsonl", [row]), "edit")


def test_a_file_without_rows_and_a_gold_without_its_answer_are_refused(tmp_path: Path) -> None:
    made = Study(tmp_path / "s.db", create=True)
    with pytest.raises(UserError, match="has no rows"):
        made.add(write(tmp_path / "none.jsonl", []), "edit")
    with pytest.raises(UserError, match="row 1: a hidden item needs its answer"):
        made.add_golds(write(tmp_path / "gold.jsonl", pairs(1)), "edit")


def test_known_answers_hide_among_the_items_at_their_rate(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(60), "edit")
    golds = [EDIT | {"id": f"gold{i}", "prompt": f"gold {i}"} for i in range(60)]
    added = made.add_golds(write(tmp_path / "gold.jsonl", [*golds, EDIT]), "edit")
    assert (added.new, added.known, added.golds) == (60, 1, 61)
    assert made.add_golds(tmp_path / "gold.jsonl", "edit").golds == 0
    made.set(gold_rate=0.3)
    [ana, ben] = people(made, "ana", "ben")
    seen = answer_all(made, ana, "edit", {"kind": "nothing_to_mend"})
    gold = [name for name in seen if name.startswith("gold") or name == "pair0"]
    assert len(seen) - len(gold) == 59
    assert 12 <= len(gold) <= 42  # about 59 * .3 / .7
    assert seen.index(gold[0]) < 20
    again = answer_all(made, ben, "edit", {"kind": "nothing_to_mend"})
    assert set(again) <= {*gold, *(f"gold{i}" for i in range(60)), "pair0"}  # golds are for all
