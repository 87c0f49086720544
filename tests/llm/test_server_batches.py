"""The fault server's Message Batches, driven by the real SDK."""

from collections.abc import Iterator

import anthropic
import httpx2
import pytest

from tests.llm.clients import claude, question
from tests.llm.faults import Body, Kind, body_key, in_turn
from tests.llm.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def batch_of(*texts: str) -> list[Body]:
    return [{"custom_id": f"item-{i}", "params": question(t)} for i, t in enumerate(texts)]


def test_a_batch_ends_at_its_poll_and_comes_back_shuffled(server: Server) -> None:
    server.batch_polls = 3
    batches = claude(server).messages.batches
    batch = batches.create(requests=batch_of(*map(str, range(30))))
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 30)
    assert (batch.results_url, server.paid) == (None, {})
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        batches.results(batch.id)  # the first poll
    assert batches.retrieve(batch.id).processing_status == "in_progress"
    ended = batches.retrieve(batch.id)
    assert (ended.processing_status, ended.request_counts.succeeded) == ("ended", 30)
    assert ended.ended_at >= ended.created_at
    results = list(batches.results(batch.id))
    names = [result.custom_id for result in results]
    assert names != sorted(names, key=lambda name: int(name[5:]))
    assert {result.result.type for result in results} == {"succeeded"}
    assert results[0].result.message.usage.service_tier == "batch"
    assert set(server.paid) == {body_key(question(str(i))) for i in range(30)}
    assert list(batches.results(batch.id)) == results
    assert server.calls == 0


def test_each_request_of_a_batch_has_its_own_end(server: Server) -> None:
    script = {
        "refused": Kind.REFUSAL,
        "cut": Kind.TRUNCATED,
        "text": Kind.BAD_JSON,
        "invalid": Kind.INVALID_REQUEST,
        "broken": Kind.SERVER_ERROR,
        "expired": Kind.EXPIRED,
        "canceled": Kind.CANCELED,
    }
    server.item_faults = lambda params, n: script.get(params["messages"][0]["content"])
    server.batch_polls = 1
    batches = claude(server).messages.batches
    requests = [{"custom_id": name, "params": question(name)} for name in (*script, "fine")]
    requests.append({"custom_id": "hot", "params": question("hot", temperature=1.0)})
    batch = batches.create(requests=requests)
    results = {entry.custom_id: entry.result for entry in batches.results(batch.id)}
    stops = [results[name].message.stop_reason for name in ("refused", "cut", "text", "fine")]
    assert stops == ["refusal", "max_tokens", "end_turn", "end_turn"]
    errors = [results[name].error.error.type for name in ("invalid", "broken", "hot")]
    assert errors == ["invalid_request_error", "api_error", "invalid_request_error"]
    assert (results["expired"].type, results["canceled"].type) == ("expired", "canceled")
    counts = batches.retrieve(batch.id).request_counts
    assert (counts.succeeded, counts.errored, counts.expired, counts.canceled) == (4, 3, 1, 1)
    assert counts.processing == 0
    assert len(server.paid) == 4


def test_a_request_in_a_second_batch_is_its_second_attempt(server: Server) -> None:
    server.item_faults = in_turn(Kind.EXPIRED)
    server.batch_polls = 1
    batches = claude(server).messages.batches
    ends = []
    for _ in range(2):
        [entry] = batches.results(batches.create(requests=batch_of("again")).id)
        ends.append(entry.result.type)
    assert ends == ["expired", "succeeded"]


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "at least 1 item"),
        ([{"custom_id": "a b", "params": question()}], "should match pattern"),
        ([{"custom_id": "x" * 65, "params": question()}], "should match pattern"),
        ([{"custom_id": "a", "params": question()}] * 2, "not unique"),
    ],
)
def test_batches_that_are_refused(server: Server, requests: list[Body], reason: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=reason):
        claude(server).messages.batches.create(requests=requests)
    assert server.batches == []


def test_batches_are_listed_newest_first_in_pages(server: Server) -> None:
    batches = claude(server).messages.batches
    ids = [batches.create(requests=batch_of("a")).id for _ in range(5)]
    assert [batch.id for batch in server.batches] == ids
    newest = ids[::-1]
    page = batches.list(limit=2)
    assert ([b.id for b in page.data], page.has_more) == (newest[:2], True)
    assert [b.id for b in page] == newest  # the SDK pages on by after_id
    older = batches.list(limit=2, after_id=newest[2])
    assert ([b.id for b in older.data], older.has_more) == (newest[3:], False)
    newer = batches.list(limit=2, before_id=newest[3])
    assert ([b.id for b in newer.data], newer.has_more) == (newest[1:3], True)


def test_a_canceled_batch_is_paid_for_nothing(server: Server) -> None:
    server.batch_polls = 9
    batches = claude(server).messages.batches
    batch = batches.create(requests=batch_of("a", "b"))
    assert batches.cancel(batch.id).processing_status == "canceling"
    assert [entry.result.type for entry in batches.results(batch.id)] == ["canceled"] * 2
    assert batches.retrieve(batch.id).request_counts.canceled == 2
    assert server.paid == {}
    with pytest.raises(anthropic.BadRequestError):
        batches.cancel(batch.id)


def test_an_unknown_batch_and_results_too_early(server: Server) -> None:
    batches = claude(server).messages.batches
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve("msgbatch_unknown")
    batch = batches.create(requests=batch_of("a"))
    headers = {"x-api-key": server.key, "anthropic-version": "2023-06-01"}
    url = f"{server.url}/v1/messages/batches/{batch.id}/results"
    assert httpx2.get(url, headers=headers).status_code == 404


def test_faults_of_the_batch_endpoints(server: Server) -> None:
    script = {
        ("create", 1): Kind.SERVER_ERROR,
        ("create", 2): Kind.LOST_REPLY,
        ("retrieve", 1): Kind.OVERLOADED,
        ("results", 1): Kind.CUT_MIDDLE,
    }
    server.batch_faults = lambda endpoint, n: script.get((endpoint, n))
    server.batch_polls = 1
    batches = claude(server).messages.batches
    requests = batch_of("a", "b", "c", "d")
    with pytest.raises(anthropic.InternalServerError):
        batches.create(requests=requests)
    assert server.batches == []
    with pytest.raises(anthropic.APIConnectionError):
        batches.create(requests=requests)
    [lost] = batches.list().data  # it exists, and only the list can tell
    with pytest.raises(anthropic.OverloadedError):
        batches.retrieve(lost.id)
    assert server.batches[0].polls == 0
    got: list[str] = []
    with pytest.raises(httpx2.RemoteProtocolError):
        got.extend(entry.custom_id for entry in batches.results(lost.id))
    assert 0 < len(got) < 4
    assert len(list(batches.results(lost.id))) == 4
