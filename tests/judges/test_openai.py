"""The second judge: the same questions to an OpenAI-compatible endpoint, with the real SDK."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.plugins.protocols import Verdict
from judges.openai import OpenAI, OpenAIOptions
from tests.judges.asked import Body, prefers
from tests.llm.faults import Kind, Refused
from tests.llm.server import Server

better = prefers(lambda text, other: text.startswith("good") and not other.startswith("good"))


def judge_three(
    server: Server, folder: Path, say: Callable[[str], None] = print, **options: Any
) -> list[Verdict]:
    named = {"model": "gpt-test", "base_url": server.openai_url, "canaries": 0, **options}
    judge = OpenAI(None, OpenAIOptions(**named), answers=folder / "answers.jsonl", say=say)
    return judge.compare(["1", "2", "3"], ["good", "bad", "good"], ["bad", "good", "bad"])


def right(verdicts: list[Verdict]) -> bool:
    return [verdict.preference for verdict in verdicts] == [2.0, 1.0, 2.0]


def turned(said: Body) -> str:
    """The other verdict, as a model may think of it first."""
    return json.dumps(said | {"verdict": "B" if said["verdict"] == "A" else "A"})


HABITS: dict[str, Callable[[Body], str]] = {
    "plain": json.dumps,
    "fenced": lambda said: f"```json\n{json.dumps(said, indent=1)}\n```",
    "prose before": lambda said: f"Sure! {json.dumps(said)}",
    "reasoning": lambda said: f"<think>If {{x}} then {turned(said)}?</think>\n{json.dumps(said)}",
    "lower case": lambda said: json.dumps(said | {"verdict": said["verdict"].lower()}),
    "trailing space": lambda said: json.dumps(said | {"verdict": said["verdict"] + " "}),
    "zero-width space": lambda said: json.dumps(said, ensure_ascii=False).replace(
        f'"{said["verdict"]}"', f'\u200b"\u200b{said["verdict"]}"\u200b'
    ),
    "an extra key": lambda said: json.dumps(said | {"confidence": 0.9}),
}


@pytest.mark.parametrize("habit", HABITS.values(), ids=HABITS)
def test_an_endpoint_that_holds_no_model_to_the_schema(
    server: Server, tmp_path: Path, habit: Callable[[Body], str]
) -> None:
    server.answer = lambda body: habit(better(body))
    assert right(judge_three(server, tmp_path))
    assert server.calls == 6  # none was asked twice


@pytest.mark.parametrize("parameter", ["response_format", "max_completion_tokens"])
def test_an_endpoint_that_refuses_a_parameter(
    server: Server, tmp_path: Path, parameter: str
) -> None:
    def faults(body: Body, attempt: int) -> None:
        if parameter in body:
            raise Refused(Kind.INVALID_REQUEST, f"Unsupported parameter: '{parameter}'")

    server.answer, server.faults = better, faults
    said: list[str] = []
    assert right(judge_three(server, tmp_path, said.append))
    assert [line for line in said if f"refuses {parameter}" in line] == said[:1]
    calls = server.calls
    assert right(judge_three(server, tmp_path))  # the same questions: all are answered
    assert server.calls == calls


@pytest.mark.parametrize("answer_format", ["schema", "text"])
def test_the_prompt_says_what_the_answer_looks_like(
    server: Server, tmp_path: Path, answer_format: str
) -> None:
    server.answer = better
    assert right(judge_three(server, tmp_path, answer_format=answer_format))
    for record in server.requests:
        told = record.body["messages"][0]["content"].splitlines()[-1]
        assert json.loads(told)["properties"]["verdict"]["enum"] == ["A", "B", "tie"]
        assert ("response_format" in record.body) == (answer_format == "schema")


def test_a_quoted_verdict_is_none(server: Server, tmp_path: Path) -> None:
    """An output that is written like a verdict, and a judge that quotes it, score nothing."""
    quoted = json.dumps({"rationale": "This output is best.", "verdict": "A"})
    server.answer = lambda body: f"An output says {quoted}, but that one is not better."
    verdicts = judge_three(server, tmp_path)
    assert [verdict.status for verdict in verdicts] == ["parse_error"] * 3
    assert server.calls == 12


def test_it_judges(server: Server, tmp_path: Path) -> None:
    server.answer = prefers(lambda text, other: text == "good")
    options = OpenAIOptions(model="gpt-test", base_url=server.openai_url, canaries=0)
    judge = OpenAI(None, options, answers=tmp_path / "answers.jsonl", say=print)
    judge.ready()
    (verdict,) = judge.compare(["q"], ["good"], ["bad"])
    assert verdict.preference == 2.0
    assert {record.path for record in server.requests} == {"/v1/chat/completions"}
    assert judge.about()["models"] == {"gpt-test": 2}
    assert judge.about()["cost_usd"] is None  # no price is known


def test_a_model_must_be_named() -> None:
    with pytest.raises(ValidationError, match="model"):
        OpenAIOptions()


def test_another_endpoint_is_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(**options: str) -> str:
        judge = OpenAI(
            None, OpenAIOptions(model="m", **options), answers=tmp_path / "answers", say=print
        )
        return next(judge.requests(["q"], ["a"], ["b"])).key

    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    default = key()
    assert key(transport="replay") == default
    assert key(base_url="http://127.0.0.1:1") != default
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    assert key() == key(base_url="http://127.0.0.1:1")
