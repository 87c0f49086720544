"""Preferences between 1 and 2, from the log-probabilities of a live endpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alpaca_eval.completion_parsers import logprob_parser
from pydantic import ValidationError

from bench.errors import UserError
from bench.judging.files import judge_file
from judges.openai import OpenAI, OpenAIOptions, second_chance
from judges.replay import Replay, ReplayOptions
from tests.judges.asked import shown
from tests.judges.test_alpaca_eval import write
from tests.llm.server import Server

Body = dict[str, Any]
ASKED = {"canaries": 0, "max_retries": 0}


def logs(**chances: float) -> list[dict[str, float]]:
    return [{token: math.log(chance) for token, chance in chances.items()}]


@pytest.fixture
def judge(server: Server, tmp_path: Path) -> Callable[..., OpenAI]:
    """The first shown is chosen with .8 where it is longer, else with .3."""

    def likes(body: Body) -> list[dict[str, float]]:
        _, first, second = shown(body)
        chance = 0.8 if len(first) > len(second) else 0.3
        return logs(A=0.9 * chance, B=0.9 * (1 - chance), The=0.1)

    server.answer = lambda body: "A"
    server.top_logprobs = likes

    def make(**options: Any) -> OpenAI:
        values = {"model": "m", "base_url": server.openai_url, "weighted": True} | ASKED
        return OpenAI(
            None, OpenAIOptions(**values | options), answers=tmp_path / "answers", say=print
        )

    return make


def test_the_chance_is_alpaca_evals() -> None:
    top = logs(A=0.6, B=0.3, a=0.05)
    content = [{"top_logprobs": [{"token": t, "logprob": x} for t, x in top[0].items()]}]
    (theirs,) = logprob_parser(
        {"logprobs": {"content": content}},
        numerator_token="A",
        denominator_tokens=["A", "B"],
        is_binarize=False,
    )
    assert 1 + second_chance(top) == pytest.approx(theirs) == pytest.approx(1 + 0.3 / 0.9)
    assert second_chance([{" A": -1.0, "A": -1.0, "B": -1.0}]) == pytest.approx(1 / 3)
    assert second_chance(logs(A=0.5)) == 0


def test_both_orders_are_asked_and_averaged(
    server: Server, judge: Callable[..., OpenAI], tmp_path: Path
) -> None:
    """A longer output: B with .7 where it is second, A with .8 where it is first; mean .75."""
    rows = [
        {"instruction": "q", "output_1": "short", "output_2": "much longer"},
        {"instruction": "p", "output_1": "much longer", "output_2": "short"},
    ]
    report = judge_file(write(tmp_path / "p.json", rows), None, judge(), out=tmp_path / "out")
    assert report.win_rate is not None
    assert report.win_rate.mean == pytest.approx(0.5)
    assert (report.win_rate.wins, report.win_rate.losses) == (1, 1)
    written = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [row["preference"] for row in written] == pytest.approx([1.75, 1.25])
    assert [o["preference"] for o in written[0]["orders"]] == pytest.approx([1.7, 1.8])
    assert report.diagnostics["flip_rate"]["mean"] == 0
    assert report.diagnostics["first_position_rate"]["mean"] == 0.5
    body = server.requests[-1].body
    assert body["logprobs"] is True
    assert (body["top_logprobs"], body["max_completion_tokens"]) == (5, 1)
    assert "one letter and nothing else" in body["messages"][0]["content"]
    judge_file(tmp_path / "p.json", None, judge())
    assert server.calls == 4  # the log-probabilities are kept with the answers
    again = judge_file(tmp_path / "out/annotations.json", None, Replay(None, ReplayOptions()))
    assert again.win_rate == report.win_rate


def test_weighted_verdicts_that_go_by_the_position_contradict_each_other(
    server: Server, judge: Callable[..., OpenAI]
) -> None:
    server.top_logprobs = lambda body: logs(A=0.6, B=0.4)
    made = judge()
    (verdict,) = made.compare(["q"], ["a"], ["b"])
    assert verdict.preference == pytest.approx(1.5)
    diagnostics = made.about()["diagnostics"]
    assert diagnostics["flip_rate"]["mean"] == 1
    assert diagnostics["first_position_rate"]["mean"] == 1


def test_canaries_stop_a_weighted_judge(server: Server, judge: Callable[..., OpenAI]) -> None:
    texts = ["q 1", "q 2"], ["an answer"] * 2, ["the reference's answer"] * 2
    server.top_logprobs = lambda body: logs(A=0.9, B=0.1)
    with pytest.raises(UserError, match="chose what was shown first in"):
        judge(canaries=2).compare(*texts)


@pytest.mark.parametrize(
    ("positions", "problem"),
    [(None, "gave no log-probabilities"), (logs(The=0.9), "neither A nor B is among")],
)
def test_answers_without_a_chance(
    server: Server,
    judge: Callable[..., OpenAI],
    positions: list[dict[str, float]] | None,
    problem: str,
) -> None:
    server.top_logprobs = None if positions is None else lambda body: positions
    (verdict,) = judge().compare(["q"], ["a"], ["b"])
    assert (verdict.preference, verdict.status) == (None, "parse_error")
    assert problem in str(verdict.orders[0].error)


def test_no_other_way_has_log_probabilities() -> None:
    with pytest.raises(ValidationError, match="need transport openai"):
        OpenAIOptions(model="m", weighted=True, transport="batches")
    assert OpenAIOptions(model="m").template == "alpaca_eval"
    assert OpenAIOptions(model="m", weighted=True).template == "one_letter"
