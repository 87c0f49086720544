"""The fault server, driven by the real SDKs: each fault arrives as what the SDK makes of it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import anthropic
import httpx2
import openai
import pytest
from anthropic.types import ThinkingBlock
from anthropic.types.shared import EnforcedSpendLimitReachedError

from tests.llm.answers import VERDICT
from tests.llm.clients import chat, chat_question, claude, output_format, question, wait_until
from tests.llm.faults import (
    ANSWERS,
    CONNECTION,
    ENDINGS,
    ERRORS,
    Body,
    Fault,
    Kind,
    body_key,
    in_turn,
    random_faults,
)
from tests.llm.server import Server

SHORT_STRING = {"type": "string", "maxLength": 9}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_an_answer_and_what_is_recorded_of_it(server: Server) -> None:
    server.model_suffix = "-20260101"
    body = question("x" * 400, system="y" * 40)
    reply = claude(server).messages.create(**body)
    assert [block.type for block in reply.content] == ["text"]
    assert json.loads(reply.content[0].text) == VERDICT
    assert reply.model == "claude-haiku-5-5-20260101"
    assert reply.stop_reason == "end_turn"
    assert reply.usage.input_tokens == 110
    assert reply.usage.output_tokens == len(json.dumps(VERDICT)) // 4
    assert reply._request_id.startswith("req_")
    [record] = server.requests
    assert (record.method, record.path, record.status) == ("POST", "/v1/messages", 200)
    assert record.body == body
    assert record.headers["authorization"] == f"Bearer {server.key}"
    assert record.answered_s >= record.received_s
    assert server.paid[body_key(body)][0]["id"] == reply.id
    assert (server.calls, server.max_in_flight) == (1, 1)


def test_the_test_gives_the_answer_as_text_or_as_json(server: Server) -> None:
    server.answer = lambda body: body["messages"][0]["content"].upper()
    assert claude(server).messages.create(**question("aé")).content[0].text == "AÉ"
    server.answer = lambda body: {"verdict": "tie"}
    assert claude(server).messages.create(**question()).content[0].text == '{"verdict": "tie"}'


def test_thinking_stands_before_the_text(server: Server) -> None:
    server.faults = in_turn(Kind.THINKING)
    reply = claude(server).messages.create(**question())
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert reply.content[0].signature
    assert json.loads(reply.content[1].text) == VERDICT
    assert reply.usage.output_tokens_details.thinking_tokens == 50
    assert reply.usage.output_tokens == 50 + len(json.dumps(VERDICT)) // 4


def test_a_refusal_has_details_and_no_text(server: Server) -> None:
    server.faults = in_turn(Fault(Kind.REFUSAL, category="bio"), Fault(Kind.REFUSAL, category=None))
    first, second = (claude(server).messages.create(**question()) for _ in range(2))
    assert (first.stop_reason, first.content) == ("refusal", [])
    assert (first.stop_details.type, first.stop_details.category) == ("refusal", "bio")
    assert first.stop_details.explanation
    assert second.stop_details.category is None


def test_truncation_by_script_and_by_the_length(server: Server) -> None:
    server.faults = in_turn(Kind.TRUNCATED, Kind.TRUNCATED_THINKING)
    whole = json.dumps(VERDICT)
    client = claude(server)
    text, thinking = (client.messages.create(**question()) for _ in range(2))
    assert (text.stop_reason, text.content[0].text) == ("max_tokens", whole[: len(whole) // 2])
    assert (thinking.stop_reason, *map(type, thinking.content)) == ("max_tokens", ThinkingBlock)
    assert text.usage.output_tokens == thinking.usage.output_tokens == 1000
    server.faults = None
    short = client.messages.create(**question(max_tokens=3))
    assert (short.stop_reason, short.content[0].text) == ("max_tokens", whole[:12])


def test_a_text_that_is_not_json(server: Server) -> None:
    server.faults = in_turn(Kind.BAD_JSON)
    reply = claude(server).messages.create(**question())
    assert reply.stop_reason == "end_turn"
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.content[0].text)


@pytest.mark.parametrize(
    ("kind", "error", "status", "type_"),
    [
        (Kind.INVALID_REQUEST, anthropic.BadRequestError, 400, "invalid_request_error"),
        (Kind.USAGE_LIMIT, anthropic.BadRequestError, 400, "invalid_request_error"),
        (Kind.AUTHENTICATION, anthropic.AuthenticationError, 401, "authentication_error"),
        (Kind.BILLING, anthropic.PaymentRequiredError, 402, "billing_error"),
        (Kind.PERMISSION, anthropic.PermissionDeniedError, 403, "permission_error"),
        (Kind.NOT_FOUND, anthropic.NotFoundError, 404, "not_found_error"),
        (Kind.TOO_LARGE, anthropic.ContentTooLargeError, 413, "request_too_large"),
        (Kind.RATE_LIMIT, anthropic.RateLimitError, 429, "rate_limit_error"),
        (Kind.SPEND_LIMIT, EnforcedSpendLimitReachedError, 429, "rate_limit_error"),
        (Kind.SERVER_ERROR, anthropic.InternalServerError, 500, "api_error"),
        (Kind.OVERLOADED, anthropic.OverloadedError, 529, "overloaded_error"),
    ],
)
def test_errors(server: Server, kind: Kind, error: type, status: int, type_: str) -> None:
    server.faults = in_turn(kind)
    with pytest.raises(error) as raised:
        claude(server).messages.create(**question())
    assert type(raised.value) is error
    assert (raised.value.status_code, raised.value.type) == (status, type_)
    assert raised.value.request_id == raised.value.body["request_id"]
    assert ("retry-after" in raised.value.response.headers) == (kind is Kind.RATE_LIMIT)
    limited = raised.value.api_message.startswith("You have reached your specified API usage")
    assert limited == (kind is Kind.USAGE_LIMIT)
    [record] = server.requests
    assert (record.status, record.fault) == (status, Fault(kind))
    assert server.paid == {}


def test_the_sdk_waits_as_long_as_retry_after_says(server: Server) -> None:
    server.faults = in_turn(Fault(Kind.RATE_LIMIT, retry_after_s=0.3), Kind.RATE_LIMIT)
    claude(server, max_retries=2).messages.create(**question())
    first, second, third = server.requests
    assert [r.attempt for r in server.requests] == [1, 2, 3]
    assert second.received_s - first.answered_s >= 0.3
    assert third.received_s - second.answered_s < 0.3


def test_a_stalled_connection_ends_when_the_client_leaves(server: Server) -> None:
    server.faults = in_turn(Kind.STALL)
    with pytest.raises(anthropic.APITimeoutError):
        claude(server, timeout=0.2).messages.create(**question())
    wait_until(lambda: server.requests[0].answered_s is not None)
    assert server.requests[0].status is None
    assert server.paid == {}


@pytest.mark.parametrize("kind", [Kind.CUT_BEFORE, Kind.LOST_REPLY, Kind.CUT_MIDDLE])
def test_a_cut_connection_may_have_been_paid(server: Server, kind: Kind) -> None:
    server.faults = in_turn(kind)
    with pytest.raises(anthropic.APIConnectionError) as raised:
        claude(server).messages.create(**question())
    assert isinstance(raised.value.__cause__, httpx2.RemoteProtocolError)
    paid = server.paid.get(body_key(question()), [])
    assert len(paid) == (0 if kind is Kind.CUT_BEFORE else 1)
    claude(server).messages.create(**question())
    assert len(server.paid[body_key(question())]) == len(paid) + 1


def test_a_killed_client_has_its_answer_counted_as_paid(server: Server) -> None:
    server.latency_s = 0.5
    code = f"import anthropic; anthropic.Anthropic().messages.create(**{question()!r})"
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **server.env})
    wait_until(lambda: server.calls == 1, seconds=20)
    child.kill()
    child.wait()
    assert server.paid == {}
    wait_until(lambda: server.requests[0].answered_s is not None)
    assert len(server.paid[body_key(question())]) == 1
    assert server.requests[0].answered_s - server.requests[0].received_s >= 0.5


def test_calls_run_side_by_side(server: Server) -> None:
    server.latency_s = 0.2

    async def ask() -> None:
        options = {"api_key": server.key, "max_retries": 0}
        async with anthropic.AsyncAnthropic(base_url=server.url, **options) as client:
            await asyncio.gather(*(client.messages.create(**question(str(i))) for i in range(8)))

    asyncio.run(ask())
    assert (server.calls, server.max_in_flight, len(server.paid)) == (8, 8, 8)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"messages": [{"role": "assistant", "content": "{"}]}, "must end with a user message"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"output_config": {"format": output_format({"type": "object"})}}, "additionalProperties"),
        (
            {"output_config": {"format": output_format({"anyOf": [SHORT_STRING]})}},
            "maxLength",
        ),
    ],
)
def test_what_the_real_api_refuses(server: Server, fields: Body, reason: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=reason):
        claude(server).messages.create(**question(), extra_body=fields)
    assert server.paid == {}


def test_another_key_is_refused_everywhere(server: Server) -> None:
    assert server.key.startswith("sk-ant-test-")
    client = claude(server, api_key="sk-ant-test-another")
    for call in (
        lambda: client.messages.create(**question()),
        client.messages.batches.list,
        lambda: client.messages.count_tokens(model="m", messages=question()["messages"]),
    ):
        with pytest.raises(anthropic.AuthenticationError):
            call()
    with pytest.raises(openai.AuthenticationError):
        chat(server, api_key="another").chat.completions.create(**chat_question())
    headers = {"x-api-key": server.key, "anthropic-version": "2023-06-01"}
    assert httpx2.post(f"{server.url}/v1/messages", json=question(), headers=headers).is_success


def test_tokens_are_counted_where_that_is_switched_on(server: Server) -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "x" * 40}]}]
    count = claude(server).messages.count_tokens(model="m", messages=turns, system="y" * 40)
    assert count.input_tokens == 20
    server.count_tokens = False
    with pytest.raises(anthropic.NotFoundError):
        claude(server).messages.count_tokens(model="m", messages=turns)
    assert server.calls == 0


def test_every_kind_belongs_to_one_group() -> None:
    assert sorted([*ANSWERS, *ERRORS, *CONNECTION, *ENDINGS]) == sorted(Kind)


def test_random_faults_are_fixed_by_body_attempt_and_seed() -> None:
    kinds = [Kind.STALL, Kind.OVERLOADED]
    script, again, other = (random_faults(0.3, kinds, seed) for seed in (1, 1, 2))
    drawn = [script({"n": i}, 1) for i in range(1000)]
    assert drawn == [again({"n": i}, 1) for i in range(1000)]
    assert drawn != [other({"n": i}, 1) for i in range(1000)]
    assert drawn != [script({"n": i}, 2) for i in range(1000)]
    assert 250 < sum(fault is not None for fault in drawn) < 350
    assert set(drawn) == {None, *kinds}


def test_an_error_in_the_tests_own_callable_is_raised_on_leaving() -> None:
    def answer(body: Body) -> str:
        raise KeyError("mine")

    for server, error, text in (
        (Server(answer), KeyError, "mine"),
        (Server(faults=in_turn(Kind.EXPIRED)), ValueError, "EXPIRED"),
    ):
        with pytest.raises(error, match=text), server, pytest.raises(anthropic.InternalServerError):
            claude(server).messages.create(**question())


def test_a_chat_completion(server: Server) -> None:
    reply = chat(server).chat.completions.create(**chat_question())
    [choice] = reply.choices
    assert (choice.finish_reason, choice.message.refusal) == ("stop", None)
    assert json.loads(choice.message.content) == VERDICT
    assert reply.usage.prompt_tokens == len("Which is best?") // 4
    assert reply.usage.completion_tokens == len(json.dumps(VERDICT)) // 4
    assert server.paid[body_key(chat_question())][0]["id"] == reply.id
    assert server.calls == 1


@pytest.mark.parametrize(
    ("kind", "finish", "refused"),
    [
        (Kind.TRUNCATED, "length", False),
        (Kind.REFUSAL, "stop", True),
        (Kind.CONTENT_FILTER, "content_filter", False),
    ],
)
def test_chat_answers_that_are_none(server: Server, kind: Kind, finish: str, refused: bool) -> None:
    server.faults = in_turn(kind)
    [choice] = chat(server).chat.completions.create(**chat_question(max_tokens=90)).choices
    assert choice.finish_reason == finish
    assert (choice.message.refusal is not None) == refused
    assert (choice.message.content is not None) == (kind is Kind.TRUNCATED)


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        (Kind.AUTHENTICATION, openai.AuthenticationError, "invalid_api_key"),
        (Kind.NOT_FOUND, openai.NotFoundError, "model_not_found"),
        (Kind.RATE_LIMIT, openai.RateLimitError, "rate_limit_exceeded"),
        (Kind.SPEND_LIMIT, openai.RateLimitError, "insufficient_quota"),
        (Kind.SERVER_ERROR, openai.InternalServerError, None),
    ],
)
def test_chat_errors(server: Server, kind: Kind, error: type, code: str | None) -> None:
    server.faults = in_turn(kind)
    with pytest.raises(error) as raised:
        chat(server).chat.completions.create(**chat_question())
    assert raised.value.code == code
    assert raised.value.request_id.startswith("req_")
    assert ("retry-after" in raised.value.response.headers) == (kind is Kind.RATE_LIMIT)
