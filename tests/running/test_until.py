"""`run --until STAGE`: a part of a run, its record, and the whole run that follows."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.config.loading import load_config
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import read_record
from bench.running import runner
from bench.running.plan import UNTIL, make_plan
from leaderboard.analysis.aggregate import tables
from tests.integration.test_run import SMALL, config, run

SIZES = [option for override in SMALL for option in ("--set", override)]


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("sft", ["sft"]),
        ("preferences", ["preferences"]),
        ("edits", ["edits"]),
        ("reward_model", ["rm_evaluation"]),
        ("rm_evaluation", ["rm_evaluation"]),
        ("policy", ["rm_evaluation", "ppo"]),
        ("ppo", ["rm_evaluation", "ppo"]),
        ("outputs", ["rm_evaluation", "outputs"]),
        (None, ["rm_evaluation", "judgement"]),
    ],
)
def test_what_it_ends_with(until: str | None, last: list[str]) -> None:
    """A reward model brings what is measured of it; what comes later, too."""
    planned, _ = make_plan(load_config(method="token_ppo"), until=until)
    assert [stage.name for stage in planned.targets] == last


def test_every_stage_that_can_be_named_is_one_of_a_run() -> None:
    assert {make_plan(load_config(method="token_ppo"), until=name)[0].until for name in UNTIL}


@pytest.mark.parametrize(
    ("method", "until", "message"),
    [
        ("sft", "reward_model", "the method sft has no such stage; it has sft, outputs"),
        ("sft", "policy", "the method sft has no such stage; it has sft, outputs"),
        ("gold_ppo", "edits", "gold_ppo has no such stage; it has sft, policy, outputs"),
    ],
)
def test_a_stage_that_a_method_lacks_is_one_line(method: str, until: str, message: str) -> None:
    planned, _ = make_plan(load_config(method=method), until=until)
    with pytest.raises(UserError, match=message):
        _ = planned.targets


def test_an_unknown_stage_names_the_nearest() -> None:
    said = CliRunner().invoke(app, ["run", "--method", "token_ppo", "--until", "reward_modl"])
    assert said.exit_code == 2
    assert "did you mean 'reward_model'" in said.stderr


def test_a_dry_run_ends_there_too(tmp_path: Path) -> None:
    ask = ["run", "--method", "token_ppo", "--dry-run", "--store", str(tmp_path), *SIZES]
    said = CliRunner().invoke(app, [*ask, "--until", "reward_model"])
    assert said.exit_code == 0, said.output
    listed = {line.split()[0] for line in said.stdout.splitlines() if line.split()}
    assert {"rm_evaluation", "reward_model", "sft"} <= listed
    assert not listed & {"ppo", "outputs", "judgement"}


def test_a_reward_model_is_measured_and_the_whole_run_finds_it_stored(tmp_path: Path) -> None:
    store, results = tmp_path / "store", tmp_path / "results"
    places = ["--store", str(store), "--results", str(results)]
    ask = ["run", "--method", "token_ppo", *places, *SIZES, "--set", "ppo.steps=1"]
    said = CliRunner().invoke(app, [*ask, "--until", "reward_model"])
    assert said.exit_code == 0, said.output
    assert "ended behind reward_model" in said.stderr
    assert "Reward model on held-out pairs" in said.stdout
    settings = config("method=token_ppo", "ppo.steps=1")
    folder = runner.folder_of(settings, results)
    part = read_record(folder)
    assert (part.status, part.until) == ("partial", "reward_model")
    assert part.metrics.keys() >= {"rm_accuracy.original", "rm_accuracy.edited", "rm_localisation"}
    assert "win_rate" not in part.metrics
    (table,), problems = tables(results)
    (row,) = table.rows
    assert not problems
    assert (row.status, row.seeds, row.group, row.failures) == ("partial", (), None, ())
    assert row.metrics["rm_accuracy.edited"].mean == part.metrics["rm_accuracy.edited"].mean

    whole = run(settings, Store(store), results)
    cached = {stage.name for stage in whole.stages if stage.cached}
    assert cached == {stage.name for stage in part.stages}
    assert (whole.status, whole.until) == ("ok", None)
    assert whole.metrics.items() >= part.metrics.items()
    # Asked again for a part, the result stays.
    runner.run(settings, store=Store(store), results=results, progress=Progress(), until="edits")
    assert read_record(folder) == whole
