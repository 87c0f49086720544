"""Several runs of one command: planned before the first is trained, and what a job said kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from bench.running import runner, sweeps
from bench.running.plan import make_plan
from methods.ppo_rlhf import PPORLHF
from tests.integration.test_run import config


def test_a_mistake_in_the_second_run_is_said_before_the_first_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[Any] = []
    monkeypatch.setattr(runner, "run", lambda config, **options: began.append(config))
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    sizes = ["--set", "ppo.batch_size=5"]
    result = CliRunner().invoke(app, ["run", "--method", "token_ppo,grpo", *sizes, *places])
    assert (result.exit_code, began) == (2, [])
    assert "ppo.batch_size=5: it must be a multiple of the 4 responses" in result.stderr


def test_a_failed_job_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(jobs: list[Any], say: Any) -> list[int]:
        say(f"[{jobs[0].name}] a line of progress")
        say(f"[{jobs[0].name}] error: the key is missing")
        return [2, -9]

    monkeypatch.setattr(sweeps, "_launcher", lambda *args: SimpleNamespace(threads=1, run=run))
    options = sweeps.Options("local", 2, None, None, 3, None, [])
    configs = [config("method=sft"), config("method=sft", "seed=1")]
    said: list[str] = []
    failures = sweeps.run_apart(configs, [], tmp_path, tmp_path, options, said.append)
    assert failures == [
        "sft seed 0 failed (exit code 2): the key is missing",
        "sft seed 1 failed (exit code -9): it gave no reason",
    ]
    assert len(said) == 2


def test_a_plan_that_gives_no_stage_names_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PPORLHF, "plan", lambda self, stages: None)
    with pytest.raises(UserError, match="the method ppo_rlhf: its plan gave None instead of a st"):
        make_plan(config("method=ppo_rlhf"))
