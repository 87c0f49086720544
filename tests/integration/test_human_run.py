"""The commands of docs/studio.md, from a run's own pairs to a policy that people's edits pay."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.data import Preference, read_rows
from bench.pipeline.store import Store
from bench.records.files import Record, read_record
from bench.running.stored import pairs_file
from bench.studio.study import Study
from bench.suites.testbed.suite import Testbed
from tests.integration.test_run import SMALL
from tests.studio.web.visits import Visit, found, texts

GUIDE = Path(__file__).parents[2] / "docs" / "studio.md"
HEADING = "## From a run's own pairs to a reward model"


def documented() -> list[list[str]]:
    """The words of each command under the heading, without `python -m bench`."""
    section = GUIDE.read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("    python -m bench ")]
    return [shlex.split(line)[3:] for line in lines]


def bench(words: list[str]) -> Result:
    """A command as a shell would give it, at sizes of seconds; a glob is what it stands for."""
    given = [
        str(path)
        for word in words
        for path in (sorted(Path().glob(word)) if "*" in word else [word])
    ]
    if given[0] == "run":  # what the command itself sets is last, and holds
        sizes = [part for size in SMALL for part in ("--set", size)]
        given = ["run", *sizes, *given[1:]]
    return CliRunner().invoke(app, given)


def done(words: list[str]) -> str:
    result = bench(words)
    assert result.exit_code == 0, result.output
    return result.output


def somebody_edits(path: Path, most: int) -> int:
    """Who knows the testbed's truth edits so many in the page; how many were left."""
    study = Study(path)
    visit, suite, rng = Visit(study), Testbed(), random.Random(0)
    page = visit.page("edit")
    for _ in range(most):
        if "Nothing is left" in page:
            break
        original = found('data-original="([^"]*)"', page)
        text = suite.edit(texts(page)[0], original, rng, 0.0)
        kind = "nothing_to_mend" if text == original else "edit"
        answered = visit.answer(page, kind=kind, text=text, seconds=1)
        assert answered.status_code == 200, answered.text
        page = answered.text
    person = study.person()
    assert person is not None
    left = study.progress(person, "edit").left
    study.close()
    return left


def only(folder: str) -> Record:
    [record] = Path(folder).glob("*/*/record.json")
    return read_record(record.parent)


@pytest.mark.slow
def test_the_documented_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    sample, add, edit, report, train, to_the_policy = documented()
    done(sample)
    assert "30 items added, 0 were there already" in done(add)
    [folder] = Path("first").glob("*/*")
    pairs = read_rows(pairs_file(folder, Store(tmp_path / "store")), Preference)
    assert len(pairs) == 30
    assert edit == ["studio", "serve", "study.db"]
    assert somebody_edits(Path("study.db"), most=15) == 15
    early = bench(train)
    assert early.exit_code == 3  # a result that is not valid
    assert "of 30 responses have no answer from the editor" in early.stderr
    assert somebody_edits(Path("study.db"), most=30) == 0
    assert "edit: 30 items (30 ok)" in done(report)
    done(train)
    record = only("second")
    assert record.editor is not None
    assert (record.editor.name, record.editor.source) == ("human", "human (1 person)")
    outcomes = record.editor.details["outcomes"]
    assert sum(outcomes.values()) == 30
    assert outcomes["ok"] > 0
    assert "api_error" not in outcomes
    assert [stage.name for stage in record.stages][-1] == "rm_evaluation"
    done(to_the_policy)
    policy = only("third")
    assert (policy.status, policy.method) == ("ok", "token_ppo")
    assert policy.editor is not None
    assert policy.editor.name == "human"
    assert policy.metrics["win_rate"].n > 0
    assert len(list((tmp_path / "store" / "preferences").iterdir())) == 1  # the same pairs


def test_a_run_without_its_pairs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    run = next((GUIDE.parents[1] / "results" / "testbed").glob("token_ppo-*"))
    for given, said in (
        (str(run), f"{run.name}: the store {tmp_path / 'store'} does not have its pairs"),
        (str(tmp_path), "record.json"),
    ):
        result = bench(["studio", "add", "study.db", given, "--task", "edit"])
        assert result.exit_code == 2, result.output
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert not Path("study.db").exists()
