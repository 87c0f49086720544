"""The second judge: the same questions to an OpenAI-compatible endpoint, with the real SDK."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from judges.openai import OpenAI, OpenAIOptions
from tests.judges.asked import prefers
from tests.llm.server import Server


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
