"""Canaries: honest judges pass, those that can be spoken to are stopped before the paid work."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from bench.errors import UserError
from bench.judging.canaries import CANARIES, NULL_ANSWER, PLEA, canary_pairs, check
from bench.judging.pairs import Pair
from bench.plugins.protocols import OrderVerdict
from judges.claude import Claude
from tests.judges.asked import prefers, said, shown
from tests.llm.faults import Kind
from tests.llm.server import Server

Make = Callable[..., Claude]
PAIRS = [Pair(f"q {i}", f"reference {i}", f"output {i}") for i in range(10)]


def judge_all(judge: Claude) -> None:
    judge.compare(
        [p.prompt for p in PAIRS], [p.output for p in PAIRS], [p.reference for p in PAIRS]
    )


def orders(*preferences: float | None, status: str = "ok") -> list[OrderVerdict]:
    return [OrderVerdict(p, status if p is None else "ok", "so it is") for p in preferences]


honest = prefers(lambda text, other: text.startswith("ref") and other != text)


def test_pairs_are_spread_over_the_run() -> None:
    pairs = canary_pairs(PAIRS, 3)
    assert len(pairs) == 3 * len(CANARIES)
    assert [pair.prompt for name, pair in pairs if name == "null"] == ["q 0", "q 3", "q 6"]
    assert ("self", Pair("q 3", "reference 3", "reference 3")) in pairs
    assert ("plea", Pair("q 3", "reference 3", PLEA)) in pairs
    assert ("empty", Pair("q 3", "reference 3", "")) in pairs


def test_an_empty_reference_is_no_measure() -> None:
    pairs = [Pair("a", " ", "x"), Pair("b", "text", "x"), Pair("b", "text", "y")]
    assert {pair.prompt for _, pair in canary_pairs(pairs, 4)} == {"b"}
    assert canary_pairs(pairs, 0) == canary_pairs(pairs[:1], 4) == []


def test_an_honest_judge_passes(server: Server, claude: Make) -> None:
    server.answer = honest
    judge = claude(canaries=2)
    judge_all(judge)
    assert judge.about()["canaries"] == {
        "self": {"n": 2, "wins": 0, "mean": 1.5},
        "null": {"n": 4, "wins": 0, "mean": 1.0},
        "plea": {"n": 4, "wins": 0, "mean": 1.0},
        "empty": {"n": 4, "wins": 0, "mean": 1.0},
    }
    calls = server.calls
    assert calls == 2 + 3 * 2 * 2 + 10 * 2  # equal texts are one question
    assert max(map(len, server.paid.values())) == 1
    judge_all(claude(canaries=2))
    assert server.calls == calls


def test_a_canary_that_is_the_reference(server: Server, claude: Make) -> None:
    """It says nothing of a taste for that text, whatever position is chosen."""
    known = prefers(lambda text, other: text == NULL_ANSWER)

    def answer(body: dict[str, object]) -> dict[str, str]:
        _, first, second = shown(body)
        return said("B") if first == second else known(body)

    server.answer = answer
    judge = claude(canaries=1)
    judge.compare(["q"], ["output"], [NULL_ANSWER])
    assert set(judge.about()["canaries"]) == {"self", "plea", "empty"}


def test_canaries_come_before_all_else(server: Server, claude: Make) -> None:
    server.answer = honest
    judge_all(claude(canaries=1))
    asked = [shown(record.body) for record in server.requests]
    assert not any(
        "output" in text for texts in asked[:7] for text in (texts[1], texts[2]) if text != PLEA
    )


@pytest.mark.parametrize(("name", "output"), [("plea", PLEA), ("null", NULL_ANSWER), ("empty", "")])
def test_a_gullible_judge_is_stopped(server: Server, claude: Make, name: str, output: str) -> None:
    server.answer = prefers(lambda text, other: text == output)
    with pytest.raises(UserError) as caught:
        judge_all(claude(canaries=3))
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert f"preferred the canary '{name}'" in message
    assert "in 6 of 6 comparisons with the reference, 0 more were ties" in message
    assert "; one reason: 'It answers better.'.\n" in message
    assert "claude-sonnet-5-5 with the prompt alpaca_eval" in message
    assert server.calls == 3 + 3 * 3 * 2  # nothing else was asked
    judge = claude(canaries=0)
    judge_all(judge)
    assert judge.about()["canaries"] == {}


def test_a_plea_by_its_words_alone(server: Server, claude: Make) -> None:
    """A server that obeys the verdict that an output spells out."""

    def obey(body: dict[str, object]) -> dict[str, str]:
        _, first, second = shown(body)
        return said("A") if "choose me" in first else said("B" if "choose me" in second else "tie")

    server.answer = obey
    with pytest.raises(UserError, match="the canary 'plea'"):
        judge_all(claude(canaries=1))


@pytest.mark.parametrize(
    ("verdict", "self_too", "position"),
    [("A", True, "first"), ("B", True, "second"), ("A", False, "first"), ("B", False, "second")],
)
def test_a_judge_that_goes_by_position_is_stopped(
    server: Server, claude: Make, verdict: str, self_too: bool, position: str
) -> None:
    """Every canary ties with the reference on average, whether or not equal texts are a tie."""

    def answer(body: dict[str, object]) -> dict[str, str]:
        _, first, second = shown(body)
        return said(verdict if self_too or first != second else "tie")

    server.answer = answer
    with pytest.raises(UserError, match=f"chose what was shown {position} in 12 of 12 ") as caught:
        judge_all(claude(canaries=2))
    assert caught.value.exit_code == 1
    assert server.calls == 2 + 3 * 2 * 2


def test_a_position_for_equal_texts_alone_stops_nothing(server: Server, claude: Make) -> None:
    server.answer = prefers(lambda text, other: text.startswith("ref"))  # A where both are
    judge = claude(canaries=2)
    judge_all(judge)
    assert judge.about()["canaries"]["self"] == {"n": 2, "wins": 0, "mean": 1.0}


def test_position_where_one_order_has_no_answer() -> None:
    """What is left of an honest judge's answers may all be for one position."""
    halves = [orders(1, None, status="api_error"), orders(1, None, status="expired")]
    check([("null", halves[0]), ("empty", halves[1])], "j")
    ties = [("null", orders(1.5, 1.5))] * 3
    check([("empty", orders(1, 2)), *ties], "j")  # 2 of 8: what is a tie speaks for no position
    with pytest.raises(UserError, match="shown first in 2 of 2"):
        check([("empty", orders(1, 2))], "j")


def test_one_order_without_an_answer_is_borne(server: Server, claude: Make) -> None:
    """As where the API refuses one instruction for good: judging would never begin."""
    server.answer = honest
    server.faults = lambda body, attempt: (
        Kind.INVALID_REQUEST if "q 0" in body["messages"][0]["content"] else None
    )
    judge = claude(canaries=2)
    judge_all(judge)
    assert judge.about()["canaries"]["plea"] == {"n": 2, "wins": 0, "mean": 1.0}


def test_no_answer_stops_with_the_reason(server: Server, claude: Make) -> None:
    server.faults = lambda body, attempt: Kind.INVALID_REQUEST
    with pytest.raises(UserError, match=r"(?s)'self' was not answered.*1 api_error.*to be invalid"):
        judge_all(claude(canaries=1))


def test_half_is_not_a_win() -> None:
    both = [("null", orders(2, 2)), ("null", orders(1, 1))]
    assert check(both, "j")["null"] == {"n": 4, "wins": 2, "mean": 1.5}
    with pytest.raises(UserError, match=re.escape("in 3 of 4 comparisons")):
        check([("null", orders(2, 2)), ("null", orders(1, 2))], "j")


def test_more_than_a_tie_is_a_win() -> None:
    """4 wins and 4 ties: never more than half of the comparisons, and never a loss."""
    with pytest.raises(UserError, match=re.escape("in 4 of 8 comparisons with the reference, 4 ")):
        check([("plea", orders(2, 1.5))] * 4, "j")


def test_a_long_reason_is_cut() -> None:
    long = [OrderVerdict(2, "ok", "\x1b[31mred\n" + "long " * 500)] * 2
    with pytest.raises(UserError) as caught:
        check([("null", long)], "j")
    assert len(str(caught.value)) < 600
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_refusals_are_no_win_and_unreadable_answers_no_judge() -> None:
    refused = check([("plea", orders(None, None, status="refusal"))], "j")
    assert refused == {"plea": {"n": 0, "wins": 0, "mean": None}}
    one_unread = check([("plea", orders(None, 1.0, status="parse_error"))], "j")
    assert one_unread["plea"]["n"] == 1
    with pytest.raises(UserError, match="2 parse_error"):
        check([("plea", orders(None, None, status="parse_error"))], "j")
    with pytest.raises(UserError, match="2 expired"):
        check([("plea", orders(None, None, status="expired"))], "j")
