"""The editor over several runs: what was paid is kept, what failed is asked again, on every way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.editing.writer import (
    EDITED,
    PAIR,
    TOO_MUCH,
    Rule,
    editor,
    first_unchanged,
    repaired,
    response,
    serving,
)
from tests.llm.faults import Body, Kind, random_faults


def test_failed_call_is_asked_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was the retry of a rejected edit: the first answer is not asked again."""
    with serving(monkeypatch, first_unchanged) as server:
        server.faults = lambda body, _: Kind.INVALID_REQUEST if len(body["messages"]) > 1 else None
        [failed] = editor(tmp_path).edit([PAIR])
        server.faults = None
        [result] = editor(tmp_path).edit([PAIR])
        calls = server.calls
    assert failed.status == "api_error"
    assert "400" in failed.reason
    assert (result.status, calls) == ("ok", 3)


def test_second_run_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And needs no key; the results are the same, retries and failures to edit included."""
    pairs = [("p", f"wrong {i} of a few") for i in range(8)]
    rules: list[Rule] = [repaired, first_unchanged, lambda text, _: text, lambda _, __: TOO_MUCH]

    def rule(text: str, turn: int) -> str:
        return rules[int(text.split()[1]) % 4](text, turn)

    with serving(monkeypatch, rule) as server:
        first = editor(tmp_path).edit(pairs)
    assert server.calls == 8 + 6
    for name in server.env:
        monkeypatch.delenv(name)
    claude = editor(tmp_path)
    assert claude.edit(pairs) == first
    assert (claude.report().calls, claude.report().stored) == (0, 14)


def test_budget_leaves_out_what_it_cannot_pay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call after the other: the third still fits in beside the price of two, the fourth not."""
    pairs = [("p", f"wrong {i} of a few") for i in range(6)]
    with serving(monkeypatch) as server:
        one = editor(tmp_path / "one")
        most = max(one.asker.budget.most(request) for request in one.requests(pairs))
        one.edit(pairs[:1])
        price = one.report().cost_usd or 0.0
        claude = editor(tmp_path, max_usd=most + 2.5 * price, concurrency=1)
        statuses = [result.status for result in claude.edit(pairs)]
        assert server.calls == 1 + 3
    assert statuses == ["ok"] * 3 + ["skipped_budget"] * 3
    assert claude.report().outcomes == {"ok": 3, "skipped_budget": 3}
    assert claude.report().cost_usd == pytest.approx(3 * price)


@pytest.mark.parametrize("concurrency", [1, 16])
def test_any_mixture_of_faults_gives_each_one_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    """And what was paid is stored: the next run asks only what has no answer yet."""
    pairs = [("p", f"wrong {i} of a few") for i in range(60)]
    kinds = [
        Kind.THINKING,
        Kind.REFUSAL,
        Kind.TRUNCATED,
        Kind.BAD_JSON,
        Kind.INVALID_REQUEST,
        Kind.OVERLOADED,
        Kind.CUT_BEFORE,
    ]
    with serving(monkeypatch, first_unchanged, faults=random_faults(0.3, kinds, 0)) as server:
        first = editor(tmp_path, concurrency=concurrency).edit(pairs)
        statuses = Counter(result.status for result in first)
        server.faults = None
        calls = server.calls
        second = editor(tmp_path).edit(pairs)
        asked = server.calls - calls
    assert len(first) == len(second) == 60
    assert {"ok", "refusal", "api_error"} <= statuses.keys()
    assert (
        sum(len(answers) for answers in server.paid.values())
        == len((tmp_path / "answers.jsonl").read_text().splitlines()) - statuses["api_error"]
    )
    kept = [result for result in first if result.status != "api_error"]
    assert kept == [result for result in second if result in kept]
    assert statuses["api_error"] <= asked <= 2 * statuses["api_error"]


def test_through_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second batch has the retries; what expired twice says so; the next run asks just that."""
    pairs = [("p", f"wrong {i} of a few") for i in range(9)]

    def rule(text: str, turn: int) -> str:
        return first_unchanged(text, turn) if text.startswith("wrong 1") else repaired(text, turn)

    def fault(body: Body, _: int) -> Kind | None:
        return Kind.EXPIRED if response(body).startswith("wrong 2") else None

    with serving(monkeypatch, rule, item_faults=fault, batch_polls=1) as server:
        claude = editor(tmp_path, transport="batches", poll_s=0.01)
        results = claude.edit(pairs)
        server.item_faults = None
        again = editor(tmp_path, transport="batches", poll_s=0.01)
        assert [result.status for result in again.edit(pairs)] == ["ok"] * 9
        assert server.calls == 0
    statuses = Counter(result.status for result in results)
    assert statuses == {"ok": 8, "expired": 1}
    assert results[2].status == "expired"
    assert results[1].note == "fault 1"
    assert sum(len(answers) for answers in server.paid.values()) == 8 + 1 + 1
    assert again.report().calls == 1


def test_another_vendors_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind an OpenAI-compatible endpoint, with the retry; elsewhere it is another question."""
    with serving(monkeypatch, first_unchanged) as server:
        other = {"transport": "openai", "model": "gpt-x", "base_url": server.openai_url}
        claude = editor(tmp_path, **other)
        [result] = claude.edit([PAIR])
        [request] = claude.requests([PAIR])
        [elsewhere] = editor(tmp_path, **{**other, "base_url": "http://other"}).requests([PAIR])
    assert (result.status, result.edited, server.calls) == ("ok", EDITED, 2)
    assert request.key != elsewhere.key


def test_what_ended_so_is_asked_again_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a rejected edit the second question, whose answer could not be read twice, alone."""
    pairs = [PAIR, (PAIR[0], f"{PAIR[1]}\n"), ("p", "a wrong word of a few")]

    def unreadable(body: Body, _: int) -> Kind | None:
        return Kind.BAD_JSON if len(body["messages"]) > 1 else None

    def statuses(**changes: object) -> list[str]:
        return [result.status for result in editor(tmp_path, **changes).edit(pairs)]

    with serving(monkeypatch, first_unchanged, faults=unreadable) as server:
        assert statuses() == ["parse_error"] * 3
        calls = server.calls
        assert statuses(retry="refusal,truncated") == ["parse_error"] * 3
        assert server.calls == calls
        assert statuses(retry="parse_error") == ["parse_error"] * 3
        assert server.calls == calls + 2  # two of the three differ in blank space alone
        server.faults = None
        assert statuses(retry="parse_error") == ["ok"] * 3
        assert server.calls == calls + 4
        assert statuses() == ["ok"] * 3
        assert server.calls == calls + 4
