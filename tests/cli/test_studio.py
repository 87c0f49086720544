"""The verbs of `studio`, as somebody uses them, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.data import Edit, read_rows
from bench.studio.study import Study
from tests.studio.studies import edited, pairs, write


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "120")
    write(Path("pairs.jsonl"), pairs(4))


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["studio", *arguments])


def said(*arguments: str) -> str:
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    result = bench(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_from_a_file_of_pairs_to_a_file_of_edits(tmp_path: Path) -> None:
    told = said("add", "study.db", "pairs.jsonl", "--task", "edit", "--overlap", "2")
    assert "pairs.jsonl: 4 items added, 0 were there already\n" in told
    assert "overlap=2, share=1.0" in told
    told = said("add", "study.db", "pairs.jsonl")  # the only task is meant
    assert "0 items added, 4 were there already\n" in told
    assert "overlap=2" in told
    link = said("people", "study.db", "--add", "ana").strip()
    assert link.startswith("http://127.0.0.1:8765/?token=")
    study = Study(tmp_path / "study.db")
    ana = study.person(link.partition("=")[2])
    assert ana is not None
    given = study.next(ana, "edit")
    assert given is not None
    study.save(ana, given.item.id, edited("The sky is blue today"), seconds=3)
    assert "ana" in said("people", "study.db")
    said("people", "study.db", "--add", "zoe", "--adjudicator")
    assert [one.adjudicates for one in study.people()] == [False, True]
    out = said("export", "study.db", "--out", "edits.jsonl")
    assert out == "edits.jsonl: 1 of 4 items, 3 unanswered\n"
    assert [row.id for row in read_rows(Path("edits.jsonl"), Edit)] == ["pair0"]
    shown = said("report", "study.db", "--json", "report.json")
    assert "edit: 4 items (1 ok, 3 unanswered), 0 hidden" in shown
    assert json.loads(Path("report.json").read_text())["work"][0]["person"] == "ana"
    assert said("backup", "study.db", "--out", "copy.db") == "study.db copied to copy.db\n"
    assert said("people", "study.db", "--revoke", "ana") == "ana's link has ended\n"
    assert Study(Path("copy.db")).people()[0].invited


def test_what_is_refused_is_one_line_and_leaves_no_study_behind() -> None:
    assert "there is no study none.db" in refused("add", "none.db", "pairs.jsonl")
    for verb in (["people"], ["report"], ["export", "--out", "x.jsonl"], ["add"]):
        name, *rest = verb
        assert "there is no study none.db" in refused(name, "none.db", *rest)
    assert "unknown task 'edits'; did you mean 'edit'?" in (
        refused("add", "none.db", "pairs.jsonl", "--task", "edits")
    )
    assert "cannot read gone.jsonl" in refused("add", "none.db", "gone.jsonl", "--task", "edit")
    assert "field responses" in refused("add", "none.db", "pairs.jsonl", "--task", "rank")
    assert not Path("none.db").exists()
    assert "pairs.jsonl is no study" in refused("report", "pairs.jsonl")
    said("add", "study.db", "pairs.jsonl", "--task", "edit")
    assert "overlap must be" in refused("add", "study.db", "--overlap", "0")
    assert "share must be" in refused("add", "study.db", "--share", "2")
    for verb in (["export", "--out"], ["report", "--json"]):
        for taken in ("study.db", "other.db"):
            Study(Path(taken), create=True).close()
            name, option = verb
            told = refused(name, "study.db", option, taken)
            assert f"cannot write {taken}: it is a study" in told
            assert Study(Path(taken)).settings().overlap == 1
    assert "there is a file pairs.jsonl" in refused("backup", "study.db", "--out", "pairs.jsonl")
    Path("folder").mkdir()
    assert "the study folder is a folder" in refused(
        "add", "folder", "pairs.jsonl", "--task", "edit"
    )
    told = refused("add", "none/study.db", "pairs.jsonl", "--task", "edit")
    assert "there is no folder none; make it first" in told
    assert "a new one needs a file of items and --task (edit, " in refused("add", "new.db")
    assert "needs a file" in refused("add", "new.db", "--gold", "pairs.jsonl", "--task", "edit")
    for name in ("x.jsonl.gz", "x.json"):
        assert "has a row a line" in refused("export", "study.db", "--out", name)
    for url in ("studio.lan", "http://", "http://a/?token=1"):
        assert "is no address" in refused("people", "study.db", "--add", "ana", "--url", url)
    assert Study(Path("study.db")).people() == []
    assert "give both" in refused("people", "study.db", "--adjudicator")
    assert "unknown person" in refused("people", "study.db", "--revoke", "ben")
    assert "has edit: name a task" in refused("report", "study.db", "--task", "rank")
    said("add", "study.db", "pairs.jsonl", "--task", "prefer")
    assert "has edit and prefer: name a task" in refused("report", "study.db")


def test_a_list_of_types_has_no_empty_one_and_can_be_taken_back() -> None:
    said("add", "study.db", "pairs.jsonl", "--task", "spans", "--span-types", "fact,, form ,fact")
    assert Study(Path("study.db")).settings().span_types == ["fact", "form"]
    said("add", "study.db", "--span-types", ",")
    assert Study(Path("study.db")).settings().span_types == []
