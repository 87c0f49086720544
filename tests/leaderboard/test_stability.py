import math

import pytest

from bench.stats import over_seeds
from leaderboard.analysis.runs import load
from leaderboard.analysis.stability import LENGTH, MASS, REPEATS, SCORE, stability

from .curves import straight, write_curve


def found_in(results, problems=None):
    (groups,) = load(results, "testbed")[0].values()
    return stability(groups, [] if problems is None else problems)


@pytest.fixture
def table(make_run, tmp_path):
    """Three rows with two seeds: paid once, by the segment, by the token; SFT has no curve."""
    rewards = {"once": (1.0, 10.0), "parts": (4.0, 20.0), "each": (30.0, 60.0)}
    for label, (payments, length) in rewards.items():
        for seed in range(2):
            curve = straight(
                end=4.0 + seed, length=length + 4 * seed, reward_mass=2.0, payments=payments,
                repeat_share=0.1, gold=0.2,
            )  # fmt: skip
            curve = {s: {**row, "length": 30.0} if s else row for s, row in curve.items()}
            write_curve(make_run(label, seed), curve)
    write_curve(make_run("sft", 0), {})
    return tmp_path / "results"


def by_label(found):
    return {line.label: line for line in found.lines}


def test_rows_stand_by_how_finely_they_are_paid(table):
    found = found_in(table)
    assert [line.label for line in found.lines] == ["once", "parts", "each"]
    assert [line.granularity for line in found.lines] == ["response", "segment", "token"]
    assert list(found.groups) == ["response", "segment", "token"]
    assert found.without == ["sft"]
    assert found.score == "gold score"


def test_a_mean_at_equal_kl_is_over_the_seeds_values_there(table):
    """Seed 0 goes from 20 to 60 tokens in 4 nats, seed 1 from 20 to 64 in 5; at 2: 40, 37.6."""
    found = found_in(table)
    line = by_label(found)["each"]
    assert line.values(LENGTH, 2.0) == pytest.approx({0: 40.0, 1: 37.6})
    estimate = line.at(LENGTH, 2.0)
    assert (estimate.mean, estimate.n) == (pytest.approx(38.8), 2)
    assert estimate.ci95 == pytest.approx((38.8 - 12.7062 * 1.2, 38.8 + 12.7062 * 1.2), abs=1e-3)
    assert found.slope(line).mean == pytest.approx((10.0 + 8.8) / 2)


def test_a_line_ends_where_one_of_its_seeds_does(table):
    found = found_in(table)
    assert found.matched == 4.0
    assert max(found.levels) == 5.0
    line = found.lines[0]
    assert line.at(LENGTH, 4.0).n == 2
    assert line.at(LENGTH, 4.5) is None  # seed 1 alone comes so far
    assert (line.reach, line.furthest) == (4.0, 5.0)


def test_the_row_that_moves_least_says_where_rows_are_compared(table, make_run):
    write_curve(make_run("slow"), straight(end=1.37, length=21.0))
    found = found_in(table)
    assert (found.matched, found.limited_by) == (1.3, "slow")


def test_a_difference_is_paired_by_seed(table):
    found = found_in(table)
    once, each = found.groups["response"], found.groups["token"]
    difference = found.difference(each, once, LENGTH)
    # at 4 nats: 60 - 10, and 20 + 44 * .8 - (20 - 6 * .8)
    expected = over_seeds([50.0, 40.0])
    assert difference.mean == pytest.approx(expected.mean)
    assert difference.ci95 == pytest.approx(expected.ci95)
    assert found.group_at(each, LENGTH).mean == pytest.approx((60 + 55.2) / 2)


def test_one_seed_has_no_interval(make_run, tmp_path):
    write_curve(make_run("one"), straight(end=2.0, length=30.0))
    estimate = found_in(tmp_path / "results").lines[0].at(LENGTH, 1.0)
    assert (estimate.mean, estimate.ci95, estimate.n) == (25.0, None, 1)


def test_a_field_that_no_curve_has_is_lacking_and_not_zero(table):
    found = found_in(table)
    line = found.lines[0]
    assert found.lacking(REPEATS) == ["once", "parts", "each"]  # of rollouts, not of validations
    assert line.at(REPEATS, 1.0) is None
    assert found.slope(line, REPEATS) is None
    assert found.difference([line], [line], REPEATS) is None
    assert found.lacking(MASS) == []
    assert line.at(MASS, 1.0).mean == pytest.approx(2.0)


def test_older_curves_do_not_say_how_finely_they_pay(make_run, tmp_path):
    write_curve(make_run("old"), straight(end=2.0, length=30.0))
    offline = {s: {k: v for k, v in row.items() if k not in ("reward", "kl")}
               for s, row in straight(end=2.0, length=30.0).items()}  # fmt: skip
    write_curve(make_run("offline"), offline)
    lines = by_label(found_in(tmp_path / "results"))
    assert lines["old"].granularity == "not recorded"
    assert lines["offline"].granularity == "nothing"
    assert lines["offline"].spike is None
    assert found_in(tmp_path / "results").groups == {}


def test_values_that_are_not_finite_do_not_count(make_run, tmp_path):
    curve = straight(end=2.0, length=30.0)
    curve[10]["validation_length"] = math.nan
    write_curve(make_run("nan"), curve)
    line = found_in(tmp_path / "results").lines[0]
    assert line.at(LENGTH, 1.0).mean == 25.0
    assert line.at(LENGTH, 1.5) is None
    assert line.at(SCORE, 1.5).mean == pytest.approx(0.075)


def test_diverged_and_collapsed_seeds_are_counted(make_run, tmp_path):
    """Collapsed: 9 of 20 tokens, 41 of 20; not 11. Half of the 4-grams repeated is not yet."""
    for seed, length in enumerate((11.0, 9.0, 41.0, 20.0, 20.0)):
        curve = straight(end=2.0, length=length)
        curve[10]["validation_repeat_share"] = {3: 0.51, 4: 0.5}.get(seed, 0.0)
        write_curve(make_run("bad", seed), curve)
    make_run("bad", 5, status="diverged")
    make_run("bad", 6, status="failed")
    line = found_in(tmp_path / "results").lines[0]
    assert (line.runs, line.diverged, line.collapsed) == (6, 1, 3)


def test_no_kl_gives_nothing_and_a_broken_curve_is_named(make_run, tmp_path):
    folder = make_run("sft")
    write_curve(folder, {0: {"validation_length": math.nan}})
    assert found_in(tmp_path / "results") is None
    (folder / "metrics.jsonl").write_text("no json\n")
    problems = []
    assert found_in(tmp_path / "results", problems) is None
    assert len(problems) == 1
    assert "metrics.jsonl" in problems[0]
