"""What questions begin with alike is written to the API's prompt cache once, and read from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.llm import Answer, Asker, Request
from bench.llm.caching import LONG_BYTES, apart, beginning, marked
from bench.llm.money.estimate import estimate
from tests.llm.faults import Kind
from tests.llm.sending import budget, options, request
from tests.llm.server import Server

LONG = "A line of rules.\n" * 300
MODEL = "claude-sonnet-5"  # caches from 1,024 tokens on


def questions(
    ends: Iterable[object], start: str = LONG, shared: int | None = None
) -> list[Request]:
    n = len(start) if shared is None else shared
    return [Request(request(f"{start}{end}", model=MODEL).body, shared=n) for end in ends]


def ask(path: Path, asked: list[Request], **changes: object) -> tuple[Asker, list[Answer]]:
    got: dict[str, Answer] = {}
    asker = Asker(options(model=MODEL, **changes), path, print)
    asker.ask(asked, lambda q, answer: got.update({q.key: answer}))
    return asker, [got[q.key] for q in asked]


def test_whole_lines_of_enough_tokens() -> None:
    [q] = questions(["end"])
    assert beginning(q, 1024) == LONG
    assert beginning(q, len(LONG)) == beginning(q, None) == ""
    [within] = questions(["end"], shared=len(LONG) - 3)
    assert beginning(within, 1024) == LONG[: -len("A line of rules.\n")]
    assert beginning(questions(["\n"])[0], 1024) == ""  # an empty block is refused
    assert beginning(request(LONG), 1) == ""


def test_it_is_written_once_and_read_from_then_on(server: Server, tmp_path: Path) -> None:
    server.latency_s = 0.05
    asker, answers = ask(tmp_path / "a.jsonl", questions(range(12)), concurrency=6)
    n = len(LONG) // 4
    used = [(a.usage.cache_write_tokens, a.usage.cache_read_tokens) for a in answers]
    assert sorted(used) == [(0, n)] * 11 + [(n, 0)]
    assert all(answer.outcome == "answered" for answer in answers)
    by_hand = sum(
        2 * a.usage.input_tokens
        + 10 * a.usage.output_tokens
        + 2.5 * a.usage.cache_write_tokens
        + 0.2 * a.usage.cache_read_tokens
        for a in answers
    )
    assert asker.tally.cost_usd == pytest.approx(by_hand / 1e6)
    prompts = [record.body["messages"][0]["content"] for record in server.requests]
    assert all("".join(block["text"] for block in blocks).startswith(LONG) for blocks in prompts)


def test_the_question_and_its_key_stay_the_same(server: Server, tmp_path: Path) -> None:
    asked = questions(range(3))
    ask(tmp_path / "a.jsonl", questions(range(3), shared=0))  # as they were asked before
    _, answers = ask(tmp_path / "a.jsonl", asked)
    assert server.calls == 3
    assert [q.key for q in asked] == [q.key for q in questions(range(3), shared=0)]
    assert not any(a.usage.cache_write_tokens for a in answers)
    replayed = {"transport": "replay", "replay": str(tmp_path / "a.jsonl")}
    assert ask(tmp_path / "b.jsonl", asked, **replayed)[1][0].outcome == "answered"


def test_a_first_question_that_fails_holds_nobody_up(server: Server, tmp_path: Path) -> None:
    first = questions(range(4))[0].body["messages"][0]["content"]
    server.faults = lambda body, attempt: (
        Kind.INVALID_REQUEST
        if "".join(b["text"] for b in body["messages"][0]["content"]) == first
        else None
    )
    _, answers = ask(tmp_path / "a.jsonl", questions(range(4)))
    assert [a.outcome for a in answers] == ["api_error"] + ["answered"] * 3
    assert sum(bool(a.usage.cache_write_tokens) for a in answers) >= 1


@pytest.mark.parametrize(
    "changes",
    [{"transport": "batches"}, {"model": "claude-unknown"}, {"model": "claude-haiku-4-5"}],
)
def test_where_it_does_not_pay_nothing_is_marked(
    server: Server, tmp_path: Path, changes: dict[str, str]
) -> None:
    asked = [q.with_body(model=changes.get("model", MODEL)) for q in questions(range(3))]
    Asker(options(**{"model": MODEL, **changes}), tmp_path / "a.jsonl", print).ask(
        asked, lambda q, answer: None
    )
    assert "cache_control" not in str([record.body for record in server.requests])


def test_the_most_that_a_call_costs_is_that_of_writing() -> None:
    [q] = questions(["end"])
    plain = Request(q.body)
    extra = (2.5 - 2.0) * len(LONG) / 1e6
    assert budget().most(q) - budget().most(plain) == pytest.approx(extra, rel=0.5)
    assert budget(batch=True).most(q) == budget(batch=True).most(plain)


def test_the_estimate_counts_one_writing_and_the_rest_as_read(tmp_path: Path) -> None:
    asker = Asker(options(model=MODEL, transport="messages"), tmp_path / "a.jsonl", print)
    server_less = [estimate(questions(range(10), shared=n), asker) for n in (len(LONG), 0)]
    cached, plain = server_less
    assert cached.input_tokens == plain.input_tokens
    tokens = len(LONG) / 3.5
    saved = (9 * (2 - 0.2) - (2.5 - 2)) * tokens / 1e6
    assert plain.usd - cached.usd == pytest.approx(saved, rel=0.02)
    assert any("written to the prompt cache" in line for line in cached.basis)
    assert not any("prompt cache" in line for line in plain.basis)


def test_second_orders_come_later() -> None:
    pairs = [Request({"i": i}, order, shared=LONG_BYTES) for i in range(4) for order in (0, 1)]
    found = [(q.body["i"], q.order) for q in apart(pairs, 2)]
    assert found == [(0, 0), (1, 0), (2, 0), (0, 1), (3, 0), (1, 1), (2, 1), (3, 1)]
    short = [Request({"i": i}, order) for i in range(4) for order in (0, 1)]
    assert list(apart(short, 2)) == short


def test_follow_ups_keep_it() -> None:
    [q] = questions(["end"])
    assert q.again().shared == q.with_room(9999).shared == len(LONG)
    turns = [*q.body["messages"], {"role": "assistant", "content": "x"}]
    assert len(marked(q.with_body(messages=turns).body, LONG)["messages"]) == 2
