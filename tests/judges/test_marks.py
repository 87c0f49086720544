"""When a win rate is marked or not valid, with the shares on either side of each threshold."""

from __future__ import annotations

import pytest

from bench.judging.diagnostics import diagnose
from bench.judging.marks import marks
from bench.judging.pairs import Pair, combine
from bench.plugins.protocols import OrderVerdict, Verdict
from bench.records.files import Mark
from bench.stats.intervals import wilson

FIRST = (1.0, 2.0)  # the reference, which is shown first, and then the model, which is
SECOND = (2.0, 1.0)
WON, LOST, TIE = (2.0, 2.0), (1.0, 1.0), (1.5, 1.5)
FIRST_AND_TIE = (1.0, 1.5)


def found(*said: tuple[float | None, ...]) -> dict[str, Mark]:
    judged = [
        (
            Pair(f"q {i}", "reference", "output"),
            combine([OrderVerdict(p, "ok" if p else "refusal") for p in orders]),
        )
        for i, orders in enumerate(said)
    ]
    return {mark.what: mark for mark in marks(judged, diagnose(judged))}


def levels(*said: tuple[float | None, ...]) -> dict[str, str]:
    return {what: mark.level for what, mark in found(*said).items()}


def test_a_judge_that_goes_by_the_texts_has_no_mark() -> None:
    assert levels(*[WON] * 5, *[LOST] * 7, *[TIE] * 3, FIRST, SECOND) == {}
    assert levels() == {}


@pytest.mark.parametrize(
    ("flips", "n", "level"),
    [
        (1, 1, "marked"),  # of nothing else is it made
        (3, 3, "marked"),
        (4, 4, "invalid"),  # the interval begins at 51 %
        (2, 3, None),  # which chance explains: it begins at 21 %
        (5, 9, None),
        (7, 9, "marked"),  # at 45 %
        (3, 10, None),
        (4, 10, "marked"),
        (9, 12, "marked"),  # at 47 %
        (10, 12, "invalid"),  # at 55 %
        (33, 100, None),
        (34, 100, "marked"),
        (59, 100, "marked"),  # at 49.2 %
        (60, 100, "invalid"),  # at 50.2 %
    ],
)
def test_contradictions(flips: int, n: int, level: str | None) -> None:
    said = [(FIRST, SECOND)[i % 2] for i in range(flips)]  # of no direction
    rest = [(WON, LOST)[i % 2] for i in range(n - flips)]
    assert levels(*said, *rest).get("flip_rate") == level
    assert (level == "invalid") == (wilson(flips / n, n)[0] > 0.5)


@pytest.mark.parametrize("position", ["first", "second"])
def test_a_position_that_is_always_chosen(position: str) -> None:
    """Of 12, Wilson's interval begins at 76 %; of 6 at 61 %, and the contradictions tell alone."""
    always = FIRST if position == "first" else SECOND
    assert levels(*[always] * 6) == {"flip_rate": "invalid"}
    mark = found(*[always] * 12)["first_position_rate"]
    assert str(mark) == (
        f"NOT VALID: what is shown {position} is chosen in 24 of 24 answers, significantly more "
        "than 75% (95 % interval from 76%); the position decides more than the texts, and the win "
        "rate is drawn to 50 %: take another judge or prompt, or outputs that differ more"
    )


def test_half_contradictions_show_by_the_position() -> None:
    """The first, or else a tie: no order contradicts the other."""
    assert levels(*[FIRST_AND_TIE] * 40) == {"first_position_rate": "invalid"}
    assert levels(*[FIRST_AND_TIE] * 20, *[WON] * 5, *[LOST] * 5) == {
        "first_position_rate": "marked"
    }
    assert levels(FIRST_AND_TIE) == {}  # one says nothing


def test_answers_in_one_order_say_nothing_of_the_position() -> None:
    """A poor model, whose other order was always refused."""
    assert levels(*[(1.0, None)] * 50) == {}


@pytest.mark.parametrize(
    ("ties", "n", "level"),
    [(1, 1, "marked"), (2, 3, None), (10, 20, None), (11, 20, "marked"), (50, 50, "marked")],
)
def test_ties(ties: int, n: int, level: str | None) -> None:
    said = [*[TIE] * ties, *[(WON, LOST)[i % 2] for i in range(n - ties)]]
    assert levels(*said) == ({} if level is None else {"tie_rate": level})


def test_contradictions_and_equal_texts_are_no_ties_of_the_judge() -> None:
    assert "tie_rate" not in levels(*[FIRST] * 50)
    same = [(Pair(f"q {i}", "same", "same"), Verdict(1.5, "identical")) for i in range(50)]
    assert marks(same, diagnose(same)) == []


def test_a_judge_without_orders_has_no_position() -> None:
    judged = [(Pair(f"q {i}", "a", "b"), Verdict(1.0, "ok")) for i in range(50)]
    assert marks(judged, diagnose(judged)) == []
    tied = [(pair, Verdict(1.5, "tie")) for pair, _ in judged]
    assert [mark.what for mark in marks(tied, diagnose(tied))] == ["tie_rate"]
