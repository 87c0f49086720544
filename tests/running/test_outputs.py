"""`bench outputs`: what a run answered, as rows that judges, people and AlpacaEval read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.judging import alpaca_eval
from bench.pipeline.store import Store
from bench.records.files import Record, read_items
from bench.studio.tasks import read_items as read_tasks
from bench.suites.testbed.gold import score
from tests.integration.test_run import config, run

Ran = tuple[list[Record], Path, Store]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two seeds of SFT alone, and one with other test prompts."""
    store, results = Store(tmp_path_factory.mktemp("store")), tmp_path_factory.mktemp("results")
    seeds = [config("method=sft", f"seed={seed}", "evaluation.samples=2") for seed in (0, 1)]
    other = config("method=sft", "evaluation.samples=2", "evaluation.test_prompts=3")
    return [run(one, store, results) for one in (*seeds, other)], results, store


def outputs(ran: Ran, record: Record, out: Path, *options: str) -> Result:
    _, results, store = ran
    where = ["--results", str(results), "--store", str(store.root), "--out", str(out)]
    return CliRunner().invoke(app, ["outputs", record.run_id, *where, *options])


def test_rows_are_the_responses_that_were_judged(ran: Ran, tmp_path: Path) -> None:
    """Scored again, they give the record's gold scores, instruction by instruction."""
    (record, *_), results, _ = ran
    done = outputs(ran, record, tmp_path / "o.json")
    assert done.exit_code == 0, done.output
    rows = alpaca_eval.read(tmp_path / "o.json", alpaca_eval.Output, samples=True)
    items = read_items(results / "testbed" / record.run_id)
    assert f"wrote {len(rows)} rows" in done.output
    assert len(rows) == 2 * len(items)
    assert {row.generator for row in rows} == {record.run_id}
    for index, item in enumerate(items):
        own = [score(row.prompt, row.output) for row in rows[index :: len(items)]]
        assert sum(own) / 2 == pytest.approx(item.values["gold_score"])


def test_pairs_are_read_by_judges_and_by_the_studio(ran: Ran, tmp_path: Path) -> None:
    """Beside another run: a pair a sample. Beside the references: the same one for each sample."""
    (first, second, _), _, _ = ran
    for name, against in (("runs", second.run_id), ("references", "references")):
        out = tmp_path / f"{name}.jsonl"
        done = outputs(ran, first, out, "--against", against, "--which", "greedy")
        assert done.exit_code == 0, done.output
        pairs = alpaca_eval.read(out, alpaca_eval.Comparison)
        tasks = [content for content, _ in read_tasks(out, "prefer")]
        assert [item.content.prompt for item in tasks] == [pair.prompt for pair in pairs]
        assert [item.responses for item in tasks] == [(p.output_1, p.output_2) for p in pairs]
    assert {pair.generator_1 for pair in pairs} == {"testbed references"}
    assert {pair.generator_2 for pair in pairs} == {first.run_id}


def test_pairs_of_several_samples(ran: Ran, tmp_path: Path) -> None:
    (first, *_), _, _ = ran
    assert outputs(ran, first, tmp_path / "a.jsonl", "--against", "references").exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    half = len(rows) // 2
    for row, again in zip(rows[:half], rows[half:], strict=True):
        assert row["instruction"] == again["instruction"]
        assert row["output_1"] == again["output_1"]


def test_what_cannot_be_written_is_said_in_one_line(ran: Ran, tmp_path: Path) -> None:
    (first, _, other), _, _ = ran
    out = tmp_path / "o.json"
    for options, said in (
        (["--which", "matched"], "no matched outputs; there are: sampled, greedy"),
        (["--which", "best"], "choose sampled, greedy, matched or unseen"),
        (["--against", other.run_id], "answered other prompts"),
        (["--against", "nobody"], "unknown run 'nobody'"),
        (["--out", str(tmp_path / "o.csv")], "ends in .json or .jsonl"),
        (["--store", str(tmp_path / "empty")], "give the one in which they are with --store"),
    ):
        done = outputs(ran, first, out, *options)
        assert done.exit_code == 2, done.output
        assert said in " ".join(done.stderr.split()), done.stderr
        assert "Traceback" not in done.output
    assert not out.exists()
