import numpy as np
import pytest
from scipy import stats

from bench.stats.crossed import MeanSquares, complete_instructions, mean_squares, to_table


def squares(seed, instruction, residual, seeds=5, instructions=805):
    return MeanSquares(*map(np.asarray, (seed, instruction, residual)), seeds, instructions)


def test_mean_squares_are_those_of_an_analysis_of_variance():
    """Rows 0 1 2 / 2 3 7: worked out in test_seeds.py."""
    mean, found = mean_squares(np.array([[0.0, 1, 2], [2, 3, 7]]))
    assert mean == 2.5
    assert (found.seed, found.instruction, found.residual) == pytest.approx((13.5, 6.5, 1.5))


def test_many_tables_at_once_are_each_alone():
    tables = np.random.default_rng(0).normal(size=(3, 4, 6))
    means, found = mean_squares(tables)
    errors, df = found.error()
    for i, table in enumerate(tables):
        mean, alone = mean_squares(table)
        assert means[i] == pytest.approx(mean)
        assert (errors[i], df[i]) == pytest.approx(alone.error())


def test_a_mean_square_counts_from_the_60_percent_quantile_of_its_f():
    quantile = stats.f.ppf(0.6, 4, 4 * 804)
    variance = 3.0 + max(0, quantile - 1)
    _, below = squares(quantile - 1e-6, 3.0, 1.0).error()
    _, above = squares(quantile + 1e-6, 3.0, 1.0).error()
    rest = 9 / 804 + 1 / (4 * 804)
    assert below == pytest.approx(variance**2 / rest, rel=1e-4)
    assert above == pytest.approx(variance**2 / (rest + quantile**2 / 4), rel=1e-4)


def test_error_by_hand():
    # V = 1 + (5 - 1) + (3 - 1); a component below 0 is 0
    error, df = squares(5.0, 3.0, 1.0).error()
    assert error == pytest.approx(np.sqrt(7 / 4025))
    assert df == pytest.approx(49 / (25 / 4 + 9 / 804 + 1 / 3216))
    error, _ = squares(5.0, 0.5, 1.0).error()
    assert error == pytest.approx(np.sqrt(5 / 4025))


def test_without_spread_the_degrees_are_the_fewest():
    assert squares(0.0, 0.0, 0.0).error() == (0, 4)


def test_a_table_is_seeds_by_instructions():
    table = to_table([[1, None], [2, 3]])
    assert np.isnan(table[0, 1])
    with pytest.raises(ValueError, match=r"have shape \(2,\)"):
        to_table([1, 2])
    with pytest.raises(ValueError, match="only 1 instructions"):
        complete_instructions(table)
