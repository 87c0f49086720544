"""What the tests of batches share: ways to order them, and looks at what that left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.llm import Answer, AnswerStore, Asker, Request
from bench.llm.transports.batches import Batches
from tests.llm.faults import Body
from tests.llm.sending import budget, options
from tests.llm.server import Server


def batches(path: Path, limit_usd: float | None = None, **changes: Any) -> Batches:
    store = AnswerStore(path / "answers.jsonl")
    return Batches(options(**changes), budget(limit_usd, batch=True), store, print)


def asker(path: Path, **changes: Any) -> Asker:
    return Asker(options(transport="batches", **changes), path / "answers.jsonl", print)


def ask(asker: Asker, requests: list[Request]) -> list[Answer]:
    answers: list[Answer] = []
    asker.ask(requests, lambda _, answer: answers.append(answer))
    return answers


def text(params: Body) -> str:
    return str(params["messages"][0]["content"])


def ledger(path: Path) -> list[dict[str, Any]]:
    lines = (path / "answers.batches.jsonl").read_text().split("\n")
    return [json.loads(line) for line in lines if line]


def stored(path: Path) -> list[str]:
    file = path / "answers.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["key"] for line in lines]


def created(server: Server) -> int:
    return sum(record.method == "POST" for record in server.requests)


def seen(server: Server, path: str) -> int:
    gets = [record.path for record in server.requests if record.method == "GET"]
    return sum(called.endswith(path) for called in gets)
