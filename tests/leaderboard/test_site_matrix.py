import pytest

from bench.grid import DASH
from bench.stats import holm
from leaderboard.analysis.aggregate import difference
from leaderboard.analysis.compare import all_pairs
from leaderboard.analysis.runs import Instructions, load
from leaderboard.site.matrix import Pair, comparison_matrix


def matrix_of(results):
    groups = next(iter(load(results, "testbed")[0].values()))
    return comparison_matrix(all_pairs(groups, "win_rate"), "win_rate"), groups


def test_each_pair_is_the_paired_difference_with_holm_over_all(results):
    matrix, groups = matrix_of(results)
    assert matrix.labels == ["ppo_rlhf", "sft", "token_ppo loss=eq4"]
    assert (matrix.pairs, matrix.basis) == (3, "seeds x instructions")
    by_label = {group.label: group for group in groups}
    instructions = Instructions(groups)
    a, b, c = (by_label[label] for label in matrix.labels)
    found = [difference(*pair, instructions, "win_rate") for pair in ((a, b), (a, c), (b, c))]
    adjusted = holm([f.p_value for f in found])
    pair = matrix.rows[0][1]
    assert pair.text == f"{100 * found[0].mean:+.1f}"
    assert pair.interval == f"[{100 * found[0].ci95[0]:+.1f}, {100 * found[0].ci95[1]:+.1f}]"
    assert adjusted[0] < 0.001
    assert (pair.p, pair.sign) == ("<0.001", "plus")
    tie = matrix.rows[0][2]
    assert (tie.p, tie.sign) == (f"{adjusted[1]:.3f}", "")


def test_pairs_of_one_seed_have_the_interval_of_their_p_value(make_run, tmp_path):
    for label, win in (("sft", 0.3), ("token_ppo", 0.5)):
        make_run(label, 0, win)
    matrix, groups = matrix_of(tmp_path / "results")
    found = difference(*groups, Instructions(groups), "win_rate", bootstrap=False)
    low, high = (f"{100 * end:+.1f}" for end in found.ci95)
    assert matrix.rows[0][1].interval == f"[{low}, {high}]"


def test_the_other_half_is_the_mirror(results):
    matrix, _ = matrix_of(results)
    for i, row in enumerate(matrix.rows):
        assert row[i] is None
        for j, pair in enumerate(row):
            if i < j:
                other = matrix.rows[j][i]
                assert float(pair.text) == -float(other.text)
                low, high = (float(x) for x in pair.interval[1:-1].split(", "))
                assert other.interval == f"[{-high:+z.1f}, {-low:+z.1f}]"
                assert {pair.sign, other.sign} in ({"plus", "minus"}, {""})


def test_what_shares_no_seed_is_not_compared(make_run, tmp_path):
    make_run("a", 0)
    make_run("b", 1)
    matrix, _ = matrix_of(tmp_path / "results")
    assert matrix.rows[0][1] == Pair(DASH)
    assert matrix.pairs == 0


@pytest.mark.parametrize("labels", [["a"], []])
def test_one_method_needs_no_matrix(make_run, tmp_path, labels):
    make_run("failed", status="diverged")
    for label in labels:
        make_run(label)
    assert matrix_of(tmp_path / "results")[0] is None


def test_many_methods_make_it_narrow(make_run, tmp_path):
    for i in range(9):
        make_run(f"m{i}", 0, 0.3 + 0.02 * i)
    wide, _ = matrix_of(tmp_path / "results")
    assert (len(wide.labels), wide.is_wide) == (9, True)
