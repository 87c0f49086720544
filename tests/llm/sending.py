"""Requests, options and ways to send them, for the tests of the transports."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.llm import Answer, LLMOptions, Request
from bench.llm.money.budget import Budget
from bench.llm.money.prices import Prices
from bench.llm.transports.protocol import Transport
from tests.llm.clients import question, wait_until

MODEL = "claude-haiku-5-5"
ROOT = Path(__file__).parents[2]


def request(text: object = "Which is best?", **fields: Any) -> Request:
    return Request(question(str(text), **fields))


def options(**changes: Any) -> LLMOptions:
    quick = {"concurrency": 4, "max_retries": 2, "timeout_s": 5.0, "deadline_s": 20.0}
    return LLMOptions(**{"model": MODEL, "poll_s": 0.01, **quick, **changes})


def budget(limit_usd: float | None = None, *, batch: bool = False) -> Budget:
    return Budget(Prices.load(), limit_usd, batch=batch)


def send(
    transport: Transport, requests: Iterable[Request], got: dict[str, Answer] | None = None
) -> dict[str, Answer]:
    """Answers by the text of the question; `got` has them where `send` raises."""
    answers: dict[str, Answer] = {} if got is None else got

    def deliver(request: Request, answer: Answer) -> None:
        text = request.body["messages"][0]["content"]
        assert text not in answers
        assert answer.key == request.key
        answers[text] = answer

    asyncio.run(transport.send(iter(requests), deliver))
    return answers


@contextmanager
def child(path: Path, n: int, **changes: Any) -> Iterator[subprocess.Popen[str]]:
    """Another process that asks the questions 0 .. n - 1, as `tests.llm.child` does."""
    command = [sys.executable, "-m", "tests.llm.child", str(path), str(n)]
    process = subprocess.Popen(
        [*command, options(**changes).model_dump_json()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_when(
    process: subprocess.Popen[str], ready: Callable[[], bool], seconds: float = 30.0
) -> None:
    """`kill -9` as soon as `ready` says so."""
    wait_until(lambda: ready() or process.poll() is not None, seconds)
    assert process.poll() is None, process.communicate()[0]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
