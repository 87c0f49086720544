"""The preset `paper` as a user runs it: fetched, priced, run, with a tiny LLaMA in the place of 7B.

Each verb is a process of its own. The hub is a server on this machine that has the data set's files
in their exact shape; another one speaks Claude's API, edits and judges.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.records.files import find_runs
from tests.hub import Hub
from tests.integration.test_asked_run import answer
from tests.llm.server import Server
from tests.suites.test_alpacafarm import files
from tests.tiny import tiny_backbone

METHODS = "ppo_rlhf", "fine_grained_ppo", "token_ppo"
# Sizes alone: what is asked of whom, in which order and with which options is the preset's.
SMALL = {
    "suite.held_out": 0.3,
    "sft.demonstrations": 9,
    "sft.batch_size": 4,
    "preferences.pairs": 8,
    "preferences.held_out": 4,
    "preferences.max_new_tokens": 8,
    "reward_model.normalisation_samples": 8,
    "ppo.steps": 1,
    "ppo.batch_size": 4,
    "ppo.minibatch_size": 4,
    "ppo.prompts": 8,
    "ppo.max_new_tokens": 8,
    "evaluation.test_prompts": 4,
    "evaluation.max_new_tokens": 8,
}
PAPER = "--preset", "paper"
CUT = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
FETCH = "python -m bench fetch --preset paper"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    backbone = tiny_backbone()
    backbone.model.save_pretrained(tmp_path / "llama")
    backbone.tokens.tokenizer.save_pretrained(tmp_path / "llama")
    with Hub("cc-by-nc-4.0") as running:
        saved = {path.name: path.read_bytes() for path in (tmp_path / "llama").iterdir()}
        running.add("models", "huggyllama/llama-7b", saved)
        data = {name: json.dumps(rows).encode() for name, rows in files().items()}
        running.add("datasets", "tatsu-lab/alpaca_farm", data)
        yield running


def bench(hub: Hub, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "COLUMNS": "200"}
    own |= {"BENCH_STORE": str(folder / "store"), "BENCH_RESULTS": str(folder / "results")}
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(
        command, env=os.environ | own | env, capture_output=True, text=True, check=False
    )


def test_without_the_hub_one_line_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    for mode in (("--dry-run",), ()):
        found = bench(
            hub, tmp_path, "run", "--method", "token_ppo", *PAPER, *mode, HF_HUB_OFFLINE="1"
        )
        assert found.returncode == 2
        (line,) = found.stderr.strip().splitlines()[-1:]
        assert "is not in the cache (HF_HUB_OFFLINE is set)" in line
        assert f"`{FETCH}` brings all that the run reads" in line
        assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_fetched_then_planned_then_run_without_the_hub(
    hub: Hub, server: Server, tmp_path: Path
) -> None:
    fetched = bench(hub, tmp_path, "fetch", *PAPER)
    assert fetched.returncode == 0, fetched.stderr
    for said in ("huggyllama/llama-7b", "tatsu-lab/alpaca_farm", "cc-by-nc-4.0"):
        assert said in fetched.stdout
    hub.asked.clear()

    server.answer = answer
    run = ("run", "--method", ",".join(METHODS), *PAPER, *CUT)
    planned = bench(hub, tmp_path, *run, "--dry-run", HF_HUB_OFFLINE="1")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("dry run: judge claude-") == 3  # a table a method
    # Of `ppo_rlhf` too: its reward model learns from no edit, and is measured on held-out ones.
    assert planned.stdout.count("dry run: editor claude-") == 3
    assert "3 epochs on 9 demonstrations" in planned.stdout
    assert planned.stdout.count("$") > 4
    assert server.calls == 0

    done = bench(hub, tmp_path, *run, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert not hub.asked
    runs, problems = find_runs(tmp_path / "results")
    assert problems == []
    records = {run.record.method: run.record for run in runs}
    assert set(records) == set(METHODS)
    for record in records.values():
        assert (record.status, record.suite, record.preset) == ("ok", "alpacafarm", "paper")
        assert record.judge.name == "claude"
        assert record.metrics["win_rate"].n == 4
        counts = {stage.name: stage.counts for stage in record.stages}
        assert counts["preferences"]["pairs"] == 12
        assert not [metric for metric in record.metrics if "greedy" in metric or "unseen" in metric]
        assert record.editor.name == "claude"
        assert "rm_accuracy.edited" in record.metrics
    # 12 edits, which the methods share, and 4 instructions in both orders a method, at most: two
    # outputs that are the same are asked about once.
    assert 12 + 8 <= server.calls <= 12 + 3 * 8
