"""The variance between runs, taken apart: planted components are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import UserError
from benchmarks.variance import components, spread, win_rates

ROWS, SEEDS, TABLES = 12, 5, 400


def test_planted_components_are_found_again() -> None:
    """Variances are right on average, and the 95 % intervals hold them about as often."""
    rng = np.random.default_rng(0)
    shared, own = 0.03, 0.02
    size = (TABLES, ROWS, SEEDS)
    tables = rng.normal(0.5, 0.1, (TABLES, ROWS, 1)) + rng.normal(0, own, size)
    tables += rng.normal(0, shared, (TABLES, 1, SEEDS))
    found = [components(table) for table in tables]
    for index, true in enumerate((shared, own)):
        parts = [pair[index] for pair in found]
        assert np.mean([part.sd**2 for part in parts]) == pytest.approx(true**2, rel=0.1)
        covered = np.mean([part.ci95[0] <= true <= part.ci95[1] for part in parts])
        assert 0.92 <= covered <= 0.98


def test_nothing_shared_is_a_shared_part_of_nought() -> None:
    rng = np.random.default_rng(1)
    shared, _ = components(rng.normal(0.5, 0.02, (ROWS, SEEDS)))
    assert shared.ci95[0] == 0.0
    assert shared.sd < 0.01


def test_spread_of_some_runs() -> None:
    """Of .4, .5, .6: sd .1, and with 2 degrees of freedom .052 to .628 (chi-squared tables)."""
    found = spread([0.4, 0.5, 0.6])
    assert found.sd == pytest.approx(0.1)
    assert found.ci95 == pytest.approx((0.0521, 0.6285), abs=1e-4)
    with pytest.raises(UserError, match="two runs or more"):
        spread([0.5])


def test_a_folder_without_verdicts_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run with a win_rate"):
        win_rates(tmp_path)
