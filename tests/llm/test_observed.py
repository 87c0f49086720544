"""What questions take, foreseen from answers: hand-worked, by kind, of paid answers alone."""

from __future__ import annotations

from typing import Any

import pytest

from bench.llm import Answer, Request, Usage
from bench.llm.money.observed import ENOUGH, Observed
from tests.llm.sending import request


def answer(asked: Request, tokens: int, output: int, **fields: Any) -> Answer:
    values = {
        "key": asked.key,
        "outcome": "answered",
        "usage": Usage(input_tokens=tokens, output_tokens=output),
        "kind": asked.kind,
        "asked_bytes": 100,
    }
    return Answer(**{**values, **fields})


def test_mean_and_standard_deviation() -> None:
    """Outputs 10 and 20, five each: mean 15, sd sqrt(10 * 25 / 9); half a token for each byte."""
    observed, asked = Observed(), request("q")
    for output in [10, 20] * 5:
        assert observed.usage(asked, 2.0) is None
        observed.learn(answer(asked, 50, output))
    assert ENOUGH == 10
    half = -(-asked.size // 2)
    assert observed.usage(asked, 0.0) == Usage(input_tokens=half, output_tokens=15)
    assert observed.usage(asked, 2.0) == Usage(input_tokens=half, output_tokens=26)  # 25.54
    other = request("a longer question" * 10)
    assert observed.usage(other, 0.0).input_tokens == -(-other.size // 2)


def test_cached_tokens_are_of_the_prompt() -> None:
    observed, asked = Observed(), request("q")
    for _ in range(ENOUGH):
        cached = Usage(input_tokens=10, cache_read_tokens=30, cache_write_tokens=10)
        observed.learn(answer(asked, 0, 0, usage=cached))
    assert observed.usage(asked, 0.0).input_tokens == -(-asked.size // 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": "api_error"},
        {"asked_bytes": 0},  # of an older store
        {"usage": Usage()},  # of an endpoint that counts no tokens
        {"kind": request("q", max_tokens=2000).kind},
        {"kind": request("q", output_config={"effort": "low"}).kind},
        {"kind": request("q", model="claude-opus-5-5").kind},
    ],
)
def test_what_says_nothing_of_a_question(fields: dict[str, Any]) -> None:
    observed, asked = Observed(), request("q")
    for _ in range(2 * ENOUGH):
        observed.learn(answer(asked, 50, 10, **fields))
    assert observed.usage(asked, 2.0) is None


def test_the_messages_do_not_make_the_kind() -> None:
    assert request("q").kind == request("another").kind == request("q").again().kind
