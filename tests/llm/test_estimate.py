"""What asking would cost: hand-worked, counted by the API where it is there, and asking nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.grid import to_rich
from bench.llm import Asker, LLMOptions, Request
from bench.llm.money.estimate import ASSUMED_OUTPUT_TOKENS, BYTES_PER_TOKEN, estimate
from bench.llm.money.show import estimate_table
from tests.llm.server import Server

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def asker(folder: Path, **options: object) -> Asker:
    return Asker(LLMOptions(**options), folder / "answers.jsonl", say=lambda line: None)


def questions(asker: Asker, n: int) -> list[Request]:
    return [asker.options.request(f"Question {i:03}?", SCHEMA) for i in range(n)]


def test_without_the_api_tokens_are_assumed(tmp_path: Path, monkeypatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    asking = asker(tmp_path, concurrency=2)
    asked = questions(asking, 10)
    found = estimate(asked, asking)
    assert (found.calls, found.stored) == (10, 0)
    assert found.input_tokens == pytest.approx(10 * asked[0].size / BYTES_PER_TOKEN, abs=1)
    assert found.output_tokens == 10 * ASSUMED_OUTPUT_TOKENS
    assert found.most_output_tokens == 10 * 4096
    # claude-sonnet-5-5: $2 and $10 for a million tokens
    tokens = round(found.input_tokens / 10)
    assert found.usd == pytest.approx(10 * (2 * tokens + 10 * ASSUMED_OUTPUT_TOKENS) / 1e6)
    assert found.most_usd == pytest.approx(10 * (2 * tokens + 10 * 4096) / 1e6)
    assert found.seconds == 10 * 6 / 2
    assert sum("assumed" in line for line in found.basis) == 3
    console = Console(width=200, file=io.StringIO())
    console.print(to_rich(estimate_table(found)))
    assert console.file.getvalue().count("without retries at most") == 2


def test_no_answer_is_taken_to_be_longer_than_its_room(tmp_path: Path) -> None:
    asking = asker(tmp_path, max_tokens=64)
    found = estimate(questions(asking, 10), asking)
    assert (found.output_tokens, found.most_output_tokens) == (640, 640)
    assert "64 output tokens a call: assumed" in found.basis


def test_what_is_stored_costs_nothing_and_says_how_long_answers_are(
    server: Server, tmp_path: Path
) -> None:
    asking = asker(tmp_path)
    asked = questions(asking, 8)
    asking.ask(asked[:5], lambda request, answer: None)
    calls = server.calls
    found = estimate(asked, asking)
    assert (found.calls, found.stored) == (3, 5)
    lengths = [asking.answers.get(request.key).usage.output_tokens for request in asked[:5]]
    assert found.output_tokens == round(3 * sum(lengths) / 5)
    counted = [record for record in server.requests if record.path.endswith("count_tokens")]
    assert len(counted) == 3
    assert server.calls == calls
    server.count_tokens = False
    assert "assumed" in estimate(asked, asking).basis[0]


def test_a_batch_is_half_the_price_and_an_unknown_model_has_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    at_once, batch, unknown = (
        asker(tmp_path / "a", **options)
        for options in ({}, {"transport": "batches"}, {"model": "claude-9"})
    )
    usd = estimate(questions(at_once, 3), at_once).usd
    halved = estimate(questions(batch, 3), batch)
    assert halved.usd == pytest.approx(usd / 2)
    assert halved.seconds is None
    found = estimate(questions(unknown, 3), unknown)
    assert (found.usd, found.most_usd) == (None, None)
    assert estimate([], at_once).usd == 0
