"""Verdicts from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from judges.replay import Replay, ReplayOptions
from tests.judges.test_alpaca_eval import write

ROWS = [
    {"instruction": "won", "output_2": "m", "preference": 2},
    {"instruction": "tied", "output_2": "m", "preference": 0},
    {"instruction": "same", "output_2": "ref", "preference": 0},
    {"instruction": "unread", "output_2": "m", "preference": None},
    {"instruction": "refused", "output_2": "m", "preference": None, "status": "refusal"},
    {"instruction": "odd", "output_2": "m", "preference": None, "status": "ok"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = [row | {"output_1": "ref", "annotator": "who"} for row in ROWS]
    return write(tmp_path / "annotations.json", rows)


def test_verdicts_and_statuses(path: Path) -> None:
    said: list[str] = []
    judge = Replay(None, ReplayOptions(annotations=str(path)), say=said.append)
    prompts = [str(row["instruction"]) for row in ROWS]
    outputs = [str(row["output_2"]) for row in ROWS]
    verdicts = judge.compare(prompts, outputs, ["ref"] * 6)
    assert [(v.preference, v.status) for v in verdicts] == [
        (2.0, "ok"),
        (1.5, "tie"),
        (1.5, "identical"),
        (None, "parse_error"),
        (None, "refusal"),
        (None, "parse_error"),
    ]
    assert said == []
    assert judge.model == "who"
    about = judge.about()
    assert (about["cost_usd"], about["models"]) == (0.0, {"who": 6})
    assert about["diagnostics"]["refusal_rate"]["mean"] == pytest.approx(1 / 6)


def test_what_the_file_does_not_have_is_missing(path: Path) -> None:
    said: list[str] = []
    judge = Replay(None, ReplayOptions(annotations=str(path)), say=said.append)
    verdicts = judge.compare(["won", "won", "new"], ["m", "other", "m"], ["ref"] * 3)
    assert [v.status for v in verdicts] == ["ok", "api_error", "api_error"]
    assert said == [f"2 of 3 outputs are not in {path}: counted api_error"]


def test_other_references_are_refused(path: Path) -> None:
    judge = Replay(None, ReplayOptions(annotations=str(path)))
    with pytest.raises(UserError, match="two sets of references are mixed: 1 of 2"):
        judge.compare(["won", "tied"], ["m", "m"], ["ref", "other"])


def test_the_judged_file_stands_in(path: Path) -> None:
    judge = Replay(None, ReplayOptions())
    with pytest.raises(UserError, match=r"judge\.annotations=FILE"):
        judge.ready()
    judge.use(path)
    judge.ready()
    assert judge.compare(["won"], ["m"], ["ref"])[0].preference == 2.0
    named = Replay(None, ReplayOptions(annotations=str(path)))
    named.use(Path("other"))
    named.ready()


def test_key_of_a_stage_follows_what_the_file_says(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    before = ReplayOptions(annotations=str(path)).result_fields()
    copy = tmp_path / "copy.json"
    copy.write_bytes(content)
    assert ReplayOptions(annotations=str(copy)).result_fields() == before
    path.write_bytes(content.replace(b"won", b"lost"))
    assert ReplayOptions(annotations=str(path)).result_fields() != before
    assert ReplayOptions().result_fields() != before
    with pytest.raises(UserError, match=r"cannot read .*gone\.json"):
        ReplayOptions(annotations=str(tmp_path / "gone.json")).result_fields()
