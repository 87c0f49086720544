import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.llm import Answer, Request, Usage
from bench.llm.money.budget import OVERRUN, Budget
from bench.llm.money.prices import Prices
from tests.llm.sending import MODEL, budget, request

PRICES = Prices.load()


def test_most_is_more_than_any_answer_costs() -> None:
    asked = request("How?" * 100)
    money = budget()
    largest = Usage(input_tokens=asked.size, output_tokens=asked.max_tokens)
    cost = money.cost(MODEL, largest)
    assert cost is not None
    assert cost < money.most(asked)
    assert budget(batch=True).most(asked) == pytest.approx(money.most(asked) / 2)


def test_the_price_of_a_long_prompt_is_unknown_and_no_limit_has_room_for_it() -> None:
    long = request("x" * 100_000)
    assert budget().most(long) == 0.0
    assert budget(limit_usd=1e9).most(long) == math.inf
    money = budget(1e9)
    assert not money.try_reserve(math.inf)
    assert money.try_reserve(1.0)
    assert not asyncio.run(asyncio.wait_for(money.reserve(math.inf), 1.0))  # without waiting
    assert money.reserved_usd == 1.0
    assert budget().most(Request({"model": "unknown", "max_tokens": 9})) == 0.0


def test_a_limit_needs_a_price() -> None:
    Budget(PRICES, None).check("unknown")
    Budget(PRICES, 1.0).check(MODEL)
    with pytest.raises(UserError, match=r"price of unknown .* limit of \$1 cannot be kept"):
        Budget(PRICES, 1.0).check("unknown")


def test_without_a_limit_everything_is_granted_and_counted() -> None:
    money = budget()
    assert asyncio.run(money.reserve(1e6))
    money.settle(1e6, None)
    assert (money.spent_usd, money.reserved_usd, money.unpriced) == (0.0, 0.0, 1)
    assert money.lose(1e6)


def test_a_reservation_waits_for_what_is_in_flight() -> None:
    async def scene() -> list[str]:
        money, said = budget(1.0), []

        async def call(name: str, most: float) -> None:
            said.append(f"{name} {await money.reserve(most)}")

        assert money.try_reserve(0.7)
        calls = [asyncio.create_task(call(*one)) for one in (("b", 0.4), ("c", 0.5), ("d", 1.1))]
        await asyncio.sleep(0)
        assert said == []
        money.settle(0.7, 0.2)
        await asyncio.sleep(0.01)
        assert said == ["b True"]  # 0.2 + 0.4, so 0.5 has to wait
        money.settle(0.4, 0.25)
        await asyncio.sleep(0.01)
        money.settle(0.5, 0.5)
        await asyncio.gather(*calls)
        assert money.spent_usd == pytest.approx(0.95)
        return said

    assert asyncio.run(scene()) == ["b True", "c True", "d False"]


def test_lost_answers_count_in_full() -> None:
    money = budget(1.0)
    assert money.try_reserve(0.4)
    assert money.lose(0.4)  # 0.4 for the lost one, 0.4 for the next try
    assert not money.lose(0.4)
    money.settle(0.4, 0.0)
    assert money.spent_usd == pytest.approx(0.8)


def test_what_is_ordered_already_is_held_beyond_the_limit() -> None:
    money = budget(1.0)
    money.hold(1.5)
    assert not money.try_reserve(0.1)
    money.settle(1.5, 0.3)
    assert money.try_reserve(0.1)


def test_calls_that_are_likely_to_be_cheap_share_what_one_could_cost() -> None:
    """Of a limit of 10, as many as the tenth beyond it can bear: 11 of at most 1 each."""
    money = budget(10.0)
    assert [money.try_reserve(0.1, 1.0) for _ in range(12)] == [True] * 11 + [False]
    money.settle(0.1, 0.1, 1.0)
    assert not money.try_reserve(0.1, 1.0)  # 0.1 + 11 is more than 11
    money.settle(0.1, 0.0, 1.0)
    assert money.try_reserve(0.1, 0.8)
    assert not money.try_reserve(9.0, 0.1)  # which does not fit into the limit itself
    small = budget(1.0)
    assert [small.try_reserve(0.1, 0.8) for _ in range(3)] == [True, True, False]  # 1.6 < 1 + 0.8


def test_what_is_likely_is_at_most_what_is_possible() -> None:
    """Answers of 100 tokens for each of 100 bytes, 90 and 110 of them thought: with a margin."""
    asked = request("q" * 1000)
    money = budget(1.0)
    assert money.likely(asked) == money.most(asked)
    for i in range(10):
        usage = Usage(input_tokens=25, output_tokens=90 + 20 * (i % 2))
        about = {"kind": asked.kind, "asked_bytes": 100, "usage": usage}
        money.learn(Answer(key=asked.key, outcome="answered", **about))
    mean, deviation = 100, (10 * 100 / 9) ** 0.5
    expected = 0.10 * asked.size / 4 + 0.50 * (mean + 2 * deviation)
    assert money.likely(asked) == pytest.approx(1.1 * expected / 1e6, rel=0.01)
    huge = Usage(input_tokens=100_000, output_tokens=1)
    for _ in range(100):
        money.learn(
            Answer(key=asked.key, outcome="answered", **{**about, "usage": huge, "asked_bytes": 1})
        )
    assert money.likely(asked) == money.most(asked)
    long = request("x" * 100_000)
    assert money.likely(long) == math.inf


calls = st.lists(
    st.tuples(
        st.integers(1, 100),  # most that it can cost
        st.floats(0, 1),  # the share of it that it costs
        st.integers(0, 3),  # answers that are lost first
        st.integers(0, 5),  # turns of the loop that it takes
    ),
    max_size=20,
)


@given(
    limit=st.integers(0, 300),
    calls=calls,
    workers=st.integers(1, 6),
    likely=st.sampled_from([0.01, 0.5, 1.0]),
)
def test_the_limit_is_passed_by_no_more_than_is_said(
    limit: int, calls: list[tuple[int, float, int, int]], workers: int, likely: float
) -> None:
    """By any number of workers, where calls cost whatever they can, and never where that is held.

    Args:
        likely: share of the most that a call can cost that is held back for it.
    """
    money = Budget(PRICES, float(limit))
    dearest = max((call[0] for call in calls), default=0)
    bound = limit if likely == 1.0 else limit + max(OVERRUN * limit, dearest)
    billed = 0.0
    done = 0

    async def work(queue: list[tuple[int, float, int, int]]) -> None:
        nonlocal billed, done
        while queue:
            most, share, lost, turns = queue.pop()
            if await money.reserve(likely * most, most):
                cost = 0.0
                for _ in range(lost):
                    billed += most
                    if not money.lose(most):
                        break
                else:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    cost = share * most
                billed += cost
                assert billed <= bound + 1e-9
                money.settle(likely * most, cost, most)
            done += 1

    async def scene() -> None:
        queue = list(calls)
        await asyncio.gather(*(work(queue) for _ in range(workers)))

    asyncio.run(asyncio.wait_for(scene(), 5.0))
    assert done == len(calls)
    assert money.reserved_usd == pytest.approx(0.0, abs=1e-9)
    assert money.spent_usd == pytest.approx(billed)
