"""How much of a limit is used, and by how much it may be passed; what was lost is counted apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.llm import Answer, AnswerStore, Asker
from bench.llm import asking as module
from bench.llm.money.budget import OVERRUN
from tests.llm.faults import Body, Kind, in_turn
from tests.llm.sending import MODEL, budget, options, request
from tests.llm.server import Server

N = 400  # so that a half of their price is more than the most that one can cost
QUESTIONS = [request(f"question {i:03}") for i in range(N)]


def long_or_short(body: Body) -> str:
    """Of 20 to 60 tokens."""
    i = int(str(body["messages"][0]["content"]).split()[1])
    return "word" * (20 + 40 * (i * 7 % 11) // 10)


def asker(path: Path, **changes: object) -> Asker:
    return Asker(options(**changes), path / "answers.jsonl", lambda line: None)


def outcomes(asker: Asker, questions: list = QUESTIONS) -> Counter[str]:
    counts: Counter[str] = Counter()
    asker.ask(questions, lambda _, answer: counts.update([answer.outcome]))
    return counts


def price(path: Path, server: Server, n: int = N, **changes: object) -> float:
    """Of the first questions."""
    server.answer = long_or_short
    free = asker(path / "free", **changes)
    assert outcomes(free, QUESTIONS[:n]) == {"answered": n}
    return free.budget.spent_usd


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_limit_a_little_above_the_price_suffices(
    server: Server, tmp_path: Path, concurrency: int
) -> None:
    """And be it little more than the most that a single call can cost."""
    limit = 1.2 * price(tmp_path, server, 60)
    assert limit < 2.5 * budget().most(QUESTIONS[0])
    money = asker(tmp_path, max_usd=limit, concurrency=concurrency)
    assert outcomes(money, QUESTIONS[:60]) == {"answered": 60}
    assert money.budget.spent_usd <= limit


@pytest.mark.parametrize("concurrency", [1, 16])
def test_half_the_price_answers_half(server: Server, tmp_path: Path, concurrency: int) -> None:
    limit = 0.5 * price(tmp_path, server, concurrency=16)
    money = asker(tmp_path, max_usd=limit, concurrency=concurrency)
    counts = outcomes(money)
    assert counts.keys() == {"answered", "skipped_budget"}
    assert 0.45 * N <= counts["answered"] <= 0.55 * N
    assert money.budget.spent_usd <= limit
    assert money.budget.reserved_usd == pytest.approx(0)


def test_answers_that_grow_pass_the_limit_by_no_more_than_is_said(
    server: Server, tmp_path: Path
) -> None:
    """From one question on they take all the room there is, with many in flight."""
    server.answer = lambda body: "word" * (10 if "question 0" in str(body) else 2000)
    server.latency_s = 0.02
    most = budget().most(QUESTIONS[0])
    limit = 12 * most
    money = asker(tmp_path, max_usd=limit, concurrency=50)
    counts = outcomes(money)
    assert counts["answered"] == 100
    assert counts["truncated"] > 5
    assert limit - most < money.budget.spent_usd <= limit + max(most, OVERRUN * limit)


def test_a_batch_goes_by_the_batch_before(server: Server, tmp_path: Path) -> None:
    limit = 1.2 * price(tmp_path, server, transport="batches")
    assert [len(batch.requests) for batch in server.batches] == [N]
    money = asker(tmp_path, max_usd=limit, transport="batches")
    assert outcomes(money) == {"answered": N}
    first, *rest = [len(batch.requests) for batch in server.batches[1:]]
    assert first == limit // budget(batch=True).most(QUESTIONS[0]) < N / 10
    assert len(rest) <= 3


def test_a_batch_goes_by_what_is_stored(server: Server, tmp_path: Path) -> None:
    limit = 0.5 * price(tmp_path, server, transport="batches")
    free = asker(tmp_path, transport="batches")
    others = [request(f"other {i} of the same kind") for i in range(20)]
    assert outcomes(free, others) == {"answered": 20}
    server.batches.clear()
    money = asker(tmp_path, max_usd=limit, transport="batches")
    counts = outcomes(money)
    assert counts["answered"] >= 0.45 * N
    assert money.budget.spent_usd <= 1.05 * limit
    assert [len(batch.requests) for batch in server.batches][2] > 0.3 * N


def test_the_latest_answers_of_a_store(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.jsonl")
    for i in (1, 2, 3, 1):
        store.append(Answer(key=f"{i:064x}", outcome="answered", text=str(i)))
    assert [answer.text for answer in store.latest(2)] == ["1", "3"]
    assert len(store.latest(10)) == 3
    assert module._LATEST >= 100


@pytest.mark.usefixtures("quick_retries")
def test_a_lost_answer_may_be_billed_beside_what_is(server: Server, tmp_path: Path) -> None:
    server.faults = in_turn(Kind.LOST_REPLY, Kind.CUT_MIDDLE)
    most = budget().most(QUESTIONS[0])
    for calls in (3, 0):  # the next command knows of it as well
        one = asker(tmp_path)
        assert outcomes(one, QUESTIONS[:1]) == {"answered": 1}
        assert one.tally.possibly_billed_usd == pytest.approx(2 * most)
        assert 0 < one.tally.cost_usd < most
        assert one.tally.cost_usd + 2 * most == pytest.approx(
            one.budget.spent_usd if calls else one.tally.cost_usd + 2 * most
        )
    assert server.calls == 3


def test_what_failures_may_cost_adds_up_over_commands(server: Server, tmp_path: Path) -> None:
    server.faults = lambda body, attempt: Kind.LOST_REPLY if attempt < 3 else None
    most = budget().most(QUESTIONS[0])
    for outcome, lost in (("api_error", 1), ("api_error", 2), ("answered", 2), ("answered", 2)):
        one = asker(tmp_path, max_retries=0)
        assert outcomes(one, QUESTIONS[:1]) == {outcome: 1}
        assert one.tally.possibly_billed_usd == pytest.approx(lost * most)
    once = asker(tmp_path)
    for _ in range(2):
        outcomes(once, QUESTIONS[:1])
    assert once.tally.possibly_billed_usd == pytest.approx(2 * most)


def test_a_lost_answer_of_unknown_price(server: Server, tmp_path: Path) -> None:
    server.faults = in_turn(Kind.LOST_REPLY)
    one = asker(tmp_path, model="unpriced", max_retries=0)
    assert outcomes(one, [request("q", model="unpriced")]) == {"api_error": 1}
    assert one.tally.possibly_billed_usd is None


@pytest.mark.parametrize("transport", ["messages", "batches"])
def test_an_answer_that_cannot_be_read_may_be_billed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    def unreadable(*args: object) -> None:
        raise ValueError("odd")

    for name in ("batches", "messages"):
        monkeypatch.setattr(f"bench.llm.transports.{name}.read_message", unreadable)
    one = asker(tmp_path, transport=transport)
    assert outcomes(one, QUESTIONS[:1]) == {"api_error": 1}
    most = budget(batch=transport == "batches").most(QUESTIONS[0])
    assert one.tally.possibly_billed_usd == pytest.approx(most)
    assert one.tally.cost_usd == 0
    assert "of it for lost answers" in one.budget.spent()


def test_what_is_not_sent_is_not_billed(server: Server, tmp_path: Path) -> None:
    server.faults = in_turn(Kind.OVERLOADED, Kind.INVALID_REQUEST)
    one = asker(tmp_path, max_retries=0)
    outcomes(one, QUESTIONS[:2])
    assert one.tally.possibly_billed_usd == 0
    assert MODEL in one.options.model
