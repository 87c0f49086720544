"""Files of preferences in, files of edits out, no row lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.data import Edit, Preference, read_rows, write_rows
from bench.editing.files import Rejected, edit_file, read_responses
from bench.errors import UserError
from tests.editing.writer import editor, repaired, serving
from tests.llm.faults import Kind

FARM: list[dict[str, Any]] = [
    {"instruction": "i", "input": "more", "output_1": "a", "output_2": "b", "preference": 1},
    {"instruction": "i", "input": "", "output_1": "a", "output_2": "b", "preference": 2},
    {"instruction": "i", "output_1": "a", "output_2": "b", "preference": 1.2, "raw": 4},
    {"instruction": "i", "input": None, "output_1": "a", "output_2": "b", "preference": 1.5},
    {"instruction": "i", "input": "", "output_1": "a", "output_2": "b", "preference": 0},
    {"instruction": "i", "input": "", "output_1": "a", "output_2": "b", "preference": None},
]
ROW = {"prompt": "p", "chosen": "c", "rejected": "r"}


def rule(text: str, turn: int) -> str:
    return text if "unmendable" in text else repaired(text, turn)


@pytest.fixture
def preferences(tmp_path: Path) -> Path:
    path = tmp_path / "preferences.jsonl"
    rejected = ["a wrong word here", "an unmendable word", "", "a wrong word here"]
    write_rows(path, [Preference(prompt="p", chosen="c", rejected=text) for text in rejected])
    return path


def farm(folder: Path, rows: Any) -> Path:
    path = folder / "farm.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_row_is_accounted_for(
    tmp_path: Path, preferences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made" / "edits.jsonl"
    with serving(monkeypatch, rule) as server:
        claude = editor(tmp_path)
        report = edit_file(preferences, out, claude)
    assert server.calls == 3  # the equal pair once, the unmendable one twice, the empty one never
    edit = Edit(
        prompt="p", original="a wrong word here", edited="a right word here", source=claude.source
    )
    assert read_rows(out, Edit) == [edit, edit]
    unchanged, empty = read_rows(out.parent / "edits.rejected.jsonl", Rejected)
    assert (unchanged.status, unchanged.reason) == ("rejected_unchanged", "nothing was changed")
    assert (unchanged.proposed, unchanged.changed_fraction) == ("an unmendable word", 0.0)
    assert (empty.status, empty.proposed) == ("rejected_empty", None)
    stored = json.loads((out.parent / "edits.report.json").read_text())
    assert stored == json.loads(json.dumps(report.as_dict()))
    assert stored["rows"] == 4
    assert stored["outcomes"] == {"ok": 2, "rejected_empty": 1, "rejected_unchanged": 1}
    assert names(out.parent) == {"edits.jsonl", "edits.rejected.jsonl", "edits.report.json"}


def test_an_edit_has_the_id_of_its_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        Preference(id=name, prompt="p", chosen="c", rejected=text)
        for name, text in (("a", ""), ("b", "a wrong word here"), (None, "a wrong word there"))
    ]
    write_rows(tmp_path / "pairs.jsonl", pairs)
    with serving(monkeypatch, rule):
        edit_file(tmp_path / "pairs.jsonl", tmp_path / "edits.jsonl", editor(tmp_path))
    assert [row.id for row in read_rows(tmp_path / "edits.jsonl", Edit)] == ["b", None]


def test_alpacafarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1: the first is preferred, so the second is edited; ties and rows without a label are not."""
    pairs, left_out = read_responses(farm(tmp_path, FARM))
    assert pairs == [("i\n\nmore", "b"), ("i", "a"), ("i", "b")]
    assert left_out == {"tie": 2, "unlabelled": 1}
    with serving(monkeypatch):
        report = edit_file(tmp_path / "farm.json", tmp_path / "edits.jsonl", editor(tmp_path))
    assert report.rows == len(FARM) == sum(report.outcomes.values()) + sum(left_out.values())
    assert report.left_out == left_out


def test_again_writes_the_same_files_without_a_call(
    tmp_path: Path, preferences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rejected = tmp_path / "edits.jsonl", tmp_path / "edits.rejected.jsonl"
    with serving(monkeypatch, rule) as server:
        first = edit_file(preferences, out, editor(tmp_path))
        files = out.read_bytes(), rejected.read_bytes()
        second = edit_file(preferences, out, editor(tmp_path))
        assert server.calls == 3
    assert (out.read_bytes(), rejected.read_bytes()) == files
    assert (second.calls, second.outcomes, second.cost_usd) == (0, first.outcomes, first.cost_usd)


def test_stopped_run_leaves_what_was_there(
    tmp_path: Path, preferences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "edits.jsonl"
    out.write_text("mine")
    with (
        serving(monkeypatch, faults=lambda _, __: Kind.AUTHENTICATION),
        pytest.raises(UserError, match="ANTHROPIC_API_KEY"),
    ):
        edit_file(preferences, out, editor(tmp_path))
    assert out.read_text() == "mine"
    assert {name for name in names(tmp_path) if "edits" in name} == {"edits.jsonl"}


def test_who_reads_meanwhile_sees_the_old_file_whole(
    tmp_path: Path, preferences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "edits.jsonl"
    out.write_text("old")
    with serving(monkeypatch, rule), out.open() as reader:
        edit_file(preferences, out, editor(tmp_path))
        assert reader.read() == "old"
    assert out.read_text() != "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it has to be"),
        ("[]", "has no preferences"),
        ("[1]", "row 1, field the row: Input should be"),
        (json.dumps([*FARM, {"instruction": "i"}]), "row 7, field output_1: Field required"),
        (
            json.dumps([{**FARM[0], "preference": 3}]),
            "row 1, field preference: .*3 is no preference",
        ),
        (json.dumps([{**FARM[0], "output_2": None}]), "row 1, field output_2: Input should be"),
        (
            json.dumps([*FARM, {**FARM[0], "input": "\ud800"}]),
            "row 7, field input: .*half a character",
        ),
        (
            r'[{"prompt": "p", "chosen": "c", "rejected": "\udc00"}]',
            "row 1, field rejected: .*half a character",
        ),
        ('[{"instruction"', r"farm\.json: not JSON: .*; it has to be \.json .* or \.jsonl"),
        ('[{"prompt": "p", "chosen": "c"}]', "row 1, field rejected: Field required"),
        ('{"prompt": "p"}\n{"prompt": "q"}', r"farm\.json: not JSON: .*it has to be .* \.jsonl"),
        ("prompt,chosen,rejected\np,c,r\n", r"farm\.json: not JSON: .*it has to be .* \.jsonl"),
        (json.dumps([{**ROW, "id": "a"}] * 2), "row 2, field id: 'a' is the id of row 1, too"),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "farm.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_responses(path)


@pytest.mark.parametrize("ending", ["json", "json.gz", "jsonl", "jsonl.gz"])
@pytest.mark.parametrize("rows", [FARM[:2], [{**ROW, "id": "a"}, ROW]])
def test_both_kinds_of_rows_in_all_kinds_of_files(
    tmp_path: Path, rows: list[dict[str, Any]], ending: str
) -> None:
    path = tmp_path / f"pairs.{ending}"
    text = json.dumps(rows) if "jsonl" not in ending else "\n".join(map(json.dumps, rows))
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    assert len(read_responses(path)[0]) == 2


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.json"):
        read_responses(tmp_path / "gone.json")


def test_places_that_cannot_be_written_are_found_before_a_call(
    tmp_path: Path, preferences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    outs = {
        preferences: "would overwrite the preferences",
        tmp_path: "it is a folder",
        tmp_path / "file" / "edits.jsonl": r"cannot write .*edits\.jsonl",
    }
    with serving(monkeypatch) as server:
        for out, message in outs.items():
            with pytest.raises(UserError, match=message):
                edit_file(preferences, out, editor(tmp_path))
        assert server.calls == 0


def test_too_many_without_an_answer_leave_the_files_of_before(
    tmp_path: Path, preferences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "edits.jsonl"
    with serving(monkeypatch, rule):
        edit_file(preferences, out, editor(tmp_path))
        before = {path: path.read_bytes() for path in tmp_path.glob("edits.*")}
        poor = {"max_usd": 0.0, "max_tokens": 2048}  # other questions, and nothing to ask them with
        with pytest.raises(
            UserError, match=r"3 of 4 .*\(3 skipped_budget\), more than 2"
        ) as caught:
            edit_file(preferences, out, editor(tmp_path, **poor))
        assert caught.value.exit_code == 3
        assert {path: path.read_bytes() for path in tmp_path.glob("edits.*")} == before
        report = edit_file(preferences, out, editor(tmp_path, **poor), allow_missing=True)
    assert report.outcomes == {"ok": 0, "rejected_empty": 1, "skipped_budget": 3}
    assert out.read_text() == ""


def test_what_asking_again_cannot_mend_is_no_missing_answer(
    tmp_path: Path, preferences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(monkeypatch, rule, faults=lambda _, __: Kind.REFUSAL):
        report = edit_file(preferences, tmp_path / "edits.jsonl", editor(tmp_path))
    assert report.outcomes == {"ok": 0, "refusal": 3, "rejected_empty": 1}
