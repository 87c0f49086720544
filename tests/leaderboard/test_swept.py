"""A sweep's rows: of one configuration each, validation apart from test."""

from pathlib import Path

import pytest

from bench.records.files import Convergence, Run, read_record
from leaderboard.analysis.swept import Setting, SweepRow, sweep_rows
from leaderboard.views.swept import sweep_grid
from tests.leaderboard.conftest import MakeRun


def setting(make_run: MakeRun, label: str, win: float, seeds: int = 3, **fields: object) -> Setting:
    folders = [make_run(label, seed, win, **fields) for seed in range(seeds)]
    runs = [Run(read_record(folder), folder) for folder in folders]
    lr = float(label.rpartition("=")[2])
    return Setting("token_ppo", label, {"ppo.lr": lr}, 3, runs)


@pytest.fixture
def rows(make_run: MakeRun) -> list[SweepRow]:
    kept = Convergence(best_step=10)
    settings = [
        setting(make_run, "token_ppo ppo.lr=0.5", 0.3, convergence=kept),
        setting(make_run, "token_ppo ppo.lr=0.1", 0.7, seeds=1, convergence=kept),
        Setting("token_ppo", "token_ppo ppo.lr=0.2", {"ppo.lr": 0.2}, 3, []),
    ]
    problems: list[str] = []
    found = sweep_rows(settings, problems)
    assert problems == []
    return found


def test_validation_is_that_of_the_step_that_was_kept(rows: list[SweepRow]) -> None:
    """At step 10 of 20 the synthetic curve has win / 2, and .01 a seed."""
    first, second, third = (row.validation for row in rows)
    assert first["gold"].mean == pytest.approx(0.15 + 0.01)
    assert first["gold"].ci95 is not None
    assert first["win_rate"].mean == pytest.approx(0.15)
    assert first["win_rate"].ci95 is None  # equal in all seeds: no certainty
    assert second["gold"].mean == pytest.approx(0.35)
    assert second["gold"].ci95 is None
    assert third == {}


def test_an_interval_of_a_validated_rate_ends_where_rates_do(make_run: MakeRun) -> None:
    kept = Convergence(best_step=10)
    folders = [make_run("token_ppo", i, win, convergence=kept) for i, win in enumerate((0.1, 1.9))]
    runs = [Run(read_record(folder), folder) for folder in folders]
    (row,) = sweep_rows([Setting("token_ppo", "token_ppo", {"ppo.lr": 1.0}, 2, runs)], [])
    assert row.validation["win_rate"].ci95 == (0.0, 1.0)


def test_only_the_seeds_of_a_row_are_averaged(rows: list[SweepRow]) -> None:
    first, second, third = rows
    assert (first.seeds, second.seeds, third.seeds) == ((0, 1, 2), (0,), ())
    assert first.metrics["win_rate"].mean == pytest.approx(0.3, abs=0.05)
    assert second.metrics["win_rate"].mean == pytest.approx(0.7, abs=0.05)
    assert third.metrics == {}


def test_the_table_has_values_as_rows_and_says_how_to_choose(rows: list[SweepRow]) -> None:
    grid = sweep_grid(rows)
    assert grid.headers == ["ppo.lr", "Seeds", "Validation gold", "Test win %", "Test gold"]
    assert [row[:2] for row in grid.rows] == [["0.5", "3"], ["0.1", "1 of 3"], ["0.2", "0 of 3"]]
    assert grid.rows[0][3] == "28.3 [25.7, 31.0]"
    assert grid.rows[2][2:] == ["–"] * 3
    assert "Choose by validation, from one grid for all methods" in grid.notes[1]


def test_runs_that_ended_before_the_judge_show_their_reward_models(make_run: MakeRun) -> None:
    own = setting(make_run, "token_ppo ppo.lr=0.5", 0.3)
    metrics = {k: v for k, v in own.runs[0].record.metrics.items() if k.startswith("rm_")}
    update = {"status": "partial", "metrics": metrics, "convergence": None}
    runs = [Run(run.record.model_copy(update=update), run.folder) for run in own.runs]
    part = Setting(own.method, own.label, own.values, 3, runs)
    grid = sweep_grid(sweep_rows([part], []))
    names = ["rm_accuracy.edited %", "rm_accuracy.original %"]
    assert grid.headers == ["ppo.lr", "Seeds", *names]
    assert "Nothing of these rows was validated" in grid.notes[0]


def test_a_curve_that_cannot_be_read_is_told(make_run: MakeRun, tmp_path: Path) -> None:
    own = setting(make_run, "token_ppo ppo.lr=0.5", 0.3, convergence=Convergence(best_step=10))
    (own.runs[1].folder / "metrics.jsonl").write_text("{")
    problems: list[str] = []
    (row,) = sweep_rows([own], problems)
    assert row.validation == {}  # of two seeds it would be of other runs than the test's
    assert "metrics.jsonl, line 1: not JSON" in problems[0]
