"""The real SDK clients of the fault server, and questions to ask it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anthropic
import openai

from tests.llm.faults import Body
from tests.llm.server import Server

SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string"}, "verdict": {"enum": ["A", "B", "tie"]}},
    "required": ["rationale", "verdict"],
    "additionalProperties": False,
}


def claude(server: Server, **options: Any) -> anthropic.Anthropic:
    options = {"api_key": server.key, "max_retries": 0, "timeout": 10.0, **options}
    return anthropic.Anthropic(base_url=server.url, **options)


def chat(server: Server, **options: Any) -> openai.OpenAI:
    options = {"api_key": server.key, "max_retries": 0, "timeout": 10.0, **options}
    return openai.OpenAI(base_url=server.openai_url, **options)


def question(text: str = "Which is best?", **fields: Any) -> Body:
    turns = [{"role": "user", "content": text}]
    body = {"model": "claude-haiku-5-5", "max_tokens": 1000, "messages": turns}
    return {**body, "output_config": {"format": output_format(SCHEMA)}, **fields}


def output_format(schema: Body) -> Body:
    return {"type": "json_schema", "schema": schema}


def chat_question(**fields: Any) -> Body:
    schema = {"name": "verdict", "strict": True, "schema": SCHEMA}
    body = {"model": "gpt-test", "messages": [{"role": "user", "content": "Which is best?"}]}
    return {**body, "response_format": {"type": "json_schema", "json_schema": schema}, **fields}


def wait_until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
