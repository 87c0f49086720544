"""Many calls at a time: what the transports that ask at once have in common.

The SDK's own retries are the only retry layer. Around a call with its retries is a deadline. Inside
it, a watched HTTP client looks at each try: one whose answer is lost on the way, or comes as
something else than the API's JSON, counts as paid and is tried again, and a refusal for want of
money is not.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2

from bench.llm.answers import Answer
from bench.llm.money.budget import HELD, Budget, Held, why_skipped
from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.transports.outcomes import ErrorBody, Service
from bench.llm.transports.protocol import Deliver, Stopped, now
from bench.tables import shortened

Reply = TypeVar("Reply")

UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)
"""What reading raises where an answer is not of the form that the API promises."""
IN_A_ROW = 20  # calls without an answer after which the rest is not even tried
_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # of httpx: nothing can be billed
_CONNECT_S = 30.0  # most that a connection may take to be made
_SECRET = re.compile("auth|api-key|token|secret", re.IGNORECASE)  # in the name of a header
_NO_MONEY = "its answer was lost and may be billed: the budget has no room for another try"


@dataclass
class Calls(Generic[Reply]):
    """Puts questions through an SDK, as many at a time as the options say.

    Attributes:
        name: of the transport.
        service: who is asked.
        errors: the exception that all of the SDK's derive from.
        create: makes one call, retries included.
        read: takes a reply apart; what it cannot read raises one of `UNREADABLE`.
    """

    name: str
    options: LLMOptions
    budget: Budget
    service: Service
    errors: type[Exception]
    create: Callable[[Request], Awaitable[Reply]]
    read: Callable[[Reply, Request], Answer]
    _stop: Exception | None = field(default=None, init=False)
    _unanswered: int = field(default=0, init=False)
    # Money is given in the order of the requests; otherwise the first could wait for ever.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def run(self, requests: Iterator[Request], deliver: Deliver) -> None:
        """Ask all; see `Transport.send`."""
        workers = (self._work(requests, deliver) for _ in range(self.options.concurrency))
        await asyncio.gather(*workers)
        if self._stop is not None:
            raise self._stop

    async def _work(self, requests: Iterator[Request], deliver: Deliver) -> None:
        try:
            while self._stop is None and (request := next(requests, None)):
                if answer := await self._within_budget(request):
                    deliver(request, answer)
        except Exception as error:  # noqa: BLE001 (raised by `run`, when nothing is in flight)
            self._stop = self._stop or error

    async def _within_budget(self, request: Request) -> Answer | None:
        """The answer, or None if all has stopped while this waited for money."""
        usd = await self._reserve(request)
        if usd is None:
            skipped = self._error(request, why_skipped(self.budget.likely(request)))
            about = {"outcome": "skipped_budget", "transport": self.name}
            return None if self._stop else skipped.model_copy(update=about)
        held = Held(self.budget.highest(request))
        HELD.set(held)
        cost: float | None = 0.0
        try:
            if self._stop is not None:
                return None
            answer = await self._ask(request, held)
            cost = answer.cost_usd if answer.paid else 0.0
            return answer
        finally:
            self.budget.settle(usd, cost, self.budget.most(request))

    async def _reserve(self, request: Request) -> float | None:
        """Hold back what the call is likely to cost; None where there is no room for it.

        While it waits for room, others are answered, and it may turn out to be likely to cost less.
        """
        most, tried = self.budget.most(request), math.inf
        async with self._turn:
            while (usd := self.budget.likely(request)) < tried:
                if await self.budget.reserve(usd, most):
                    return usd
                tried = usd
        return None

    async def _ask(self, request: Request, held: Held) -> Answer:
        began = time.perf_counter()
        deadline_s = self.options.deadline_s * self.options.patience(request)
        try:
            async with asyncio.timeout(deadline_s):
                reply = await self.create(request)
            answer = self._read(reply, request)
        except TimeoutError:
            limit = f"no answer within {deadline_s:g} s, retries included"
            answer = self._no_answer(request, limit)
        except self.errors as error:
            answer = self._failed(request, error)
        except ValueError as error:  # of `_read`, or of the SDK for what is not JSON
            held.lose(self.budget)
            answer = self._no_answer(request, f"the answer cannot be read: {error}")
        else:
            self._unanswered = 0
        cost = self.budget.cost(request.model, answer.usage) if answer.paid else None
        seconds = round(time.perf_counter() - began, 3)
        about = {"cost_usd": cost, "seconds": seconds, "transport": self.name, "at": now()}
        return answer.model_copy(update={**about, "possibly_billed_usd": held.lost_usd})

    def _read(self, reply: Reply, request: Request) -> Answer:
        try:
            return self.read(reply, request)
        except UNREADABLE as error:
            raise ValueError(repr(error)) from error

    def _failed(self, request: Request, error: Exception) -> Answer:
        """The outcome of a call that the SDK gave up.

        Raises:
            Stopped: no other call will be answered either.
        """
        told = ErrorBody.by(error)
        if stopped := told.stopped(self.service, request.model):
            raise stopped
        if told.invalid:
            return self._error(request, str(told))
        return self._no_answer(request, str(told))

    def _no_answer(self, request: Request, error: str) -> Answer:
        self._unanswered += 1
        answer = self._error(request, error)
        if self._unanswered >= IN_A_ROW and self._stop is None:
            self._stop = Stopped(
                f"{self.service.name} gave no answer to {self._unanswered} calls in a row; "
                f"the last: {answer.error}"
            )
        return answer

    def _error(self, request: Request, error: str) -> Answer:
        return Answer(key=request.key, outcome="api_error", error=self.service.scrub(error))


def timeout(options: LLMOptions, request: Request) -> httpx2.Timeout:
    """Of one try: an answer may take its time, a connection may not."""
    seconds = options.timeout_s * options.patience(request)
    return httpx2.Timeout(seconds, connect=min(seconds, _CONNECT_S))


def watched_client(
    base: Any,
    budget: Budget,
    secrets: set[str],
    concurrency: int,
    give_up: Callable[[str], Exception],
) -> Any:
    """The HTTP client of an SDK, with an eye on each try.

    Args:
        base: the SDK's `DefaultAsyncHttpxClient`.
        budget: where lost answers are counted.
        secrets: takes in the keys of the requests, wherever the SDK has them from.
        concurrency: connections that are kept open.
        give_up: makes an exception that the SDK does not retry.
    """

    class Watched(base):
        async def send(self, *args: Any, **kwargs: Any) -> Any:
            try:
                response = await super().send(*args, **kwargs)
                if response.is_success and not kwargs.get("stream"):
                    _require_json(response)
            except BaseException as error:
                if _lost_for_good(error, budget):
                    raise give_up(_NO_MONEY) from None
                raise
            if response.is_error and await _tells_of_spending(response):
                response.headers["x-should-retry"] = "false"  # both SDKs obey it
            return response

    async def learn(request: httpx2.Request) -> None:
        secrets.update(_credentials(request.headers))

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=concurrency)
    return Watched(limits=limits, event_hooks={"request": [learn]})


def _credentials(headers: Mapping[str, str]) -> Iterator[str]:
    """Keys and tokens among the headers of a request, without a word such as Bearer before them."""
    for name, value in headers.items():
        if _SECRET.search(name):
            yield from value.split()[-1:]


def _lost_for_good(error: BaseException, budget: Budget) -> bool:
    """Count an answer that may have been lost; whether there is no money for another try."""
    held = HELD.get()
    if held is None or type(error).__name__ in _UNSENT:
        return False
    return not held.lose(budget) and isinstance(error, Exception)


def _require_json(response: httpx2.Response) -> None:
    """Refuse what a proxy or a gateway sends as a success, so that the SDK tries again.

    Raises:
        httpx2.DecodingError: it is no JSON object, or one that tells of an error.
    """
    try:
        body = json.loads(response.content)
    except ValueError as error:
        raise httpx2.DecodingError(f"the answer cannot be read: {error}") from error
    if not isinstance(body, dict) or body.get("error"):
        said = shortened(response.text)
        raise httpx2.DecodingError(f"the answer cannot be read: status 200 with {said}")


async def _tells_of_spending(response: Any) -> bool:
    await response.aread()
    try:
        body = response.json()
    except ValueError:
        body = response.text
    return ErrorBody.of(response.status_code, body).spending
