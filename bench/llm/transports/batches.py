"""The transport that orders batches of Anthropic's API: half the price, within a day.

Every order stands in a ledger before it is sent. A process that is killed, at whatever moment,
leaves its batches running; the next one finds them in the ledger and waits for their results
instead of paying once more.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message

from bench.llm.answers import Answer, AnswerStore, Outcome
from bench.llm.money.budget import Budget, Held, why_skipped
from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.transports.calls import IN_A_ROW, UNREADABLE
from bench.llm.transports.claude import find_service, open_client, read_message
from bench.llm.transports.ledger import Ledger, Order
from bench.llm.transports.ordering import Ordering
from bench.llm.transports.outcomes import ErrorBody
from bench.llm.transports.protocol import Deliver, Say, Stopped, now
from bench.llm.transports.watching import Batch, Missed, NotYet, missed, size, stopped_at

_OPEN = 10  # batches at a time; what they ask is in memory
_REQUESTS = 10_000  # of a batch at most
_BYTES = 200_000_000  # of a batch at most; the API takes 256 MB
_CUT = (anthropic.AnthropicError, httpx2.HTTPError, ValueError)  # ValueError: half a line


class Batches:
    """As many questions in a batch as there are, or as the budget has room for.

    Args:
        options: model and limits.
        budget: what may be spent.
        answers: the store; takes what an earlier process has ordered and nobody asks for now.
        say: receives a line for people.

    Raises:
        UserError: there is no key.
    """

    name = "batches"

    def __init__(self, options: LLMOptions, budget: Budget, answers: AnswerStore, say: Say) -> None:
        self.options, self.budget, self.answers, self.say = options, budget, answers, say
        self.service = find_service(budget)
        self.ledger = Ledger.beside(answers.path, say)

    async def send(self, requests: Iterator[Request], deliver: Deliver) -> None:
        """Ask all; see `Transport.send`. Batches of earlier processes are taken in on the way."""
        async with open_client(self.options, self.budget, self.service) as client:
            orders = Ordering(client, self.ledger, self.service, self.options)
            await _Round(self, client, orders, requests, deliver).run()


class _Round:
    """The batches of one `send`."""

    def __init__(
        self,
        batches: Batches,
        client: anthropic.AsyncAnthropic,
        orders: Ordering,
        requests: Iterator[Request],
        deliver: Deliver,
    ) -> None:
        self._transport, self._client, self._orders = batches, client, orders
        self._budget, self._service = batches.budget, batches.service
        self._about = batches.ledger, batches.service, batches.options  # for what goes wrong
        self._requests, self._deliver = requests, deliver
        self._drawn_all = False
        self._queue: deque[Request] = deque()  # drawn, but there was no room; or to be retried
        self._asked: dict[str, Request] = {}  # in an open batch, by key
        self._open: dict[str, Batch] = {}
        self._retried: set[str] = set()
        self._failures = 0
        self._stop: Stopped | None = None

    async def run(self) -> None:
        """Order, wait and deliver until every request has its answer."""
        try:
            for order in await self._orders.unfinished():
                self._budget.hold(order.usd)
                self._watch(order, "resumed")
            while True:
                await self._fill()
                if self._drawn_all and not self._queue and not self._asked:
                    return
                ended = await self._look_at_all()
                if self._stop is not None:
                    raise self._stop
                if not ended:
                    await asyncio.sleep(self._transport.options.poll_s)
        finally:  # what is still open goes on without us
            # Once an order: one whose reply was lost may have several candidate batches.
            for usd in {b.order.name: b.order.usd for b in self._open.values()}.values():
                self._budget.settle(usd, 0.0)

    def _watch(self, order: Order, said: str) -> None:
        for batch in order.open:
            self._open[batch] = Batch(batch, order, set(order.keys))
            self._transport.say(f"batch {batch}: {len(order.keys)} requests {said}")

    async def _fill(self) -> None:
        """Order batches as long as there are requests, money and room."""
        while len(self._open) < _OPEN and (chosen := self._choose()):
            usd = sum(self._budget.likely(request) for request in chosen)
            try:
                order = await self._orders.place(chosen, usd)
            except BaseException:
                self._budget.settle(usd, 0.0)
                raise
            self._asked.update((request.key, request) for request in chosen)
            self._watch(order, "ordered, results within a day")

    def _choose(self) -> list[Request]:
        """Requests for one batch; the money for them is held."""
        chosen: list[Request] = []
        total = 0
        while len(chosen) < _REQUESTS and (request := self._draw()):
            if any(request.key in batch.waiting for batch in self._open.values()):
                self._asked[request.key] = request  # ordered by an earlier process
                continue
            fits = not chosen or total + request.size <= _BYTES
            usd = self._budget.likely(request)
            if fits and self._budget.try_reserve(usd):
                chosen.append(request)
                total += request.size
            # No room now, but an open batch may free money: wait. With none open it is left out.
            elif (chosen or self._open) and usd < math.inf:
                self._queue.appendleft(request)
                break
            else:
                self._give(request, "skipped_budget", why_skipped(usd))
        return chosen

    def _draw(self) -> Request | None:
        if self._queue:
            return self._queue.popleft()
        request = next(self._requests, None)
        self._drawn_all = request is None
        return request

    async def _look_at_all(self) -> int:
        """Fetch what has ended; returns how many batches that were."""
        ended = 0
        for batch in list(self._open.values()):
            try:
                ended += await self._look_at(batch)
                self._failures = 0
            except NotYet as error:
                if not batch.late:
                    self._transport.say(f"batch {batch.id}: does not show yet ({error}); asking on")
                batch.late = True
            except Missed as error:
                self._failures += 1
                if self._failures >= IN_A_ROW:
                    cause = error.__cause__ or error
                    raise stopped_at(batch, cause, *self._about) from error
                if self._failures == 1:
                    self._transport.say(
                        f"batch {batch.id}: no answer about it ({error}); asking on"
                    )
        return ended

    async def _look_at(self, batch: Batch) -> bool:
        """Look whether a batch has ended, and take its results.

        Raises:
            Missed: the API does not answer; what came is delivered.
            Stopped: it will not answer, or the batch is not of this key.
        """
        try:
            state = await self._client.messages.batches.retrieve(batch.id)
        except anthropic.AnthropicError as error:
            raise self._missed(batch, error) from error
        batch.seen = True
        if state.cancel_initiated_at and not batch.canceled:
            batch.canceled = True
            self._transport.say(
                f"batch {batch.id} was canceled; what it has not answered is left out"
            )
        done = size(state) - state.request_counts.processing
        if done != batch.done:
            batch.done = done
            self._transport.say(f"batch {batch.id}: {done} of {size(state)} done")
        if state.processing_status != "ended":
            return False
        if state.results_url:  # none once they are too old
            async for line in self._results(batch):
                self._take(batch, line.custom_id, line.result)
        self._close(batch)
        return True

    async def _results(self, batch: Batch) -> AsyncIterator[Any]:
        try:
            async for line in await self._client.messages.batches.results(batch.id):
                yield line
        except _CUT as error:
            raise self._missed(batch, error) from error

    def _missed(self, batch: Batch, error: BaseException) -> Stopped | Missed:
        return missed(batch, error, *self._about)

    def _take(self, batch: Batch, key: str, result: Any) -> None:
        """Deliver one result, unless it came before the stream was cut."""
        if key not in batch.waiting:
            return
        batch.waiting.remove(key)
        request = self._asked.pop(key, None)
        if result.type == "succeeded":
            self._answered(batch, key, request, result.message)
        elif request is not None:
            self._failed(request, result)

    def _answered(self, batch: Batch, key: str, request: Request | None, message: Message) -> None:
        try:
            answer = read_message(message, key)
        except UNREADABLE as error:
            if request is not None:
                held = Held(self._budget.highest(request))
                held.lose(self._budget)
                problem = f"the answer cannot be read: {error!r}"
                self._give(request, "api_error", problem, held.lost_usd)
            return
        cost = self._budget.cost(request.model if request else message.model, answer.usage)
        self._budget.settle(0.0, cost)  # the cost alone: what was reserved is released in `_close`
        about = {"cost_usd": cost, "request_id": batch.id, "transport": Batches.name, "at": now()}
        answer = answer.model_copy(update=about)
        if request is not None:
            self._deliver(request, answer)
            return
        stored = self._transport.answers.get(key)
        answer = self._transport.answers.with_losses(answer)
        if stored is None or not stored.paid:
            self._transport.answers.append(answer)
        elif stored.at <= batch.order.at and stored.request_id != batch.id:
            self._transport.answers.append(
                answer.replacing(stored)
            )  # it was ordered to replace that one

    def _failed(self, request: Request, result: Any) -> None:
        told = ErrorBody.in_batch(result.error.error) if result.type == "errored" else None
        if result.type == "canceled":  # by a person, who does not want it ordered once more
            self._give(request, "api_error", "its batch was canceled; run again to order it anew")
        elif told is None:
            self._again(request, "expired", f"the batch has it as {result.type}")
        elif stopped := told.stopped(self._service, request.model):
            self._stop = self._stop or stopped
        elif told.invalid:
            self._give(request, "api_error", str(told))
        else:
            self._again(request, "api_error", str(told))

    def _again(self, request: Request, outcome: Outcome, error: str) -> None:
        """Ask once more, unless that was done before."""
        if request.key in self._retried:
            self._give(request, outcome, error)
        else:
            self._retried.add(request.key)
            self._queue.append(request)

    def _close(self, batch: Batch) -> None:
        """All results of a batch are stored; a request without one was another's, or it expired."""
        self._transport.ledger.ended(batch.order, batch.id)
        if not batch.order.open:
            self._budget.settle(batch.order.usd, 0.0)
        del self._open[batch.id]
        elsewhere = {key for other in self._open.values() for key in other.waiting}
        for key in batch.waiting - elsewhere:
            if request := self._asked.pop(key, None):
                self._again(request, "api_error", "the batch has no result for it")

    def _give(
        self, request: Request, outcome: Outcome, error: str, lost_usd: float | None = 0.0
    ) -> None:
        answer = Answer(
            key=request.key,
            outcome=outcome,
            error=self._service.scrub(error),
            possibly_billed_usd=lost_usd,
            transport=Batches.name,
            at=now(),
        )
        self._deliver(request, answer)
