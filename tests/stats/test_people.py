"""Agreement with several people, by hand and by the literature's numbers."""

from __future__ import annotations

import itertools
import random

import pytest

from bench.stats.people import human_agreement, judge_agreement, krippendorff_alpha

# Krippendorff (2011), section C: four observers, twelve units, some missing; alpha = .743.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[v for v in unit if v is not None] for unit in zip(*OBSERVERS, strict=True)]


def test_one_left_out_at_a_time_by_hand() -> None:
    """Of 0, 0, 1 each 0 meets a tie of the others, and the 1 meets two zeros."""
    assert human_agreement([0, 0, 1]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert judge_agreement(0, [0, 0, 1]) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert judge_agreement(1, [0, 0, 1]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert human_agreement([1, 1, 1]) == judge_agreement(1, [1, 1, 1]) == 1


def test_ties_gain_nothing() -> None:
    for labels in ([0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]):
        assert judge_agreement(0.5, labels) == 0.5


def test_one_person_alone_has_no_others() -> None:
    with pytest.raises(ValueError, match="1 label"):
        human_agreement([1])


def by_pairs(units: list[list[int]]) -> float:
    """1 - D_o / D_e, by going through all pairs of values."""
    values = [v for unit in units if len(unit) > 1 for v in unit]
    observed = sum(
        sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1)
        for unit in units
        if len(unit) > 1
    ) / len(values)
    expected = sum(a != b for a, b in itertools.permutations(values, 2))
    return 1 - observed / (expected / (len(values) * (len(values) - 1)))


def test_alpha_of_the_example_of_krippendorff() -> None:
    alpha = krippendorff_alpha(UNITS)
    assert alpha.mean == pytest.approx(0.743, abs=5e-4)
    assert (alpha.n, alpha.missing) == (11, 1)
    assert alpha.ci95 is not None
    low, high = alpha.ci95
    assert 0.3 < low < alpha.mean < high <= 1


def test_alpha_by_all_pairs() -> None:
    rng = random.Random(0)
    for _ in range(20):
        units = [[rng.randrange(3) for _ in range(rng.randrange(5))] for _ in range(12)]
        assert krippendorff_alpha(units).mean == pytest.approx(by_pairs(units))


def test_alpha_of_chance_is_nothing_and_of_everybody_is_one() -> None:
    rng = random.Random(0)
    noise = [[rng.randrange(2), rng.randrange(2)] for _ in range(2000)]
    assert abs(krippendorff_alpha(noise).mean) < 0.05
    alpha = krippendorff_alpha([["x", "x"], ["y", "y"]] * 10)
    assert alpha.mean == 1
    assert alpha.ci95 is not None
    assert 0.5 < alpha.ci95[0] < 1  # 20 items are no certainty


def test_units_of_one_cluster_are_drawn_together() -> None:
    rng = random.Random(1)
    clusters = [[["x", "x"]] * 10 if rng.random() < 0.5 else [["x", "y"]] * 10 for _ in range(20)]
    units = [unit for cluster in clusters for unit in cluster]
    units += [["y", "y"]] * 100
    labels = [i for i in range(20) for _ in range(10)] + [20 + i // 10 for i in range(100)]
    alone, together = krippendorff_alpha(units), krippendorff_alpha(units, labels)
    assert alone.mean == together.mean
    assert alone.standard_error is not None
    assert together.standard_error is not None
    assert together.standard_error > 2 * alone.standard_error


@pytest.mark.parametrize(
    ("units", "clusters", "said"),
    [
        ([], None, "nothing was answered by two"),
        ([["x"], []], None, "nothing was answered by two"),
        ([["x", "x"], ["x", "x", "x"]], None, "everybody says x of all 2"),
        ([["x", "y"]], [], "units has 1, but clusters 0"),
    ],
)
def test_alpha_is_undefined(units: list[list[str]], clusters: list[int] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        krippendorff_alpha(units, clusters)


def test_alpha_at_its_ends() -> None:
    assert krippendorff_alpha([[0, 0], [1, 1]]).mean == 1
    alpha = krippendorff_alpha([["x", "y"]])  # one unit tells nothing of others
    assert (alpha.mean, alpha.standard_error, alpha.ci95) == (0, None, None)
