"""What a run asks: as many calls as the dry run says, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.data import Demonstration, write_rows
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.plugins.entries import Entry
from bench.plugins.registry import SUITES
from bench.records.files import read_items, read_samples
from bench.running import runner
from bench.running.estimates import run_estimates
from bench.running.plan import make_plan
from leaderboard.analysis.aggregate import tables
from leaderboard.views.render import table_grids
from tests.integration.test_asked_run import answer
from tests.llm.server import Server
from tests.suites.filed import write_files

ASKED = [
    "suite.folder=files",
    "evaluation.judge=claude",
    "judge.canaries=0",
    "judge.max_retries=0",
    "evaluation.validation=last",
    "evaluation.validation_prompts=0",
    "evaluation.unseen_prompts=0",
    "evaluation.greedy=false",
    "evaluation.matched_kl=null",
    "evaluation.samples=1",
    "evaluation.max_new_tokens=2",
    "sft.demonstrations=8",
    "sft.steps=0",
    "preferences.pairs=16",
    "preferences.held_out=6",
    "ppo.prompts=8",
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path / "files")
    rows = [Demonstration(prompt=f"Say test {i}.", response="It is red.") for i in range(805)]
    write_rows(tmp_path / "files" / "test.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    entry = Entry("filed", "tests.suites.filed:Filed", "")
    monkeypatch.setattr(SUITES, "_builtins", (*SUITES._builtins, entry))
    return tmp_path / "files"


def config(*overrides: str, method: str = "sft") -> RunConfig:
    return load_config("testbed", [*ASKED, *overrides], suite="filed", method=method)


def estimated(settings: RunConfig, store: Store) -> dict[str, Any]:
    """Calls by who makes them."""
    found = {}
    for grid in run_estimates(*make_plan(settings, store), store):
        who = grid.title.removeprefix("dry run: ").partition(" claude-")[0]
        found[who] = dict(row for row in grid.rows if row[0])["calls"]
    return found


def test_805_instructions_cost_1610_calls_and_no_more(
    server: Server, files: Path, tmp_path: Path
) -> None:
    """One sample each, both orders; neither unseen nor greedy nor validation responses."""
    for split in ("unseen", "validation"):
        (files / f"{split}.jsonl").unlink()
    server.answer = answer
    store = Store(tmp_path / "store")
    settings = config("evaluation.test_prompts=805")
    (table,) = run_estimates(*make_plan(settings, store), store)
    told = dict(row for row in table.rows if row[0])
    assert told["calls"] == "1,610"
    assert told["price"].startswith("$")
    assert float(told["input tokens"].replace(",", "")) > 1610
    assert "taken to be as long as the references" in table.rows[-1][1]
    assert server.calls == 0
    record = runner.run(settings, store=store, results=tmp_path, progress=Progress())
    assert server.calls == 1610
    assert record.status == "ok"
    assert record.metrics["win_rate"].n == 805
    assert not [name for name in record.metrics if "greedy" in name or "unseen" in name]
    assert set(record.data) == {"test"}
    folder = tmp_path / "filed" / record.run_id
    assert set(read_items(folder)[0].values) == {"win_rate", "length", "kl", "repeat_share"}
    assert not any(sample.greedy for sample in read_samples(folder))
    ((board,), problems) = tables(tmp_path, "filed")
    assert problems == []
    headings = [grid.title for grid in table_grids(board)] + [
        heading for grid in table_grids(board) for heading in grid.headers
    ]
    assert not [text for text in headings if "greedy" in text or "unseen" in text]
    assert run_estimates(*make_plan(settings, store), store) == []


def test_every_part_that_is_judged_is_in_the_estimate(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    few = ("evaluation.test_prompts=10",)
    assert estimated(config(*few), store) == {"judge": "20"}
    assert estimated(config(*few, "evaluation.samples=2"), store) == {"judge": "40"}
    assert estimated(config(*few, "evaluation.greedy=true"), store) == {"judge": "40"}
    assert estimated(config(*few, "evaluation.unseen_prompts=3"), store) == {"judge": "26"}
    matched = config(*few, "evaluation.matched_kl=2", "edits.source=files", method="ppo_rlhf")
    assert estimated(matched, store)["judge"] == "40"
    assert estimated(config(*few, "judge.canaries=2"), store) == {"judge": "34"}
    best = config(*few, "evaluation.greedy=true", "reward.n=4", method="best_of_n")
    assert estimated(best, store)["judge"] == "20"  # none of them is greedy
    (tmp_path / "verdicts.json").write_text("[]")
    silent = [one for one in ASKED if "judge" not in one] + ["judge.annotations=verdicts.json"]
    replayed = load_config("testbed", [*silent, "evaluation.judge=replay"], suite="filed")
    assert estimated(replayed.model_copy(update={"method": "sft"}), store) == {}


def test_validations_and_edits_are_estimated_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    asked = (
        "evaluation.test_prompts=10",
        "evaluation.validation=judge",
        "evaluation.validation_judge=claude",
        "evaluation.validation_prompts=4",
        "ppo.steps=25",  # validated at 0, 10, 20 and 25
        "edits.source=claude",
    )
    found = estimated(config(*asked, method="token_ppo"), store)
    assert found == {"judge": "20", "validation judge": "32", "editor": "22"}
