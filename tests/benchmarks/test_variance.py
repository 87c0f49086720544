"""The variance between runs, taken apart: planted components are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import UserError
from benchmarks.variance import again, components, spread, told_apart, win_rates

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


def test_halves_of_one_row_are_told_apart_no_more_than_the_test_allows() -> None:
    """Of eight seeds that differ as the table's do; one split stands out where it was planted."""
    rng = np.random.default_rng(2)
    size = (40, 8, 64)
    rows = 0.5 + rng.normal(0, 0.03, (40, 8, 1)) + rng.normal(0, 0.3, size)
    assert 0.01 <= np.mean([told_apart(row) for row in rows]) <= 0.06
    split = np.repeat([0.0, 1.0], 4)[:, None] + rng.normal(0, 0.01, (8, 64))
    assert 0 < told_apart(split) < 0.1  # 1 way of 35, and what draws do in the balanced ones


def test_other_seeds_beside_the_table() -> None:
    """A row against itself: Welch's interval; two rows against each other: then and now."""
    rng = np.random.default_rng(3)

    def drawn(mean: float) -> np.ndarray:
        return mean + rng.normal(0, 0.02, (5, 1)) + rng.normal(0, 0.05, (5, 64))

    table = {"a": drawn(0.6), "b": drawn(0.4), "c": drawn(0.5)}
    a, b, pair = again(table, {"a": drawn(0.6), "b": drawn(0.7)})
    assert [a[0], b[0], pair[0]] == ["a", "b", "a minus b"]
    low, high = (float(x) for x in a[3].partition("[")[2].rstrip("]").split(","))
    assert low < 0 < high
    assert float(b[3].partition(" ")[0]) == pytest.approx(30, abs=4)
    then, now = (float(cell.partition(" ")[0]) for cell in pair[1:3])
    assert (then, now) == (pytest.approx(20, abs=4), pytest.approx(-10, abs=4))
    with pytest.raises(UserError, match="not in the table: d"):
        again(table, {"d": drawn(0.5)})


def test_a_folder_without_verdicts_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run with a win_rate"):
        win_rates(tmp_path)
