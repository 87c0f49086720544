"""No band ends where a metric cannot be, whatever it is called."""

import math

import pytest

from bench.suites.testbed.suite import Testbed
from leaderboard.analysis.bounds import clipped

INF = math.inf


@pytest.mark.parametrize(
    ("metric", "ends"),
    [
        ("win_rate", (0, 1)),
        ("rm_accuracy.original", (0, 1)),
        ("probe.rude", (0, 1)),
        ("repeat_share", (0, 1)),
        ("rm_localisation", (0, 1)),
        ("rm_detection.factuality", (0, 1)),
        ("proxy_gold_correlation", (-1, 1)),
        ("length_greedy", (0, INF)),
        ("reward_mass", (0, INF)),
        ("rude", (0, INF)),
        ("duplicates_greedy", (0, INF)),
        ("gold_score", (-INF, INF)),
        ("kl", (-INF, INF)),
    ],
)
def test_a_band_ends_where_the_metric_does(metric: str, ends: tuple[float, float]) -> None:
    assert clipped("testbed", metric, (-INF, INF)) == ends
    assert clipped("testbed", metric, (0.25, 0.5)) == (0.25, 0.5)


def test_every_count_of_the_testbed_is_at_least_none() -> None:
    for measure in Testbed.measures:
        assert clipped("testbed", measure.name, (-1.0, 0.5)) == (0.0, 0.5)


def test_of_a_suite_that_is_not_installed_only_the_cores_own_are_known() -> None:
    assert clipped("nosuch", "rude", (-1.0, 2.0)) == (-1.0, 2.0)
    assert clipped("nosuch", "win_rate", (-1.0, 2.0)) == (0.0, 1.0)
