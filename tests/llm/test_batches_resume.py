"""Batches of processes that died, and orders whose reply was lost: found, and paid once."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.llm import Asker
from bench.llm.transports import watching
from bench.llm.transports.protocol import now
from tests.llm.faults import Body, Kind, in_turn
from tests.llm.ordering import ask, asker, batches, created, ledger, seen, stored
from tests.llm.sending import budget, child, kill_when, options, request, send
from tests.llm.server import Server


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    ("kind", "looks"),
    [
        (Kind.LOST_REPLY, 1),
        (Kind.CUT_MIDDLE, 1),
        (Kind.CUT_BEFORE, 4),  # there is none, and it is looked for until that is sure
        (Kind.SERVER_ERROR, 4),
        (Kind.STALL, 4),
        (Kind.HALF_JSON, 1),
        (Kind.LOGIN_PAGE, 4),
    ],
)
def test_an_order_whose_reply_was_lost_is_not_placed_twice(
    server: Server, tmp_path: Path, kind: Kind, looks: int
) -> None:
    send(batches(tmp_path), [request(i) for i in range(3)])  # an older batch, as large
    server.batch_faults = in_turn_of("create", kind, n=2)
    answers = send(batches(tmp_path, timeout_s=1.0), [request(i) for i in range(5, 8)])
    assert [answers[q].outcome for q in "567"] == ["answered"] * 3
    assert len(server.batches) == 2  # and not a third
    assert seen(server, "/batches") == 2 + looks  # before each order, and for the lost one
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


def test_an_older_batch_is_not_taken_for_a_lost_one(server: Server, tmp_path: Path) -> None:
    """Neither someone else's nor our own, be the newest one before the order deleted or not."""
    send(batches(tmp_path / "theirs"), [request("theirs")])
    server.batch_faults = in_turn_of("create", Kind.LOST_REPLY, n=2)
    send(batches(tmp_path), [request("ours")])
    note = {"order": "00", "at": now(), "newest": "msgbatch_deleted", "usd": 0.0}
    with (tmp_path / "answers.batches.jsonl").open("a") as file:
        file.write(json.dumps({**note, "keys": [request("lost").key]}) + "\n")
    ask(asker(tmp_path), [request("lost")])
    theirs, ours, lost = (batch.id for batch in server.batches)
    noted = [(line["batch"], line["of"] == "00") for line in ledger(tmp_path) if "batch" in line]
    # With the newest known only what is newer counts; else what is not ours already.
    assert noted == [(ours, False), (theirs, True), (lost, False)]


def test_results_that_are_gone_are_asked_anew(server: Server, tmp_path: Path) -> None:
    """A batch of a month ago still exists, but shows no results."""
    with_results = server._batches._describe

    def without(batch: Any) -> Body:
        gone = {"results_url": None} if batch is server.batches[0] else {}
        return {**with_results(batch), **gone}

    server._batches._describe = without  # type: ignore[method-assign]
    assert send(batches(tmp_path), [request("q")])["q"].outcome == "answered"
    assert len(server.batches) == 2


def note_gone(path: Path, ordered: str, **batch: str) -> None:
    """A ledger with a batch of another key."""
    note = {"order": "00", "at": ordered, "newest": None, "usd": 0.0, "keys": [request("q").key]}
    lines = [note, {"batch": "msgbatch_gone", "of": "00", **batch}]
    (path / "answers.batches.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")


def test_an_old_batch_of_another_key_is_named_at_once(server: Server, tmp_path: Path) -> None:
    note_gone(tmp_path, "2026-01-01T00:00:00+00:00")
    with pytest.raises(
        UserError, match=r"msgbatch_gone, noted in .*answers\.batches\.jsonl, does not"
    ) as caught:
        ask(asker(tmp_path), [request("q")])
    told = str(caught.value)
    assert "Ordered at 2026-01-01T00:00:00+00:00" in told
    assert "may still exist, run and be billed" in told
    assert "may be paid a second time" in told
    assert created(server) == 0
    assert seen(server, "msgbatch_gone") == 1


def test_a_young_batch_that_never_shows_is_not_ordered_anew(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watching, "_YOUNG_S", 2.0)
    note_gone(tmp_path, "2026-01-01T00:00:00+00:00", at=now())  # killed, and found in the list
    with pytest.raises(UserError, match=r"msgbatch_gone, .* may still exist, run and be billed"):
        ask(asker(tmp_path, poll_s=0.05), [request("q")])
    assert created(server) == 0
    assert seen(server, "msgbatch_gone") > 3
    assert capsys.readouterr().out.count("does not show yet") == 1


def test_a_batch_that_is_not_in_the_list_at_once_is_not_ordered_twice(
    server: Server, tmp_path: Path
) -> None:
    """The reply to its creation was lost, and the list lags behind."""
    page, listed = server._batches.page, []

    def lagging(query: dict[str, str]) -> Body:
        listed.append(query)
        found = page(query)
        return {**found, "data": [], "has_more": False} if len(listed) < 4 else found

    server._batches.page = lagging  # type: ignore[method-assign]
    server.batch_faults = in_turn_of("create", Kind.LOST_REPLY)
    assert send(batches(tmp_path), [request("q")])["q"].outcome == "answered"
    assert len(server.batches) == 1


@pytest.mark.parametrize("age_s", [5, 3600])
def test_only_a_young_lost_order_is_looked_for_again(
    server: Server, tmp_path: Path, age_s: int
) -> None:
    at = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
    note = {"order": "00", "at": at, "newest": None, "usd": 0.0, "keys": [request("q").key]}
    (tmp_path / "answers.batches.jsonl").write_text(json.dumps(note) + "\n")
    ask(asker(tmp_path), [request("q")])
    assert seen(server, "/batches") == (4 if age_s < 600 else 1) + 1  # and before the order


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


def in_turn_of(endpoint: str, kind: Kind, n: int = 1) -> Any:
    return lambda called, i: kind if (called, i) == (endpoint, n) else None


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


def leave_batch(path: Path) -> None:
    """Leave a batch of the questions 0 .. 29 behind, as a process does that is interrupted."""

    def say(line: str) -> None:
        raise KeyboardInterrupt

    left = Asker(options(transport="batches"), path / "answers.jsonl", say)
    with pytest.raises(KeyboardInterrupt):
        left.ask([request(i) for i in range(30)], lambda *_: None)


def test_what_nobody_asks_for_any_more_is_stored_too(server: Server, tmp_path: Path) -> None:
    leave_batch(tmp_path)
    answers = ask(asker(tmp_path), [request("another")])
    assert len(answers) == 1
    assert {request(i).key for i in range(30)} < set(stored(tmp_path))
    assert [answer.outcome for answer in ask(asker(tmp_path), [request(3)])] == ["answered"]
    assert len(server.batches) == 2


@pytest.mark.parametrize("noted", [True, False])
def test_another_transport_does_not_pay_for_what_is_ordered(
    server: Server, tmp_path: Path, noted: bool
) -> None:
    leave_batch(tmp_path)
    path = tmp_path / "answers.batches.jsonl"
    if not noted:  # killed between the order and the note of its batch
        path.write_text(json.dumps(ledger(tmp_path)[0]) + "\n")
    at_once = Asker(options(), tmp_path / "answers.jsonl", print)
    with pytest.raises(UserError, match=r"^5 of these questions .* transport batches, .*jsonl"):
        ask(at_once, [request(i) for i in range(25, 35)])
    assert server.calls == 0
    assert len(ask(at_once, [request("another")])) == 1
    ask(asker(tmp_path), [request(i) for i in range(30)])
    assert len(ask(at_once, [request(i) for i in range(25, 35)])) == 10
    assert server.calls == 1 + 5
    assert [len(messages) for messages in server.paid.values()] == [1] * 36


def test_a_batch_that_nobody_asks_for_is_not_waited_for(server: Server, tmp_path: Path) -> None:
    leave_batch(tmp_path)
    server.batches[0].polls = -1000
    transport = asker(tmp_path)
    assert len(ask(transport, [request("another")])) == 1
    assert stored(tmp_path) == [request("another").key]
    assert transport.budget.reserved_usd == pytest.approx(0)
    assert "ended" in ledger(tmp_path)[-1]
    assert ledger(tmp_path)[-1]["ended"] == server.batches[1].id


def test_money_for_what_was_ordered_earlier_is_held(server: Server, tmp_path: Path) -> None:
    leave_batch(tmp_path)
    held = ledger(tmp_path)[0]["usd"]
    room = held + 1.5 * budget(batch=True).most(request("a"))
    answers = ask(asker(tmp_path, max_usd=room), [request(0), request("a"), request("b")])
    assert [answer.outcome for answer in answers] == ["answered"] * 3
    assert [len(batch.requests) for batch in server.batches] == [30, 1, 1]


def test_what_was_ordered_to_replace_an_answer_does_so(server: Server, tmp_path: Path) -> None:
    """Also where the process that ordered it is gone, and nobody has it renewed now."""
    server.item_faults = in_turn(Kind.REFUSAL)
    [refused] = ask(asker(tmp_path), [request("q")])
    assert refused.outcome == "refusal"

    def say(line: str) -> None:
        raise KeyboardInterrupt

    left = Asker(options(transport="batches"), tmp_path / "answers.jsonl", say)
    with pytest.raises(KeyboardInterrupt):
        left.ask([request("q").renew()], lambda *_: None)
    ask(asker(tmp_path), [request("another")])
    renewed = asker(tmp_path)
    [answer] = ask(renewed, [request("q")])
    assert answer.outcome == "answered"
    assert answer.replaced_usd == refused.cost_usd
    assert renewed.tally.cost_usd == pytest.approx(refused.cost_usd + answer.cost_usd)
    assert len(server.batches) == 3
    assert stored(tmp_path).count(request("q").key) == 2
