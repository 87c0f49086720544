"""`python -m benchmarks.judging`: how fast a judge works through 805 pairs, and from its store.

A server on this machine speaks the Messages API in a process of its own and takes 200 ms for each
answer; the judge asks it through the real SDK, 32 calls at a time. The ideal is calls x .2 / 32
seconds. Peer: the bare SDK, asked the same by 32 workers that keep nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import anthropic
import typer

from bench.llm import Answer, AnswerStore, Asker, LLMOptions, Request
from benchmarks.report import RESULTS, origin, origin_text, table, write
from judges.claude import Claude

LATENCY_S, CONCURRENCY = 0.2, 32
_SERVE = """
import json, sys
from tests.llm.server import Server
with Server(latency_s=float(sys.argv[1])) as server:
    print(json.dumps(server.env), flush=True)
    sys.stdin.read()
"""


@contextmanager
def served(latency_s: float) -> Iterator[None]:
    """A server in a process of its own, and the variables that lead the SDK to it."""
    command = [sys.executable, "-c", _SERVE, str(latency_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            with patch.dict(os.environ, json.loads(process.stdout.readline())):
                yield
        finally:
            process.stdin.close()


def texts(pairs: int) -> tuple[list[str], list[str], list[str]]:
    """Instructions, outputs and references of about AlpacaEval's lengths."""
    words = [hashlib.sha256(str(i).encode()).hexdigest()[:6] for i in range(2000)]

    def text(i: int, n: int) -> str:
        return " ".join(words[(i * 31 + j * 7) % len(words)] for j in range(n))

    return (
        [f"{i}: {text(i, 25)}" for i in range(pairs)],
        [text(i, 60) for i in range(pairs)],
        [text(i + 1, 70) for i in range(pairs)],
    )


def judged(pairs: int, answers: Path) -> tuple[float, int]:
    """Seconds and calls of a judge that goes through all pairs."""
    options = Claude.Options(concurrency=CONCURRENCY, canaries=0)
    start = time.perf_counter()
    judge = Claude(None, options, answers=answers, say=lambda line: None)
    verdicts = judge.compare(*texts(pairs))
    seconds = time.perf_counter() - start
    assert all(verdict.preference is not None for verdict in verdicts)
    return seconds, judge.about()["calls"]


def bare(pairs: int, folder: Path) -> float:
    """Seconds that the SDK alone takes for the same requests."""
    judge = Claude(None, Claude.Options(), answers=folder / "none.jsonl", say=lambda line: None)
    requests = judge.requests(*texts(pairs))

    async def worker(client: Any) -> None:
        for request in requests:
            await client.messages.create(**request.body)

    async def run() -> None:
        async with anthropic.AsyncAnthropic(max_retries=0) as client:
            await asyncio.gather(*(worker(client) for _ in range(CONCURRENCY)))

    start = time.perf_counter()
    asyncio.run(run())
    return time.perf_counter() - start


def loaded(n: int, path: Path) -> tuple[float, float]:
    """Seconds to open a store of n answers, and megabytes that it then holds."""
    store = AnswerStore(path)
    for i in range(n):
        key = hashlib.sha256(str(i).encode()).hexdigest()
        store.append(Answer(key=key, outcome="answered", text="x" * 300, model="claude-haiku-5-5"))
    store.close()
    start = time.perf_counter()
    AnswerStore(path)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    again = AnswerStore(path)
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    assert len(again) == n
    return seconds, held


def peak(items: int, folder: Path) -> float:
    """Megabytes at most while `items` questions are asked, drawn from a generator."""
    options = LLMOptions(concurrency=CONCURRENCY)
    asker = Asker(options, folder / f"{items}.jsonl", say=lambda line: None)
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    requests: Iterator[Request] = (
        options.request(f"{i} " + "word " * 200, schema) for i in range(items)
    )
    tracemalloc.start()
    asker.ask(requests, lambda request, answer: None)
    most = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return most


def measure(pairs: int, stored: int, items: tuple[int, int]) -> dict[str, Any]:
    """All of it, as numbers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(LATENCY_S):
            alone = bare(pairs, folder)
            seconds, calls = judged(pairs, folder / "a.jsonl")
            again, more = judged(pairs, folder / "a.jsonl")
        opened, held = loaded(stored, folder / "many.jsonl")
        with served(0.0):
            few, many = (peak(n, folder) for n in items)
    return {
        "pairs": pairs,
        "calls": calls,
        "ideal_s": calls * LATENCY_S / CONCURRENCY,
        "judge_s": seconds,
        "bare_sdk_s": alone,
        "rerun_s": again,
        "rerun_calls": more,
        "stored": stored,
        "load_s": opened,
        "index_mb": held,
        "items": list(items),
        "peak_mb": [few, many],
    }


def rows(found: dict[str, Any]) -> list[list[str]]:
    """For the table: what, measured, goal."""
    ideal, (few, many) = found["ideal_s"], found["items"]
    return [
        [
            f"{found['pairs']} pairs in both orders, {found['calls']} calls",
            f"{found['judge_s']:.2f} s, {found['judge_s'] / ideal:.3f} times the ideal",
            "1.15",
        ],
        ["the bare SDK", f"{found['bare_sdk_s']:.2f} s, {found['bare_sdk_s'] / ideal:.3f}", "–"],
        [
            "the same again, from the store",
            f"{found['rerun_s']:.2f} s, {found['rerun_calls']} calls",
            "2 s, 0 calls",
        ],
        [f"{found['stored']:,} stored answers opened", f"{found['load_s']:.2f} s", "3 s"],
        ["memory that they then hold", f"{found['index_mb']:.1f} MB", "–"],
        [
            f"peak while {few:,} and {many:,} questions are asked",
            f"{found['peak_mb'][0]:.1f} and {found['peak_mb'][1]:.1f} MB",
            "flat",
        ],
    ]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes: does it run?")] = False,
    out: Annotated[Path, typer.Option(help="Also written: the same name with .md.")] = RESULTS
    / "judging.json",
) -> None:
    """Measure, and write JSON and a table."""
    sizes = (40, 1000, (100, 400)) if quick else (805, 100_000, (500, 4000))
    result = origin("python -m benchmarks.judging") | measure(*sizes)
    text = f"{table(['what', 'measured', 'goal'], rows(result))}\n\n{origin_text(result)}"
    write(result, text, out)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
