import math

import pytest

from bench.stats import over_seeds
from leaderboard.analysis.lines import LENGTH, MASS, REPEATS, SCORE
from leaderboard.analysis.runs import load
from leaderboard.analysis.stability import stability

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


def test_one_of_many_differences_has_a_wider_interval(table):
    """Bonferroni of 21: t of 1 degree of freedom at 1 - .05 / 42 is 267.4, where one has 12.7."""
    found = found_in(table)
    once, each = found.groups["response"], found.groups["token"]
    difference = found.difference(each, once, LENGTH, among=21)
    assert difference.ci95 == pytest.approx((45 - 267.38 * 5, 45 + 267.38 * 5), rel=1e-3)


@pytest.fixture
def add(make_run):
    """A row that is paid by the token, which has some seeds."""

    def write(label, lengths):
        for seed, length in lengths.items():
            curve = straight(end=4.0, length=length, payments=30.0)
            curve = {s: {**row, "length": 30.0} if s else row for s, row in curve.items()}
            write_curve(make_run(label, seed), curve)

    return write


@pytest.mark.parametrize("seeds", [(0,), (7, 8)])
def test_a_row_with_other_seeds_is_left_out_and_named(table, add, seeds):
    add("other", dict.fromkeys(seeds, 500.0))
    found = found_in(table)
    once, each = found.groups["response"], found.groups["token"]
    assert [line.label for line in each] == ["each", "other"]
    assert found.left_out(once, each) == ["other"]
    difference = found.difference(each, once, LENGTH)
    assert (difference.mean, difference.n) == (pytest.approx(45.0), 2)
    assert found.left_out(once, found.groups["segment"]) == []


def test_a_row_that_alone_is_so_fine_keeps_its_one_seed(table, make_run):
    """Else nothing would be said of its granularity; the others' comparison is not touched."""
    for seed in range(2):
        make_run("each", seed, status="failed")
    write_curve(make_run("parts", 1), {})
    found = found_in(table)
    once, parts = found.groups["response"], found.groups["segment"]
    assert found.difference(parts, once, LENGTH).n == 1
    assert found.left_out(once, parts) == []


def test_variants_of_a_method_count_as_one_in_a_mean(table, add):
    """At 4 nats: `each` has 60 and 55.2; `varied` (100 + 200) / 2 in seed 0 and 150 in seed 1."""
    add("varied", {0: 100.0, 1: 100.0})
    add("varied more=1", {0: 200.0, 1: 200.0})
    found = found_in(table)
    mean = found.group_at(found.groups["token"], LENGTH).mean
    assert mean == pytest.approx(((60 + 55.2) / 2 + 150) / 2)


def test_a_win_rate_stays_between_0_and_1(make_run, tmp_path):
    for label, wins in {"low": (0.0, 0.3), "high": (0.8, 1.0)}.items():
        for seed, win in enumerate(wins):
            curve = straight(end=2.0, length=30.0, reward_mass=1.0)
            for step in (0, 5, 10):
                del curve[step]["validation_gold"]
                curve[step]["validation_win_rate"] = win
            write_curve(make_run(label, seed), curve)
    found = found_in(tmp_path / "results")
    lines = by_label(found)
    assert (found.score, found.metric(SCORE)) == ("win rate", "win_rate")
    assert lines["low"].at(SCORE, 1.0).ci95[0] == 0.0
    assert lines["high"].at(SCORE, 1.0).ci95[1] == 1.0
    assert found.difference([lines["high"]], [lines["low"]], SCORE, among=99).ci95 == (-1.0, 1.0)


def test_seeds_whose_first_validation_lies_behind_a_kl_are_counted(table):
    """The first validations are at 2 nats and at 2.5."""
    line = by_label(found_in(table))["each"]
    assert [line.stretched(LENGTH, kl) for kl in (0.0, 1.5, 2.0, 2.2, 2.5)] == [0, 2, 1, 1, 0]


def test_where_nothing_is_paid_no_reward_mass_is_lacking(table, make_run):
    offline = {s: {k: v for k, v in row.items() if k not in ("reward", "kl")}
               for s, row in straight(end=4.0, length=30.0).items()}  # fmt: skip
    write_curve(make_run("offline"), offline)
    write_curve(make_run("old"), straight(end=4.0, length=30.0))
    found = found_in(table)
    assert (found.lacking(MASS), found.unpaid(MASS)) == (["old"], ["offline"])
    assert "offline" in found.lacking(REPEATS)


def test_a_last_validation_without_kl_still_tells_a_collapse(make_run, tmp_path):
    curve = {s: {"kl": s / 10} for s in range(1, 11)}
    lengths = {0: 20.0, 5: 20.0, 10: 90.0}
    curve = {s: curve.get(s, {}) for s in range(11)}
    for step, length in lengths.items():
        curve[step]["validation_length"] = length
    write_curve(make_run("late"), curve)
    line = found_in(tmp_path / "results").lines[0]
    assert (line.reach, line.collapsed) == (0.6, 1)


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
