"""Diagnostics, by hand."""

from __future__ import annotations

import pytest

from bench.judging.diagnostics import counts, diagnose, refusals
from bench.judging.pairs import Pair, combine
from bench.plugins.protocols import OrderVerdict, Verdict
from bench.stats.intervals import wilson


def judged(output: str, *preferences: float | None) -> tuple[Pair, Verdict]:
    """A verdict against the reference "three"; None is a refusal."""
    orders = [OrderVerdict(p, "ok" if p else "refusal", category=None) for p in preferences]
    return Pair(f"q {output} {preferences}", "three", output), combine(orders)


ITEMS = [
    judged("longer", 2, 2),  # won, longer; first shown: no, yes
    judged("longer", 1, 2),  # flipped to a tie; first shown: yes, yes
    judged("s", 1, 1),  # lost, shorter; first shown: yes, no
    judged("longer", 1, 1),  # lost, longer; first shown: yes, no
    judged("seven", 2, 2),  # won, as long; first shown: no, yes
    judged("longer", 1.5, 2),  # won (1.75); first shown: yes in the second alone
    judged("longer", None, 2),  # refused; first shown: the other order might say the same
    (Pair("same", "three", "three"), Verdict(1.5, "identical")),
]


@pytest.mark.parametrize(
    ("name", "hits", "n"),
    [
        ("flip_rate", 1, 6),
        ("first_position_rate", 7, 11),
        ("longer_wins", 3, 4),
        ("tie_rate", 2, 7),
        ("refusal_rate", 1, 8),
    ],
)
def test_rates(name: str, hits: int, n: int) -> None:
    rate = diagnose(ITEMS)[name]
    assert (rate["mean"], rate["n"]) == (pytest.approx(hits / n), n)
    if name != "first_position_rate":  # two answers to an item are not independent
        assert rate["ci95"] == pytest.approx(wilson(hits / n, n))


def test_the_answers_of_an_instruction_are_one_cluster() -> None:
    """Always the first: ten answers on five instructions say as much as five."""
    items = [
        (Pair(f"q {i}", "a", "b"), combine([OrderVerdict(p, "ok") for p in (1, 2)]))
        for i in range(5)
    ]
    rate = diagnose(items)["first_position_rate"]
    assert rate["n"] == 10
    assert rate["ci95"] == pytest.approx(wilson(1.0, 5))


def test_nothing_to_count_is_none() -> None:
    only_missing = diagnose([judged("longer", None, None)])
    assert only_missing["refusal_rate"]["mean"] == 1.0
    names = ("flip_rate", "first_position_rate", "longer_wins", "tie_rate")
    assert [only_missing[name] for name in names] == [None] * 4
    assert set(diagnose([]).values()) == {None}


def test_counts_and_refusals() -> None:
    bio = OrderVerdict(None, "refusal", category="bio")
    verdicts = [combine([bio, bio]), combine([bio, OrderVerdict(1, "ok")]), *(v for _, v in ITEMS)]
    assert counts(verdicts) == {"identical": 1, "ok": 5, "refusal": 3, "tie": 1}
    assert refusals(verdicts) == {"bio": 3, "unnamed": 1}
