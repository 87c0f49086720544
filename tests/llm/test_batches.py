from pathlib import Path
from typing import Any

import pytest

from bench.llm import Answer
from bench.llm.transports import batches as module
from bench.llm.transports import watching
from bench.llm.transports.protocol import Stopped
from tests.llm.faults import Fault, Kind, in_turn
from tests.llm.ordering import ask, asker, batches, created, ledger, seen, stored, text
from tests.llm.sending import budget, request, send
from tests.llm.server import Server


def test_results_are_matched_in_any_order(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body: f"answer {text(body)}"
    transport = batches(tmp_path)
    answers = send(transport, [request(i) for i in range(40)])
    assert {question: answer.text for question, answer in answers.items()} == {
        str(i): f"answer {i}" for i in range(40)
    }
    assert list(answers) != [str(i) for i in range(40)]  # the server shuffles
    (batch,) = server.batches
    assert {item["custom_id"] for item in batch.requests} == {request(i).key for i in range(40)}
    answer = answers["7"]
    assert (answer.outcome, answer.transport, answer.seconds) == ("answered", "batches", None)
    assert answer.request_id == batch.id
    tokens = answer.usage
    assert answer.cost_usd == pytest.approx(
        0.5 * (0.10 * tokens.input_tokens + 0.50 * tokens.output_tokens) / 1e6
    )
    assert transport.budget.reserved_usd == pytest.approx(0)
    assert transport.budget.spent_usd == pytest.approx(40 * answer.cost_usd, rel=0.05)
    assert [next(iter(line)) for line in ledger(tmp_path)] == ["order", "batch", "ended"]


@pytest.mark.parametrize("kind", [Kind.REFUSAL, Kind.TRUNCATED])
def test_what_is_paid_is_delivered(server: Server, tmp_path: Path, kind: Kind) -> None:
    server.item_faults = in_turn(kind)
    answer = send(batches(tmp_path), [request("q")])["q"]
    assert answer.outcome == kind.value
    assert answer.cost_usd
    assert len(server.batches) == 1


@pytest.mark.parametrize(
    ("kind", "outcome", "error"),
    [
        (Kind.SERVER_ERROR, "api_error", "500 api_error: Internal server error"),
        (Kind.OVERLOADED, "api_error", "500 overloaded_error: Overloaded"),
        (Kind.EXPIRED, "expired", "the batch has it as expired"),
    ],
)
def test_what_failed_is_ordered_once_more(
    server: Server, tmp_path: Path, kind: Kind, outcome: str, error: str
) -> None:
    failing = {"once": in_turn(kind), "always": lambda body, attempt: kind}
    server.item_faults = lambda body, attempt: failing.get(text(body), in_turn())(body, attempt)
    answers = send(batches(tmp_path), [request(q) for q in ("once", "always", "fine")])
    assert [len(batch.requests) for batch in server.batches] == [3, 2]
    assert answers["fine"].outcome == answers["once"].outcome == "answered"
    assert (answers["always"].outcome, answers["always"].error) == (outcome, error)


def test_a_batch_that_a_person_canceled_is_not_ordered_again(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.batch_polls = 1000

    def cancel(endpoint: str, n: int) -> None:
        if (endpoint, n) == ("retrieve", 1):
            server._batches.cancel(server.batches[0].id)

    server.batch_faults = cancel
    answers = ask(asker(tmp_path), [request(i) for i in range(3)])
    assert [answer.outcome for answer in answers] == ["api_error"] * 3
    assert "its batch was canceled" in (answers[0].error or "")
    assert len(server.batches) == 1
    assert capsys.readouterr().out.count(" was canceled; ") == 1
    server.batch_polls, server.batch_faults = 2, None
    assert ask(asker(tmp_path), [request(0)])[0].outcome == "answered"


def test_an_invalid_request_is_not_ordered_again(server: Server, tmp_path: Path) -> None:
    server.item_faults = lambda body, attempt: Kind.INVALID_REQUEST if text(body) == "1" else None
    answers = send(batches(tmp_path), [request(i) for i in range(3)])
    assert answers["1"].outcome == "api_error"
    assert "400 invalid_request_error" in (answers["1"].error or "")
    assert len(server.batches) == 1


def test_an_unknown_model_stops_when_the_rest_is_delivered(server: Server, tmp_path: Path) -> None:
    server.item_faults = lambda body, attempt: Kind.NOT_FOUND if text(body) == "1" else None
    got: dict[str, Answer] = {}
    with pytest.raises(Stopped, match="404 not_found_error"):
        send(batches(tmp_path), [request(i) for i in range(3)], got)
    assert sorted(got) == ["0", "2"]


@pytest.mark.parametrize("kind", [Kind.AUTHENTICATION, Kind.SPEND_LIMIT, Kind.BILLING])
def test_a_refused_order_stops(server: Server, tmp_path: Path, kind: Kind) -> None:
    server.batch_faults = lambda endpoint, n: kind if endpoint == "create" else None
    transport = batches(tmp_path)
    with pytest.raises(Stopped, match=r"key in ANTHROPIC_API_KEY|spending limit"):
        send(transport, [request()])
    assert transport.budget.reserved_usd == pytest.approx(0)
    assert created(server) == 1
    assert "dropped" in ledger(tmp_path)[-1]


def test_batches_have_a_largest_size(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REQUESTS", 4)
    assert len(send(batches(tmp_path), [request(i) for i in range(10)])) == 10
    assert [len(batch.requests) for batch in server.batches] == [4, 4, 2]
    monkeypatch.setattr(module, "_BYTES", 2.5 * request(10).size)
    assert len(send(batches(tmp_path), [request(i) for i in range(10, 15)])) == 5
    assert [len(batch.requests) for batch in server.batches[3:]] == [2, 2, 1]


def test_only_some_batches_are_open_at_a_time(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REQUESTS", 1)
    monkeypatch.setattr(module, "_OPEN", 2)
    drawn, server.batch_polls = [], 4

    def requests() -> Any:
        for i in range(6):
            drawn.append((i, sum(batch.status == "ended" for batch in server.batches)))
            yield request(i)

    assert len(send(batches(tmp_path), requests())) == 6
    assert all(i < ended + 2 for i, ended in drawn)


def test_a_batch_is_as_large_as_the_budget(server: Server, tmp_path: Path) -> None:
    most = budget(batch=True).most(request(0))
    transport = batches(tmp_path, limit_usd=3.5 * most)
    answers = send(transport, [request(i) for i in range(7)])
    assert [answer.outcome for answer in answers.values()] == ["answered"] * 7
    assert [len(batch.requests) for batch in server.batches] == [3, 3, 1]
    assert transport.budget.spent_usd < 3.5 * most

    poor = batches(tmp_path, limit_usd=0.9 * most)
    assert send(poor, [request(9)])["9"].outcome == "skipped_budget"
    assert len(server.batches) == 3


def test_a_prompt_of_unknown_price_is_not_ordered_under_a_limit(
    server: Server, tmp_path: Path
) -> None:
    long = "word " * 25_000
    answers = send(batches(tmp_path, 1.0), [request("short"), request(long), request("other")])
    assert {text: answer.outcome for text, answer in answers.items()} == {
        "short": "answered",
        long: "skipped_budget",
        "other": "answered",
    }
    assert "no price for so long a prompt" in (answers[long].error or "")
    assert [len(batch.requests) for batch in server.batches] == [2]
    assert send(batches(tmp_path / "free"), [request(long)])[long].outcome == "answered"


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", [Kind.CUT_MIDDLE, Kind.LOST_REPLY, Kind.OVERLOADED])
def test_results_that_were_cut_are_fetched_again(
    server: Server, tmp_path: Path, kind: Kind
) -> None:
    fault = Fault(kind, retry_after_s=0.01)
    server.batch_faults = lambda endpoint, n: fault if endpoint == "results" and n < 3 else None
    transport = asker(tmp_path)
    answers = ask(transport, [request(i) for i in range(20)])
    assert len(answers) == 20
    assert transport.budget.spent_usd == pytest.approx(sum(a.cost_usd or 0 for a in answers))
    assert len(stored(tmp_path)) == len(set(stored(tmp_path))) == 20
    assert created(server) == 1


def test_a_batch_that_does_not_show_at_once_is_waited_for(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For longer than any other failure, which ends it after 20 looks."""
    server.batch_faults = lambda endpoint, n: (
        Kind.NOT_FOUND if endpoint == "retrieve" and n < 30 else None
    )
    assert send(batches(tmp_path), [request("q")])["q"].outcome == "answered"
    assert created(server) == 1
    assert capsys.readouterr().out.count("does not show yet") == 1


@pytest.mark.parametrize(("endpoint", "missing"), [("retrieve", (2, 3, 4)), ("results", (1, 2))])
def test_a_batch_that_was_seen_may_be_missing_for_a_while(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    missing: tuple[int, ...],
) -> None:
    monkeypatch.setattr(watching, "young", lambda at, poll_s: False)
    server.batch_polls = 3
    server.batch_faults = lambda called, n: (
        Kind.NOT_FOUND if called == endpoint and n in missing else None
    )
    answers = ask(asker(tmp_path), [request(i) for i in range(5)])
    assert [answer.outcome for answer in answers] == ["answered"] * 5
    assert created(server) == 1


def test_results_that_never_show_end_it_without_a_word_of_the_model(
    server: Server, tmp_path: Path
) -> None:
    server.batch_faults = lambda called, n: Kind.NOT_FOUND if called == "results" else None
    with pytest.raises(Stopped, match=r"batch msgbatch_.* may still exist, run and be billed"):
        ask(asker(tmp_path), [request("q")])
    assert created(server) == 1
    server.batch_faults = None
    assert ask(asker(tmp_path), [request("q")])[0].outcome == "answered"
    assert created(server) == 1


@pytest.mark.usefixtures("quick_retries")
def test_polling_outlives_outages(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.batch_polls = 3
    server.batch_faults = lambda endpoint, n: (
        Kind.CUT_BEFORE if endpoint == "retrieve" and n < 30 and n != 15 else None
    )
    assert send(batches(tmp_path, max_retries=0), [request("q")])["q"].outcome == "answered"
    assert capsys.readouterr().out.count("no answer about it") == 2


@pytest.mark.usefixtures("quick_retries")
def test_polling_does_not_go_on_for_ever(server: Server, tmp_path: Path) -> None:
    server.batch_faults = lambda endpoint, n: Kind.CUT_BEFORE if endpoint == "retrieve" else None
    with pytest.raises(Stopped, match="does not take or show batches: Connection error"):
        send(batches(tmp_path, max_retries=0), [request("q")])
    assert seen(server, server.batches[0].id) == 20


def test_the_key_is_in_no_file(server: Server, tmp_path: Path) -> None:
    server.item_faults = in_turn(Kind.OVERLOADED, Kind.OVERLOADED)
    ask(asker(tmp_path), [request("q")])
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert not [content for content in files if server.key in content]
