import http.server
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.llm import Answer
from bench.llm.transports.messages import Messages
from bench.llm.transports.protocol import Stopped
from tests.llm.answers import BAD_JSON
from tests.llm.faults import GARBLED, Body, Fault, Kind, in_turn
from tests.llm.sending import budget, options, request, send
from tests.llm.server import Server

SOON = 0.01  # retry-after, seconds


def ask_one(**changes: Any) -> Answer:
    return send(Messages(options(**changes), budget()), [request("q")])["q"]


def at_question(text: str, kind: Kind) -> Callable[[Body, int], Kind | None]:
    return lambda body, attempt: kind if body["messages"][0]["content"] == text else None


@pytest.mark.parametrize(
    ("kind", "outcome", "text", "stop_reason"),
    [
        (None, "answered", "yes, A", "end_turn"),
        (Kind.THINKING, "answered", "yes, A", "end_turn"),
        (Kind.BAD_JSON, "answered", BAD_JSON, "end_turn"),
        (Kind.REFUSAL, "refusal", "", "refusal"),
        (Kind.TRUNCATED, "truncated", "yes", "max_tokens"),
        (Kind.TRUNCATED_THINKING, "truncated", "", "max_tokens"),
    ],
)
def test_what_is_paid_is_delivered_in_full(
    server: Server, kind: Kind | None, outcome: str, text: str, stop_reason: str
) -> None:
    server.answer, server.model_suffix = lambda body: "yes, A", "-20261007"
    server.faults = in_turn(kind)
    answer = ask_one()
    assert (answer.outcome, answer.text, answer.stop_reason) == (outcome, text, stop_reason)
    assert answer.category == ("cyber" if kind is Kind.REFUSAL else None)
    assert answer.model == "claude-haiku-5-5-20261007"
    (paid,) = itertools.chain.from_iterable(server.paid.values())
    assert answer.usage.input_tokens == paid["usage"]["input_tokens"] > 0
    assert answer.usage.output_tokens == paid["usage"]["output_tokens"] > 0
    assert answer.cost_usd == pytest.approx(
        (0.10 * answer.usage.input_tokens + 0.50 * answer.usage.output_tokens) / 1e6
    )
    assert (answer.request_id or "").startswith("req_")
    assert answer.seconds is not None
    assert answer.at.endswith("+00:00")
    assert answer.transport == "messages"
    assert answer.error is None


@pytest.mark.parametrize(
    "fault",
    [
        Kind.RATE_LIMIT,
        Fault(Kind.SERVER_ERROR, retry_after_s=SOON),
        Fault(Kind.OVERLOADED, retry_after_s=SOON),
        Kind.CUT_BEFORE,
        Kind.LOST_REPLY,
        Kind.CUT_MIDDLE,
        Kind.STALL,
    ],
)
@pytest.mark.usefixtures("quick_retries")
def test_what_passes_is_tried_again(server: Server, fault: Fault | Kind) -> None:
    server.faults = in_turn(fault)
    assert ask_one(timeout_s=0.6).outcome == "answered"
    assert server.calls == 2


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Kind.INVALID_REQUEST, "400 invalid_request_error: messages: scripted to be invalid"),
        (Kind.TOO_LARGE, "413 request_too_large: Request exceeds the maximum size"),
    ],
)
def test_an_invalid_request_ends_alone(server: Server, kind: Kind, error: str) -> None:
    server.faults = at_question("1", kind)
    answers = send(Messages(options(), budget()), [request(i) for i in range(3)])
    assert [answers[i].outcome for i in "012"] == ["answered", "api_error", "answered"]
    assert answers["1"].error == error
    assert answers["1"].cost_usd is None
    assert server.calls == 3


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Kind.AUTHENTICATION, "refuses the key in ANTHROPIC_API_KEY .401"),
        (Kind.PERMISSION, "the key in ANTHROPIC_API_KEY may not use claude-haiku-5-5 .403"),
        (Kind.BILLING, "spending limit .* in the console"),
        (Kind.SPEND_LIMIT, "spending limit .* in the console"),
        (Kind.USAGE_LIMIT, "spending limit .*regain access on 2099.* in the console"),
        (Kind.NOT_FOUND, "does not have what is asked for .404.*claude-haiku-5-5"),
    ],
)
def test_what_no_call_gets_past_stops_all(server: Server, kind: Kind, said: str) -> None:
    server.faults = lambda body, attempt: kind
    with pytest.raises(Stopped, match=said):
        send(Messages(options(concurrency=1), budget()), [request(i) for i in range(3)])
    assert server.calls == 1


def test_a_model_that_does_not_exist_is_told_with_those_that_do(server: Server) -> None:
    server.faults = lambda body, attempt: Kind.NOT_FOUND
    with pytest.raises(Stopped, match="'claude-haiku-55'; did you mean 'claude-haiku-5-5'"):
        send(Messages(options(), budget()), [request(model="claude-haiku-55")])


def test_retries_end(server: Server) -> None:
    server.faults = lambda body, attempt: Fault(Kind.OVERLOADED, retry_after_s=SOON)
    answer = ask_one(max_retries=3)
    assert (answer.outcome, answer.error) == ("api_error", "529 overloaded_error: Overloaded")
    assert server.calls == 4


def test_a_lost_connection_says_so(server: Server) -> None:
    server.faults = lambda body, attempt: Kind.CUT_BEFORE
    answer = ask_one(max_retries=0)
    assert answer.outcome == "api_error"
    assert "Connection error. (RemoteProtocolError" in (answer.error or "")


def test_retry_after_is_honoured(server: Server) -> None:
    server.faults = in_turn(Fault(Kind.RATE_LIMIT, retry_after_s=0.7))
    assert ask_one().outcome == "answered"
    first, second = server.requests
    assert first.answered_s is not None
    assert second.received_s - first.answered_s >= 0.7  # the backoff of the SDK is 0.5 at most


def test_the_deadline_ends_a_call_between_its_tries(server: Server) -> None:
    server.faults = lambda body, attempt: Fault(Kind.RATE_LIMIT, retry_after_s=0.15)
    began = time.monotonic()
    answer = ask_one(max_retries=100, deadline_s=0.8)
    assert time.monotonic() - began < 5
    assert answer.outcome == "api_error"
    assert answer.error == "no answer within 0.8 s, retries included"
    assert 2 <= server.calls <= 6


def test_calls_in_flight_and_requests_drawn_are_limited(server: Server) -> None:
    server.latency_s = 0.02
    ahead, answered = [], []

    def requests() -> Iterator[Any]:
        for i in range(24):
            ahead.append(i - len(answered))
            yield request(i)

    class Watching(dict[str, Answer]):
        def __setitem__(self, text: str, answer: Answer) -> None:
            answered.append(text)

    send(Messages(options(concurrency=4), budget()), requests(), Watching())
    assert server.max_in_flight == 4
    assert len(answered) == 24
    assert max(ahead) <= 4


def test_a_stop_delivers_what_is_in_flight_and_draws_no_more(server: Server) -> None:
    server.latency_s = 0.3
    server.faults = at_question("2", Kind.BILLING)
    got: dict[str, Answer] = {}
    drawn = iter([request(i) for i in range(100)])
    with pytest.raises(Stopped, match="What was answered is kept"):
        send(Messages(options(concurrency=4), budget()), drawn, got)
    assert sorted(got) == ["0", "1", "3"]
    assert all(answer.outcome == "answered" for answer in got.values())
    assert server.calls == 4
    assert len(list(drawn)) == 96


@pytest.mark.parametrize("max_tokens", [1000, 100_000])
def test_a_stop_reaches_who_waits_for_money(server: Server, max_tokens: int) -> None:
    server.faults = lambda body, attempt: Kind.AUTHENTICATION
    money = budget(1.5 * budget().most(request("q")))
    got: dict[str, Answer] = {}
    with pytest.raises(Stopped):
        questions = [request("q"), request("waits", max_tokens=max_tokens)]
        send(Messages(options(), money), questions, got)
    assert got == {}
    assert server.calls == 1
    assert money.reserved_usd == 0


def test_twenty_calls_without_an_answer_stop_all(server: Server) -> None:
    server.faults = lambda body, attempt: Fault(Kind.OVERLOADED, retry_after_s=SOON)
    got: dict[str, Answer] = {}
    with pytest.raises(Stopped, match="no answer to 20 calls in a row; the last: 529 overloaded"):
        send(Messages(options(max_retries=0), budget()), (request(i) for i in range(90)), got)
    assert 20 <= len(got) == server.calls <= 23


def test_an_answer_in_between_keeps_it_going(server: Server) -> None:
    failing = {str(i) for i in range(60) if i % 20}
    server.faults = lambda body, attempt: (
        Kind.SERVER_ERROR if body["messages"][0]["content"] in failing else None
    )
    quick = options(max_retries=0, concurrency=1)
    answers = send(Messages(quick, budget()), (request(i) for i in range(60)))
    assert sum(answer.outcome == "answered" for answer in answers.values()) == 3


def test_what_the_budget_has_no_room_for_is_not_sent(server: Server) -> None:
    money = budget()
    one = money.most(request(0))
    money = budget(2.5 * one)
    server.latency_s = 0.05
    answers = send(Messages(options(), money), [request(i) for i in range(4)])
    # An answer costs a small part of what is held for it: there is room for the later ones.
    assert [answer.outcome for answer in answers.values()] == ["answered"] * 4
    assert server.max_in_flight == 2
    assert money.spent_usd == pytest.approx(sum(a.cost_usd or 0 for a in answers.values()))
    assert money.reserved_usd == 0

    answer = send(Messages(options(), budget(0.9 * one)), [request(5)])["5"]
    assert answer.outcome == "skipped_budget"
    assert server.calls == 4


def test_a_prompt_of_unknown_price_is_not_asked_under_a_limit(server: Server) -> None:
    long = [request(f"{i} " * 62_500) for i in range(3)]
    money = budget(0.02)
    answers = send(Messages(options(), money), [request("short"), *long])
    assert [answer.outcome for answer in answers.values()].count("skipped_budget") == 3
    assert answers["short"].outcome == "answered"
    skipped = next(answer for answer in answers.values() if not answer.paid)
    assert "no price for so long a prompt" in (skipped.error or "")
    assert server.calls == 1
    assert money.spent_usd <= 0.02
    assert send(Messages(options(), budget()), long[:1]).popitem()[1].outcome == "answered"


def test_more_room_takes_more_time(server: Server) -> None:
    server.latency_s = 1.0
    quick = {"timeout_s": 0.4, "deadline_s": 0.5, "max_retries": 0, "max_tokens": 1000}
    questions = [request("q"), request("roomy", max_tokens=4000)]
    answers = send(Messages(options(**quick), budget()), questions)
    assert [answers[q].outcome for q in ("q", "roomy")] == ["api_error", "answered"]


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.CUT_MIDDLE, Kind.STALL])
def test_answers_that_were_lost_count_as_paid(server: Server, kind: Kind) -> None:
    server.faults = lambda body, attempt: kind
    most = budget().most(request("q"))
    money = budget(2.5 * most)
    answer = send(Messages(options(max_retries=5, timeout_s=0.2), money), [request("q")])["q"]
    assert answer.outcome == "api_error"
    assert "may be billed" in (answer.error or "")
    assert server.calls == 2
    assert money.spent_usd == pytest.approx(2 * most)
    assert money.reserved_usd == 0


def test_a_connection_that_was_never_made_costs_nothing(
    server: Server, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    money = budget(1.0)
    answer = send(Messages(options(), money), [request("q")])["q"]
    assert "ConnectError" in (answer.error or "")
    assert money.spent_usd == 0


def test_an_answer_that_is_no_message(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>log in</html>")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as portal:
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{portal.server_port}")
        money = budget()
        answer = send(Messages(options(), money), [request("q")])["q"]
        portal.shutdown()
    assert answer.outcome == "api_error"
    assert "cannot be read" in (answer.error or "")
    assert money.spent_usd == pytest.approx(3 * money.most(request("q")))  # each may have been one


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", sorted(GARBLED))
def test_a_success_that_is_no_json_of_the_api_is_tried_again(server: Server, kind: Kind) -> None:
    server.faults = in_turn(kind, kind)
    money = budget()
    answer = send(Messages(options(), money), [request("q")])["q"]
    assert (answer.outcome, server.calls) == ("answered", 3)
    assert answer.possibly_billed_usd == pytest.approx(2 * money.most(request("q")))
