"""What an edit buys: rows of the records by their number of pairs, and what those pairs cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.errors import UserError
from benchmarks.edits import draw, points

PUBLISHED = Path("results/testbed")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two seeds of two methods, and one that does not belong there."""
    for name in ("ppo_rlhf-s0", "ppo_rlhf-s1", "token_ppo-s0", "token_ppo-s1", "dpo-s0"):
        (run,) = PUBLISHED.glob(f"{name}-????????")
        shutil.copytree(run, tmp_path / "testbed" / run.name)
    return tmp_path


def test_a_point_a_method_with_what_its_pairs_cost(records: Path) -> None:
    pairs, tokens = points([records], comparison=5.0, edit=6.0)
    assert [pairs.method, tokens.method] == ["ppo_rlhf", "token_ppo"]
    assert pairs.pairs == tokens.pairs == 6000
    assert pairs.dollars == pytest.approx(30)
    assert tokens.dollars == pytest.approx(30 + 36)  # an edit is of a response that lost
    told = [
        json.loads(file.read_text())["metrics"] for file in records.glob("*/token*/record.json")
    ]
    wins = [metrics["win_rate"]["mean"] for metrics in told]
    assert tokens.win_rate.mean == pytest.approx(sum(wins) / 2)
    right = [metrics["rm_accuracy.original_clean"]["mean"] for metrics in told]
    assert tokens.accuracy.mean == pytest.approx(sum(right) / 2)


def test_the_figure_is_drawn(records: Path) -> None:
    draw(points([records], 5.0, 6.0), records / "edits.png")
    assert (records / "edits.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_compared_is_said(records: Path) -> None:
    for left_out in ("token_ppo-s1", "ppo_rlhf-s0"):
        (run,) = records.glob(f"testbed/{left_out}-*")
        shutil.rmtree(run)
    with pytest.raises(UserError, match="no seed in common"):
        points([records], 5.0, 6.0)
    for run in records.glob("testbed/*ppo*"):
        shutil.rmtree(run)
    with pytest.raises(UserError, match="no row of ppo_rlhf"):
        points([records], 5.0, 6.0)
