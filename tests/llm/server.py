"""A real HTTP server on 127.0.0.1 that speaks the Messages, Message Batches and OpenAI chat APIs.

The tests drive it with the real SDKs; nothing of the client is replaced. It runs on its own thread
of the test's process, so what it counted survives a client process that is killed.

    with Server() as server:                      # answers {"rationale": ..., "verdict": "A"}
        client = anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0)
        ...
        assert server.calls == 1
        subprocess.run(command, env={**os.environ, **server.env})   # a client of its own

Settings: keywords of `Server`; all but the seed also attributes that a test may set at any moment.
    answer(body) -> str | dict   the model's text, from the request's body; a dict becomes JSON
    faults(body, attempt)        the fault of a message or chat call, None for none; attempt = 1, 2,
                                 ... counts calls with this very body (other max_tokens: another)
    latency_s                    seconds that an answer takes; an error comes at once
    model_suffix                 appended to the model's name in an answer, as "-20260101"
    count_tokens                 False: POST /v1/messages/count_tokens answers 404
    top_logprobs(body)           for each token of a chat answer its likeliest ones with their
                                 log-probabilities, for a question that asks for them
    batch_polls                  which retrieve of a batch, from 1, is the first to say "ended";
                                 `batches.results` of the SDK retrieves once itself
    min_cache_tokens             fewest tokens of a block with cache_control that are cached
    item_faults(params, attempt) the fault of one request of a batch; attempts as above, counted
                                 apart from calls
    batch_faults(endpoint, n)    the fault of the n-th call, from 1, of the endpoint "create",
                                 "list", "retrieve", "results" or "cancel"
    seed                         of the order in which a batch's results come

What it has seen (each read gives a snapshot, safe from any thread):
    requests       every request as a `Record`, in order of arrival
    calls          message and chat calls received, whatever became of them
    paid           {body_key(body): [answer, ...]}: every answer that was produced whole, also when
                   the connection was cut afterwards or the client was gone; a batch's successes too
    max_in_flight  the most message and chat calls at one moment
    batches        every batch that exists, oldest first, as a `Batch` (live, not a copy)
    url, openai_url, key, env      where it is; the one key it takes; both as variables

Faults: a `Kind` of `tests.llm.faults`, where each says what goes over the wire, or a `Fault` for
its options: `Fault(Kind.SERVER_ERROR, retry_after_s=0.01)` spares a test the SDK's 0.5 s backoff.
    server.faults = in_turn(Kind.OVERLOADED, None, Kind.REFUSAL)  # by attempt, later ones none
    server.faults = random_faults(0.3, kinds, seed)               # fixed by body and attempt
    server.faults = lambda body, attempt: Kind.NOT_FOUND if body["model"] == "old" else None

A request that the real API would refuse is refused here as well (`tests.llm.answers.check`). An
exception in one of the test's own callables answers 500 and is raised again when the server closes.
`tests.llm.clients` has SDK clients without retries and questions to ask.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import socket
import threading
from collections.abc import Callable, Set
from dataclasses import replace
from typing import Any

from tests.llm.answers import (
    CHAT,
    MESSAGES,
    VERDICT,
    Dialect,
    input_tokens,
    tokens,
    with_logprobs,
)
from tests.llm.batches import Batch, Batches
from tests.llm.faults import (
    ANSWERS,
    CONNECTION,
    ENDINGS,
    ERRORS,
    RETRY_AFTER_S,
    Body,
    Fault,
    Kind,
    Refused,
    Script,
    body_key,
    message_error,
    require,
)
from tests.llm.log import Log, Record
from tests.llm.wire import Reply, Request, Sent, converse, json_reply

BATCHES = "/v1/messages/batches"
CALLS = ("/v1/messages", "/v1/chat/completions")
SENT = {Kind.LOST_REPLY: Sent.NOTHING, Kind.CUT_MIDDLE: Sent.HALF}


class Server:
    """Serves while its `with` block runs; the module says what it takes and shows."""

    def __init__(
        self,
        answer: Callable[[Body], str | Body] = lambda body: VERDICT,
        *,
        faults: Script | None = None,
        item_faults: Script | None = None,
        batch_faults: Callable[[str, int], Fault | Kind | None] | None = None,
        latency_s: float = 0.0,
        model_suffix: str = "",
        count_tokens: bool = True,
        batch_polls: int = 2,
        min_cache_tokens: int = 1024,
        seed: int = 0,
    ) -> None:
        self.answer = answer
        self.top_logprobs: Callable[[Body], list[dict[str, float]]] | None = None
        self.faults = faults
        self.item_faults = item_faults
        self.batch_faults = batch_faults
        self.latency_s = latency_s
        self.model_suffix = model_suffix
        self.count_tokens = count_tokens
        self.batch_polls = batch_polls
        self.min_cache_tokens = min_cache_tokens
        self._cached: set[tuple[str, str]] = set()
        self.key = f"sk-ant-test-{secrets.token_hex(16)}"
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.openai_url = f"{self.url}/v1"
        name = secrets.token_hex(4)
        self._names = (f"{name}{i:06d}" for i in itertools.count())
        self._batches = Batches(self.url, name, self._run_item, seed)
        self._log = Log()
        self._failures: list[Exception] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        if self._failures:
            raise self._failures[0]

    @property
    def requests(self) -> list[Record]:
        return self._log.requests

    @property
    def calls(self) -> int:
        return sum(record.path in CALLS for record in self.requests)

    @property
    def paid(self) -> dict[str, list[Body]]:
        return self._log.paid

    @property
    def max_in_flight(self) -> int:
        return self._log.max_in_flight

    @property
    def batches(self) -> list[Batch]:
        return self._batches.all()

    @property
    def env(self) -> dict[str, str]:
        return {
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": self.key,
            "OPENAI_BASE_URL": self.openai_url,
            "OPENAI_API_KEY": self.key,
            "NO_PROXY": "127.0.0.1",
        }

    async def _serve(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(
            lambda reader, writer: converse(reader, writer, self._handle), sock=self._socket
        )
        self._ready.set()
        await self._leave.wait()
        listener.close()  # the open connections end with the loop

    async def _handle(self, request: Request) -> Reply:
        record = self._log.received(request)
        dialect = CHAT if request.path == CALLS[1] else MESSAGES
        request_id = f"req_{next(self._names)}"
        try:
            reply = await self._route(request, record, dialect)
        except Refused as refused:
            reply = _refuse(refused, dialect, request_id)
        except Exception as failure:  # noqa: BLE001  # of the test's own callable: raised on leaving
            self._failures.append(failure)
            reply = _refuse(Refused(Kind.SERVER_ERROR), dialect, request_id)
        self._log.answered(record, None if reply.sent is Sent.NOTHING else reply.status)
        return replace(reply, headers={dialect.request_id: request_id, **reply.headers})

    async def _route(self, request: Request, record: Record, dialect: Dialect) -> Reply:
        self._authorize(request.headers)
        if dialect is MESSAGES:
            require("anthropic-version" in request.headers, "anthropic-version: header is required")
        if request.path.startswith(BATCHES):
            return await self._batch(request, record)
        if request.method == "POST" and request.path in CALLS:
            return await self._call(request, record, dialect)
        if request.path == "/v1/messages/count_tokens" and self.count_tokens:
            return json_reply({"input_tokens": input_tokens(request.body)})
        raise Refused(Kind.NOT_FOUND, f"{request.method} {request.path} not found")

    def _authorize(self, headers: dict[str, str]) -> None:
        # The Anthropic SDK sends a bearer token since version 2, x-api-key before it.
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self.key not in (bearer, headers.get("x-api-key")):
            raise Refused(Kind.AUTHENTICATION)

    async def _call(self, request: Request, record: Record, dialect: Dialect) -> Reply:
        body = request.body or {}
        with self._log.in_flight():
            dialect.check(body)
            allowed = ANSWERS | ERRORS.keys() | CONNECTION
            fault, record.attempt = self._draw(self.faults, "call", body_key(body), body, allowed)
            record.fault = fault

            def produce() -> Reply:
                return json_reply(self._produce(body, fault, dialect))

            return await _under(fault, request, produce, self.latency_s)

    async def _batch(self, request: Request, record: Record) -> Reply:
        endpoint, work = self._batch_work(request)
        allowed = ERRORS.keys() | CONNECTION
        fault, _ = self._draw(self.batch_faults, "batch", endpoint, endpoint, allowed)
        record.fault = fault
        return await _under(fault, request, work)

    def _batch_work(self, request: Request) -> tuple[str, Callable[[], Reply]]:
        batches = self._batches
        match request.method, request.path.removeprefix(BATCHES).split("/")[1:]:
            case "POST", []:
                return "create", lambda: json_reply(batches.create(request.body or {}))
            case "GET", []:
                return "list", lambda: json_reply(batches.page(request.query))
            case "GET", [name]:
                return "retrieve", lambda: json_reply(batches.retrieve(name, self.batch_polls))
            case "GET", [name, "results"]:
                jsonl = {"Content-Type": "application/x-jsonl"}
                return "results", lambda: Reply(body=batches.results(name), headers=jsonl)
            case "POST", [name, "cancel"]:
                return "cancel", lambda: json_reply(batches.cancel(name))
        raise Refused(Kind.NOT_FOUND, f"{request.method} {request.path} not found")

    def _run_item(self, params: Body) -> Body:
        """The result of one request of a batch."""
        try:
            MESSAGES.check(params)
            allowed = ANSWERS | ERRORS.keys() | ENDINGS
            fault, _ = self._draw(self.item_faults, "item", body_key(params), params, allowed)
            if fault and fault.kind in ERRORS:
                raise Refused(fault.kind)
            if fault and fault.kind in ENDINGS:
                return {"type": fault.kind.value}
        except Refused as refused:
            error = message_error(refused.kind, refused.message, f"req_{next(self._names)}")
            return {"type": "errored", "error": error}
        message = self._produce(params, fault, MESSAGES)
        message["usage"]["service_tier"] = "batch"
        return {"type": "succeeded", "message": message}

    def _produce(self, body: Body, fault: Fault | None, dialect: Dialect) -> Body:
        text = self.answer(body)
        text = text if isinstance(text, str) else json.dumps(text)
        made = dialect.answer(body, text, fault, next(self._names))
        made["model"] += self.model_suffix
        if body.get("logprobs") and self.top_logprobs is not None:
            with_logprobs(made, self.top_logprobs(body))
        if dialect is MESSAGES:
            self._cache(body, made["usage"])
        self._log.pay(body, made)
        return made

    def _cache(self, body: Body, usage: Body) -> None:
        """Write what is marked, or read it once an answer to a question that wrote it is there."""
        for block in body["messages"][0]["content"]:
            if not isinstance(block, dict) or "cache_control" not in block:
                continue
            require(block["cache_control"] == {"type": "ephemeral"}, "cache_control: Invalid")
            n = min(usage["input_tokens"], tokens(block["text"]))
            if n < self.min_cache_tokens:
                continue
            known = (body["model"], block["text"]) in self._cached
            usage["cache_read_input_tokens" if known else "cache_creation_input_tokens"] = n
            usage["input_tokens"] -= n
            self._cached.add((body["model"], block["text"]))

    def _draw(
        self,
        script: Callable[[Any, int], Fault | Kind | None] | None,
        scope: str,
        key: str,
        subject: Any,
        allowed: Set[Kind],
    ) -> tuple[Fault | None, int]:
        """The scripted fault of this attempt and the attempt's number, counted by scope and key."""
        attempt = self._log.attempt(scope, key)
        drawn = script(subject, attempt) if script else None
        fault = Fault(drawn) if isinstance(drawn, Kind) else drawn
        if fault and fault.kind not in allowed:
            raise ValueError(f"{fault.kind!r} cannot happen to a {scope}")
        return fault, attempt


async def _under(
    fault: Fault | None, request: Request, work: Callable[[], Reply], latency_s: float = 0.0
) -> Reply:
    """The reply of `work` as the fault lets it through; `work` runs only where it would."""
    kind = fault.kind if fault else None
    if fault and kind in ERRORS:
        raise Refused(fault.kind, retry_after_s=fault.retry_after_s)
    if kind is Kind.STALL:
        await request.gone()
    if kind in (Kind.STALL, Kind.CUT_BEFORE):
        return Reply(sent=Sent.NOTHING)
    if kind is Kind.LOGIN_PAGE:
        return Reply(body=b"<html>log in</html>", headers={"Content-Type": "text/html"})
    if kind is Kind.ERROR_200:
        return json_reply({"error": {"message": "Provider returned error", "code": 502}})
    await asyncio.sleep(latency_s)
    reply = work()
    if kind is Kind.HALF_JSON:
        return replace(reply, body=reply.body[: len(reply.body) // 2])
    return replace(reply, sent=SENT[kind]) if kind in SENT else reply


def _refuse(refused: Refused, dialect: Dialect, request_id: str) -> Reply:
    wait = refused.retry_after_s
    if wait is None and refused.kind is Kind.RATE_LIMIT:
        wait = RETRY_AFTER_S
    body = dialect.error(refused.kind, refused.message, request_id)
    headers = {} if wait is None else {"retry-after": str(wait)}
    return json_reply(body, ERRORS[refused.kind].status, headers)
