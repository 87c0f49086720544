import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.llm import Answer, AnswerStore, Asker, Request
from bench.llm import batches as module
from bench.llm.batches import Batches
from bench.llm.transport import Stopped
from tests.llm.faults import Body, Fault, Kind, in_turn
from tests.llm.sending import budget, child, kill_when, options, request, send
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


def seen(server: Server, endpoint: str) -> int:
    return sum(record.path.endswith(endpoint) for record in server.requests)


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
    assert [list(line)[0] for line in ledger(tmp_path)] == ["order", "batch", "ended"]


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
        (Kind.CANCELED, "api_error", "the batch has it as canceled"),
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
    with pytest.raises(Stopped, match="key in ANTHROPIC_API_KEY|spending limit"):
        send(batches(tmp_path), [request()])
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


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", [Kind.CUT_MIDDLE, Kind.LOST_REPLY, Kind.OVERLOADED])
def test_results_that_were_cut_are_fetched_again(
    server: Server, tmp_path: Path, kind: Kind
) -> None:
    fault = Fault(kind, retry_after_s=0.01)
    server.batch_faults = lambda endpoint, n: fault if endpoint == "results" and n < 3 else None
    answers = ask(asker(tmp_path), [request(i) for i in range(20)])
    assert len(answers) == 20
    assert len(stored(tmp_path)) == len(set(stored(tmp_path))) == 20
    assert created(server) == 1


@pytest.mark.usefixtures("quick_retries")
def test_polling_outlives_an_outage(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.batch_faults = lambda endpoint, n: (
        Kind.CUT_BEFORE if endpoint == "retrieve" and n < 20 else None
    )
    assert send(batches(tmp_path, max_retries=1), [request("q")])["q"].outcome == "answered"
    assert capsys.readouterr().out.count("no answer about it") == 1


@pytest.mark.usefixtures("quick_retries")
def test_polling_does_not_go_on_for_ever(server: Server, tmp_path: Path) -> None:
    server.batch_faults = lambda endpoint, n: Kind.CUT_BEFORE if endpoint == "retrieve" else None
    with pytest.raises(Stopped, match="does not take or show batches: Connection error"):
        send(batches(tmp_path, max_retries=0), [request("q")])
    assert seen(server, server.batches[0].id) == 20


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    "kind", [Kind.LOST_REPLY, Kind.CUT_MIDDLE, Kind.CUT_BEFORE, Kind.SERVER_ERROR, Kind.STALL]
)
def test_an_order_whose_reply_was_lost_is_not_placed_twice(
    server: Server, tmp_path: Path, kind: Kind
) -> None:
    send(batches(tmp_path), [request(i) for i in range(3)])  # an older batch, as large
    server.batch_faults = lambda endpoint, n: kind if endpoint == "create" and n == 2 else None
    answers = send(batches(tmp_path, timeout_s=0.3), [request(i) for i in range(5, 8)])
    assert [answers[q].outcome for q in "567"] == ["answered"] * 3
    assert len(server.batches) == 2  # and not a third
    assert [len(messages) for messages in server.paid.values()] == [1] * 6


def test_a_batch_of_someone_else_is_not_mistaken(server: Server, tmp_path: Path) -> None:
    """The lost order left none; one as large appeared meanwhile, with other keys."""
    send(batches(tmp_path / "other"), [request("theirs")])
    note = {"order": "00", "at": "2026-01-01T00:00:00+00:00", "newest": None, "usd": 0.0}
    lost = json.dumps({**note, "keys": [request("ours").key]})
    (tmp_path / "answers.batches.jsonl").write_text(lost)
    answers = ask(asker(tmp_path), [request("ours")])
    assert [answer.outcome for answer in answers] == ["answered"]
    assert stored(tmp_path) == [request("ours").key]
    assert [len(batch.requests) for batch in server.batches] == [1, 1]


def test_results_that_are_gone_are_asked_anew(server: Server, tmp_path: Path) -> None:
    """A batch of a month ago still exists, but shows no results."""
    with_results = server._batches._describe

    def without(batch: Any) -> Body:
        gone = {"results_url": None} if batch is server.batches[0] else {}
        return {**with_results(batch), **gone}

    server._batches._describe = without  # type: ignore[method-assign]
    assert send(batches(tmp_path), [request("q")])["q"].outcome == "answered"
    assert len(server.batches) == 2


def test_a_batch_of_another_key_is_named(server: Server, tmp_path: Path) -> None:
    note = {"order": "00", "at": "2026-01-01T00:00:00+00:00", "newest": None, "usd": 0.0}
    lines = [{**note, "keys": [request("q").key]}, {"batch": "msgbatch_gone", "of": "00"}]
    (tmp_path / "answers.batches.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    with pytest.raises(UserError, match="msgbatch_gone, noted in .*answers.batches.jsonl, does not"):
        ask(asker(tmp_path), [request("q")])
    assert created(server) == 0


def kill_child(server: Server, path: Path, *, at: str) -> None:
    """Leave behind what a process has written that is killed at `at`."""
    requests = 30
    slow = {"poll_s": 60.0, "transport": "batches"}  # it stands still at the moment that is meant
    with child(path / "answers.jsonl", requests, **slow) as process:
        if at == "created":
            server.batch_faults = in_turn_of("create", Kind.LOST_REPLY)
            kill_when(process, lambda: len(server.batches) == 1)
        elif at == "polling":
            kill_when(process, lambda: bool(server.batches) and server.batches[0].polls > 0)
        else:
            server.batch_polls = 1
            server.batch_faults = in_turn_of("results", Kind.CUT_MIDDLE)
            kill_when(process, lambda: len(stored(path)) > 3)
    server.batch_faults, server.batch_polls = None, 2


def in_turn_of(endpoint: str, kind: Kind) -> Any:
    return lambda called, n: kind if called == endpoint and n == 1 else None


@pytest.mark.parametrize("at", ["created", "polling", "results"])
def test_a_process_that_is_killed_leaves_its_batch_to_the_next(
    server: Server, tmp_path: Path, at: str
) -> None:
    kill_child(server, tmp_path, at=at)
    before = stored(tmp_path)
    assert (3 < len(before) < 30) if at == "results" else not before
    assert ("batch" in ledger(tmp_path)[-1]) == (at != "created")

    answers = ask(asker(tmp_path), [request(i) for i in range(40)])
    assert Counter(answer.outcome for answer in answers) == {"answered": 40}
    assert stored(tmp_path)[: len(before)] == before
    assert len(stored(tmp_path)) == len(set(stored(tmp_path))) == 40
    assert [len(batch.requests) for batch in server.batches] == [30, 10]
    assert [len(messages) for messages in server.paid.values()] == [1] * 40


def test_what_nobody_asks_for_any_more_is_stored_too(server: Server, tmp_path: Path) -> None:
    kill_child(server, tmp_path, at="polling")
    answers = ask(asker(tmp_path), [request("another")])
    assert len(answers) == 1
    assert {request(i).key for i in range(30)} < set(stored(tmp_path))
    assert [answer.outcome for answer in ask(asker(tmp_path), [request(3)])] == ["answered"]
    assert len(server.batches) == 2


def test_a_batch_that_nobody_asks_for_is_not_waited_for(server: Server, tmp_path: Path) -> None:
    kill_child(server, tmp_path, at="polling")
    server.batches[0].polls = -1000
    transport = asker(tmp_path)
    assert len(ask(transport, [request("another")])) == 1
    assert stored(tmp_path) == [request("another").key]
    assert transport.budget.reserved_usd == pytest.approx(0)
    assert "ended" in ledger(tmp_path)[-1]
    assert ledger(tmp_path)[-1]["ended"] == server.batches[1].id


def test_money_for_what_was_ordered_earlier_is_held(server: Server, tmp_path: Path) -> None:
    kill_child(server, tmp_path, at="polling")
    held = ledger(tmp_path)[0]["usd"]
    room = held + 1.5 * budget(batch=True).most(request("a"))
    answers = ask(asker(tmp_path, max_usd=room), [request(0), request("a"), request("b")])
    assert [answer.outcome for answer in answers] == ["answered"] * 3
    assert [len(batch.requests) for batch in server.batches] == [30, 1, 1]


def test_the_key_is_in_no_file(server: Server, tmp_path: Path) -> None:
    server.item_faults = in_turn(Kind.OVERLOADED, Kind.OVERLOADED)
    ask(asker(tmp_path), [request("q")])
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert not [content for content in files if server.key in content]
