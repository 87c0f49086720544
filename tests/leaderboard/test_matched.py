import math

import pytest

from bench.records.files import CurvePoint
from leaderboard.analysis.matched import (
    kl_paths,
    levels,
    matched_level,
    on_first_stretch,
    reach,
    spike,
    value_at,
)

PATH = [(0.0, 10.0), (2.0, 20.0), (1.0, 50.0), (4.0, 30.0)]


def points(rows):
    return [CurvePoint(step=step, **values) for step, values in rows.items()]


@pytest.mark.parametrize(
    ("level", "value"),
    [
        (0.0, 10.0),
        (0.5, 12.5),  # 10 + .5/2 * 10
        (2.0, 20.0),
        (1.0, 15.0),  # where it is first so far: not 50, which it is on the way back
        (3.0, 50.0 - 20.0 * 2 / 3),  # between (1, 50) and (4, 30)
        (4.0, 30.0),
    ],
)
def test_a_value_is_read_where_the_path_first_reaches_a_kl(level, value):
    assert value_at(PATH, level) == pytest.approx(value)


@pytest.mark.parametrize("level", [4.001, 100.0])
def test_nothing_is_extended_beyond_the_largest_kl(level):
    assert reach(PATH) == 4.0
    assert value_at(PATH, level) is None


def test_nothing_is_extended_before_the_first_kl():
    assert value_at([(1.0, 5.0), (2.0, 6.0)], 0.5) is None
    assert value_at([(1.0, 5.0), (2.0, 6.0)], 1.0) == 5.0


def test_kl_is_that_of_the_rollouts_around_a_validation():
    """After step 3 the policy draws step 4's rollouts: the mean over steps 2 to 6.

    Step 0 is SFT, whatever was measured; of what rollouts have, its own are step 1's. After step
    5 there is step 6 alone, for none follows it. After step 6, the last, nothing was drawn: no KL.
    """
    rows = {step: {"kl": float(step), "reward_mass": 10.0 * step} for step in range(1, 7)}
    rows = {0: {"validation_length": 20.0}, **rows}
    for step, length in ((3, 25.0), (5, 30.0), (6, 40.0)):
        rows[step]["validation_length"] = length
    found = kl_paths(points(rows), {"length": "validation_length", "mass": "reward_mass"})
    assert found["length"] == [(0.0, 20.0), (4.0, 25.0), (6.0, 30.0)]
    assert found["mass"] == [(0.0, 10.0), (4.0, 40.0), (6.0, 60.0)]


def test_a_last_validation_with_a_kl_of_its_own_counts():
    """Its reward mass is that of the last step's rollouts, and of none before them."""
    rows = {step: {"kl": float(step), "reward_mass": 10.0 * step} for step in range(1, 7)}
    rows[6] |= {"validation_length": 30.0, "validation_kl": 8.0}
    found = kl_paths(points(rows), {"length": "validation_length", "mass": "reward_mass"})
    assert found == {"length": [(8.0, 30.0)], "mass": [(8.0, 60.0)]}


@pytest.mark.parametrize(
    ("path", "level", "is_straight"),
    [
        (PATH, 1.9, True),
        (PATH, 2.0, False),  # the validation's own
        (PATH, 3.0, False),  # between two validations
        (PATH, 0.0, False),  # SFT's own
        (PATH[1:], 1.9, False),  # no SFT: not read at all
        (PATH[:1], 0.5, False),
    ],
)
def test_only_what_lies_before_the_first_validation_was_not_measured(path, level, is_straight):
    assert on_first_stretch(path, level) is is_straight


def test_the_validations_own_kl_comes_first():
    rows = {0: {"validation_kl": 0.1, "validation_length": 1.0},
            5: {"kl": 9.0, "validation_kl": 2.0, "validation_length": 3.0}}  # fmt: skip
    assert kl_paths(points(rows), {"length": "validation_length"})["length"] == [(0, 1), (2, 3)]


def test_what_is_not_finite_or_not_there_is_no_point():
    nan = math.nan
    rows = {0: {"validation_length": 20.0}, 1: {"kl": nan}, 2: {"kl": 1.0},
            5: {"kl": 1.0, "validation_length": nan}, 9: {"kl": 2.0, "validation_length": 30.0},
            10: {"kl": 2.0}, 20: {"validation_length": 40.0}}  # fmt: skip
    names = {"length": "validation_length", "repeats": "validation_repeat_share"}
    assert kl_paths(points(rows), names) == {"length": [(0.0, 20.0), (2.0, 30.0)]}


@pytest.mark.parametrize(
    ("reached", "level"),
    [([1.589, 3.0], 1.5), ([1.6, 2.0], 1.6), ([12.9], 12.0), ([0.0346], 0.034), ([0.0, 5.0], 0.0)],
)
def test_rows_are_matched_at_a_round_kl_that_all_reach(reached, level):
    assert matched_level(reached) == level


def test_levels_are_round_steps_and_the_matched_one():
    assert levels(4.1, 1.7) == [
        *[0.0, 0.5, 1.0, 1.5, 1.7, 2.0, 2.5, 3.0, 3.5, 4.0],
    ]
    assert max(levels(7.99, 7.9)) == 7.9
    assert levels(0.0, 0.0) == [0.0]


def test_a_spike_is_held_against_the_five_steps_before():
    """Median of 1, 1, 9, 1, 1 is 1: the 9 is no spike, for it has no five before it; 4 - 1 is."""
    kl = [1.0, 1.0, 9.0, 1.0, 1.0, 4.0, 2.0]
    assert spike(points({i: {"kl": x} for i, x in enumerate(kl)})) == 3.0
    assert spike(points({i: {"kl": x} for i, x in enumerate(kl[:5])})) is None
    assert spike(points({i: {"loss": 1.0} for i in range(9)})) is None
