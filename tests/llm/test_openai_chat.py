import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from bench.errors import UserError
from bench.llm import Answer, Asker, Usage
from bench.llm.json_answers import in_words
from bench.llm.transports.calls import UNREADABLE
from bench.llm.transports.openai_chat import Dialect, OpenAIChat, read_completion, to_chat
from bench.llm.transports.protocol import Say, Stopped
from tests.llm.clients import SCHEMA, output_format
from tests.llm.faults import GARBLED, Body, Fault, Kind, Refused, in_turn
from tests.llm.sending import budget, options, request, send
from tests.llm.server import Server


def chat(server: Server, say: Say = print, **changes: Any) -> OpenAIChat:
    named = {"base_url": server.openai_url, "transport": "openai", "model": "gpt-test"}
    return OpenAIChat(options(**{**named, **changes}), budget(), say)


def ask_one(server: Server, **changes: Any) -> Answer:
    return send(chat(server, **changes), [request("q", model="gpt-test")])["q"]


def test_the_body_is_translated() -> None:
    turns = [{"role": "user", "content": "Which?"}]
    assert to_chat({"model": "m", "max_tokens": 9, "messages": turns}) == {
        "model": "m",
        "max_completion_tokens": 9,
        "messages": turns,
    }
    output = {"format": output_format(SCHEMA), "effort": "low"}
    body = {"model": "m", "max_tokens": 9, "messages": turns, "system": "Judge."}
    asked = {**body, "output_config": output}
    chat = to_chat(asked)
    told = chat["messages"].pop()
    assert told["content"].startswith("Which?\n\nAnswer with nothing but one JSON object")
    assert told["content"].endswith(json.dumps(SCHEMA))
    assert chat == {
        "model": "m",
        "max_completion_tokens": 9,
        "messages": [{"role": "system", "content": "Judge."}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
        },
        "reasoning_effort": "low",
    }
    assert body["messages"] == turns
    plain = to_chat(asked, Dialect(schema=False, limit="max_tokens"))
    assert plain == to_chat(in_words(asked), Dialect(limit="max_tokens"))
    assert plain["messages"][-1] == told
    assert plain["max_tokens"] == 9
    assert not {"response_format", "max_completion_tokens"} & plain.keys()


@pytest.mark.parametrize(
    ("kind", "outcome", "text", "stop_reason", "category"),
    [
        (None, "answered", "yes, A", "stop", None),
        (Kind.TRUNCATED, "truncated", "yes", "length", None),
        (Kind.REFUSAL, "refusal", "", "stop", None),
        (Kind.CONTENT_FILTER, "refusal", "", "content_filter", "content_filter"),
    ],
)
def test_what_is_paid_is_delivered_in_full(
    server: Server, kind: Kind, outcome: str, text: str, stop_reason: str, category: str | None
) -> None:
    server.answer, server.model_suffix = lambda body: "yes, A", "-2026"
    server.faults = in_turn(kind)
    answer = ask_one(server)
    assert (answer.outcome, answer.text, answer.stop_reason) == (outcome, text, stop_reason)
    assert answer.category == category
    assert answer.model == "gpt-test-2026"
    assert answer.usage.output_tokens > 0
    assert answer.cost_usd is None  # no price is known, so none is invented
    assert (answer.request_id or "").startswith("req_")
    assert answer.transport == "openai"


def completion(usage: Body | None) -> ChatCompletion:
    turn = {"role": "assistant", "content": "A", "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "message": turn}
    return ChatCompletion.model_validate(
        {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
        | {"choices": [choice], "usage": usage}
    )


def test_cached_tokens_are_counted_apart() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    plain = read_completion(completion(usage), request())
    assert plain.usage == Usage(input_tokens=100, output_tokens=7)
    usage["prompt_tokens_details"] = {"cached_tokens": 60}  # type: ignore[assignment]
    cached = read_completion(completion(usage), request())
    assert cached.usage == Usage(input_tokens=40, output_tokens=7, cache_read_tokens=60)
    assert read_completion(completion(None), request()).usage == Usage()


def test_a_completion_without_a_choice_is_no_answer() -> None:
    empty = completion(None).model_copy(update={"choices": []})
    with pytest.raises(UNREADABLE):
        read_completion(empty, request())


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    "fault",
    [
        Kind.RATE_LIMIT,
        Fault(Kind.SERVER_ERROR, retry_after_s=0.01),
        Kind.CUT_BEFORE,
        Kind.CUT_MIDDLE,
        Kind.STALL,
    ],
)
def test_what_passes_is_tried_again(server: Server, fault: Fault | Kind) -> None:
    server.faults = in_turn(fault)
    assert ask_one(server, timeout_s=0.6).outcome == "answered"
    assert server.calls == 2


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Kind.AUTHENTICATION, "refuses the key in OPENAI_API_KEY .401"),
        (Kind.SPEND_LIMIT, "spending limit"),
        (Kind.NOT_FOUND, "404.*model gpt-test"),
    ],
)
def test_what_no_call_gets_past_stops_all(server: Server, kind: Kind, said: str) -> None:
    server.faults = lambda body, attempt: kind
    with pytest.raises(Stopped, match=said):
        ask_one(server)
    assert server.calls == 1


@pytest.mark.usefixtures("quick_retries")
def test_answers_that_were_lost_count_as_paid(server: Server) -> None:
    server.faults = lambda body, attempt: Kind.LOST_REPLY
    money = budget(2.5 * budget().most(request("q")))  # of a model whose price is known
    transport = OpenAIChat(options(base_url=server.openai_url, max_retries=5), money, print)
    answer = send(transport, [request("q")])["q"]
    assert "may be billed" in (answer.error or "")
    assert server.calls == 2


def test_a_missing_key_names_its_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"set OTHER_KEY .*api_key_env"):
        chat(server, api_key_env="OTHER_KEY")
    monkeypatch.setenv("OTHER_KEY", server.key)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask_one(server, api_key_env="OTHER_KEY").outcome == "answered"


def test_the_key_is_not_stored(server: Server, tmp_path: Path) -> None:
    def faults(body: Body, attempt: int) -> None:
        raise Refused(Kind.INVALID_REQUEST, f"{server.key} is odd")

    server.faults = faults
    path, seen = tmp_path / "answers.jsonl", []
    named = {"base_url": server.openai_url, "transport": "openai"}
    Asker(options(**named), path, print).ask([request()], lambda _, answer: seen.append(answer))
    assert "[key] is odd" in (seen[0].error or "")
    assert server.key not in path.read_text()


def refusing(*names: str) -> Callable[[Body, int], None]:
    """An endpoint that does not know these parameters, and says so one at a time."""

    def faults(body: Body, attempt: int) -> None:
        for name in names:
            if name in body:
                said = f"Unrecognized request argument supplied: {name}"
                raise Refused(Kind.INVALID_REQUEST, said)

    return faults


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("response_format",), "refuses response_format: the prompt alone asks for JSON"),
        (("max_completion_tokens",), "refuses max_completion_tokens: max_tokens takes its place"),
        (
            ("max_completion_tokens", "response_format"),
            r"refuses response_format: .*; and max_completion_tokens: ",
        ),
    ],
)
def test_a_parameter_that_is_refused_by_name_is_done_without(
    server: Server, names: tuple[str, ...], said: str
) -> None:
    server.faults = refusing(*names)
    lines: list[str] = []
    transport = chat(server, lines.append, concurrency=1)
    answers = send(transport, [request(i, model="gpt-test") for i in range(5)])
    assert {answer.outcome for answer in answers.values()} == {"answered"}
    assert server.calls == 5 + len(names)
    assert len(lines) == 1
    assert re.search(said, lines[0])
    send(transport, [request("later", model="gpt-test")])
    assert server.calls == 6 + len(names)


def test_many_calls_at_once_learn_it_and_one_line_is_said(server: Server) -> None:
    server.faults = refusing("response_format", "max_completion_tokens")
    server.latency_s = 0.02
    lines: list[str] = []
    transport = chat(server, lines.append, concurrency=16)
    answers = send(transport, [request(i, model="gpt-test") for i in range(40)])
    assert {answer.outcome for answer in answers.values()} == {"answered"}
    assert len(lines) == 1


def test_a_refusal_that_is_about_something_else_teaches_nothing(server: Server) -> None:
    """A value that is too large is refused by either name; and other errors name no parameter."""

    def too_large(body: Body, attempt: int) -> None:
        name = "max_tokens" if "max_tokens" in body else "max_completion_tokens"
        raise Refused(Kind.INVALID_REQUEST, f"{name} is too large: 1000")

    lines: list[str] = []
    transport = chat(server, lines.append)
    server.faults = too_large
    assert send(transport, [request("q", model="gpt-test")])["q"].outcome == "api_error"
    server.faults = in_turn(Kind.INVALID_REQUEST)
    calls = server.calls
    assert send(transport, [request("p", model="gpt-test")])["p"].outcome == "api_error"
    assert server.calls == calls + 1
    assert lines == []
    server.faults = None
    send(transport, [request("r", model="gpt-test")])
    assert "max_completion_tokens" in server.requests[-1].body


def test_what_is_known_beforehand_is_an_option(server: Server) -> None:
    server.faults = refusing("response_format", "max_completion_tokens")
    named = {"base_url": server.openai_url, "transport": "openai", "model": "gpt-test"}
    known = options(**named, answer_format="text", token_limit="max_tokens")
    question = known.request("Which?", SCHEMA)
    transport = OpenAIChat(known, budget(), pytest.fail)
    send(transport, [question])
    assert server.calls == 1
    # Without a schema another question is asked; under another name the limit is the same one.
    by_schema = options(**named).request("Which?", SCHEMA)
    assert question.key != by_schema.key
    assert by_schema.key == options(**named, token_limit="max_tokens").request("Which?", SCHEMA).key
    assert server.requests[0].body == to_chat(by_schema.body, Dialect(False, "max_tokens"))


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", sorted(GARBLED))
def test_a_success_that_is_no_completion_is_tried_again(server: Server, kind: Kind) -> None:
    server.faults = in_turn(kind)
    assert (ask_one(server).outcome, server.calls) == ("answered", 2)
