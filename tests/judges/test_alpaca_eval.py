"""AlpacaEval's files: what is read, what is refused and how, what is written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import UserError
from bench.judging.alpaca_eval import (
    Annotation,
    Comparison,
    Output,
    annotation_rows,
    compares,
    match,
    read,
)
from bench.judging.pairs import combine
from bench.plugins.protocols import OrderVerdict, Verdict

ROWS = [
    {"instruction": "a", "output": "1", "generator": "g", "dataset": "d", "other": 1},
    {"instruction": "b\u2028", "input": "", "output": ""},
    {"instruction": "b", "input": "more", "output": "3"},
]
ANNOTATION = {"instruction": "a", "output_1": "x", "output_2": "y"}


def write(path: Path, rows: Any) -> Path:
    lines = ".jsonl" in path.name
    text = "\n".join(json.dumps(r, ensure_ascii=False) for r in rows) if lines else json.dumps(rows)
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["o.json", "o.jsonl", "o.json.gz", "o.jsonl.gz"])
def test_outputs(tmp_path: Path, name: str) -> None:
    rows = read(write(tmp_path / name, ROWS), Output)
    assert [row.prompt for row in rows] == ["a", "b\u2028", "b\n\nmore"]
    assert [row.output for row in rows] == ["1", "", "3"]
    assert [row.generator for row in rows] == ["g", None, None]


@pytest.mark.parametrize(
    ("preference", "expected"),
    [(1, 1.0), (2.0, 2.0), (0, 1.5), (1.5, 1.5), (1.25, 1.25), (None, None), (float("nan"), None)],
)
def test_preferences(tmp_path: Path, preference: float | None, expected: float | None) -> None:
    path = write(tmp_path / "a.json", [ANNOTATION | {"preference": preference}])
    assert read(path, Annotation)[0].preference == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ANNOTATION, "row 2, field preference: Field required"),
        (ANNOTATION | {"preference": 3}, r"row 2, field preference: .*3 is no preference: 1 to 2"),
        (ANNOTATION | {"preference": -1}, "row 2, field preference"),
        (ANNOTATION | {"preference": True}, "row 2, field preference"),
        (ANNOTATION | {"preference": "A"}, "row 2, field preference"),
        (ANNOTATION | {"preference": 1, "output_2": None}, "row 2, field output_2"),
        (ANNOTATION | {"preference": 1, "output_1": "\ud800"}, "row 2, field output_1: .*Unicode"),
        ({"preference": 1}, "row 2, field instruction: Field required"),
        ("text", "row 2: Input should be"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: Any, message: str) -> None:
    first = ANNOTATION | {"instruction": "first", "preference": 1}
    with pytest.raises(UserError, match=rf"a\.json, {message}"):
        read(write(tmp_path / "a.json", [first, row]), Annotation)


def test_a_duplicate_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", [*ROWS, {"instruction": "b\n\nmore", "output": "4"}])
    with pytest.raises(UserError, match=r"line 4: has the instruction of line 3 once more"):
        read(path, Output)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.json", b"[]", "has no rows"),
        ("o.jsonl", b"\n\n", "has no rows"),
        ("o.json", b"{}", "is not a list of rows"),
        ("o.json", b"[1", "not JSON"),
        ("o.jsonl", b'{"instruction": "a", "output": "b"}\n{', r"o\.jsonl, line 2: not JSON"),
        ("o.json", b"\xff", "cannot read"),
        ("o.json.gz", b"[]", "cannot read"),
        ("o.json.gz", gzip.compress(b"[]", mtime=0)[:-4], "cannot read"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name, Output)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.json: No such file"):
        read(tmp_path / "gone.json", Output)


def test_the_kind_is_seen_by_the_first_row(tmp_path: Path) -> None:
    assert compares(write(tmp_path / "a.json", [ANNOTATION]))
    assert not compares(write(tmp_path / "o.json", ROWS))
    assert not compares(write(tmp_path / "e.json", []))


def test_match_brings_into_order() -> None:
    rows = [Output(instruction=i, output=i) for i in "abc"]
    assert match(Path("m"), rows, Path("r"), rows[::-1]) == rows[::-1]


def test_instructions_in_one_file_alone_are_counted() -> None:
    rows = [Output(instruction=i, output=i) for i in "abc"]
    with pytest.raises(UserError, match="2 instructions of r are not in m, first 'b'"):
        match(Path("m"), rows[:1], Path("r"), rows)
    with pytest.raises(UserError, match="1 instructions of m are not in r, first 'c'"):
        match(Path("m"), rows, Path("r"), rows[:2])


def test_what_is_written_can_be_read_by_both(tmp_path: Path) -> None:
    """By us, and by pandas as alpaca_eval reads it."""
    orders = [OrderVerdict(2, "ok", "why", "{}"), OrderVerdict(None, "refusal", category="bio")]
    comparisons = [
        Comparison(instruction=i, output_1="x", output_2="y", generator_1="r", generator_2="m")
        for i in "abc"
    ]
    verdicts = [combine([orders[0]] * 2), combine(orders), Verdict(1.5, "identical")]
    path = write(tmp_path / "a.json", annotation_rows(comparisons, verdicts, "judge"))
    rows = read(path, Annotation)
    assert [row.preference for row in rows] == [2.0, None, 1.5]
    assert [row.status for row in rows] == ["ok", "refusal", "identical"]
    assert {row.annotator for row in rows} == {"judge"}
    frame = pd.read_json(path)
    columns = ["instruction", "output_1", "output_2", "generator_1", "generator_2", "annotator"]
    assert set(columns) < set(frame.columns)
    assert frame["preference"].isna().tolist() == [False, True, False]
    assert json.loads(path.read_text())[1]["orders"] == [
        {
            "preference": 2,
            "status": "ok",
            "rationale": "why",
            "category": None,
            "error": None,
            "raw_completion": "{}",
        },
        {
            "preference": None,
            "status": "refusal",
            "rationale": "",
            "category": "bio",
            "error": None,
            "raw_completion": "",
        },
    ]
