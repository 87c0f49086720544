"""Agreement with several people, by hand and by the literature's numbers."""

from __future__ import annotations

import pytest

from bench.stats.people import human_agreement, judge_agreement, krippendorff_alpha


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


def test_alpha_of_the_example_of_krippendorff() -> None:
    """K. Krippendorff (2011), section C: nominal data with missing values, alpha = .743."""
    rows = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    units = [[float(row[i]) for row in rows if row[i] != "."] for i in range(12)]
    assert krippendorff_alpha([unit for unit in units if len(unit) > 1]) == pytest.approx(
        0.743, abs=5e-4
    )


def test_alpha_at_its_ends() -> None:
    assert krippendorff_alpha([[0, 0], [1, 1]]) == 1
    assert krippendorff_alpha([[0, 0], [0, 0]]) is None
    assert krippendorff_alpha([]) is None
