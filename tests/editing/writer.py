"""A model that edits, for the fault server: it reads the prompt and answers by a rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.editing.claude import Claude, EditorOptions
from tests.llm.faults import Body
from tests.llm.server import Server

Rule = Callable[[str, int], str]
"""The edited text, from the response and the number of the turn, from 0."""

PAIR = ("Say it.", "This is the wrong word here.")
EDITED = "This is the right word here."
TOO_MUCH = "Nothing of it remains today."

_RESPONSE = re.compile(r"<response-([0-9a-f]{16})>\n(.*)\n</response-\1>", re.DOTALL)


def response(body: Body) -> str:
    """The response that a request asks to edit."""
    *_, (_, text) = _RESPONSE.findall(body["messages"][0]["content"])
    return str(text)


def writer(rule: Rule) -> Callable[[Body], Body]:
    def answer(body: Body) -> Body:
        turn = len(body["messages"]) // 2
        return {"fault": f"fault {turn}", "edited": rule(response(body), turn)}

    return answer


def repaired(text: str, _turn: int) -> str:
    return text.replace("wrong", "right")


def first_unchanged(text: str, turn: int) -> str:
    return repaired(text, turn) if turn else text


def bodies(server: Server) -> list[Body]:
    """What was asked, in order; not of batches."""
    return [record.body for record in server.requests if record.body is not None]


@contextmanager
def serving(
    monkeypatch: pytest.MonkeyPatch, rule: Rule = repaired, **settings: Any
) -> Iterator[Server]:
    with Server(writer(rule), **settings) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


def editor(folder: Path, **options: Any) -> Claude:
    options = {"model": "claude-haiku-5-5", "max_retries": 0, "timeout_s": 10.0, **options}
    return Claude(EditorOptions(**options), answers=folder / "answers.jsonl", say=print)


def spoken(text: str, turn: int) -> str:
    """The text of an answer as it comes over the wire."""
    return json.dumps({"fault": f"fault {turn}", "edited": text})
