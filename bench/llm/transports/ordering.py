"""Ordering batches of Anthropic's API so that none is lost and none is ordered twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import anthropic

from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.transports.ledger import Ledger, Order
from bench.llm.transports.outcomes import Service
from bench.llm.transports.protocol import Stopped
from bench.llm.transports.watching import gave_up, size, young

_LOOKS = 4  # in the list, for an order whose reply was lost


class Ordering:
    """Creates batches, and finds again what is in the ledger.

    Args:
        client: of the running event loop.
        ledger: of the store.
        service: who is asked.
        options: how often and how long to try.
    """

    def __init__(
        self,
        client: anthropic.AsyncAnthropic,
        ledger: Ledger,
        service: Service,
        options: LLMOptions,
    ) -> None:
        self._batches = client.messages.batches
        self._create = client.with_middleware(_once).messages.batches.create
        self._ledger, self._service, self._options = ledger, service, options

    async def unfinished(self) -> list[Order]:
        """Orders of earlier processes whose results are still to be fetched.

        Raises:
            Stopped: the API does not answer.
        """
        self._ledger.read()
        for order in self._ledger.orders.values():
            if order.lost:
                await self._search(order, _LOOKS if young(order.at, self._options.poll_s) else 1)
                if order.lost:
                    self._ledger.dropped(order)
        return [order for order in self._ledger.orders.values() if order.open]

    async def place(self, requests: Sequence[Request], usd: float) -> Order:
        """Create a batch.

        A creation whose reply was lost may have succeeded: before it is tried again the batch is
        looked for, so that nothing is ordered twice.

        Args:
            requests: of different keys.
            usd: held back for them.

        Raises:
            Stopped: the API does not take it.
        """
        order = self._ledger.order([r.key for r in requests], usd, await self._newest())
        items: Any = [{"custom_id": r.key, "params": dict(r.body)} for r in requests]
        for _ in range(self._options.max_retries + 1):
            try:
                batch = await self._create(requests=items)
            except _Lost:
                await asyncio.sleep(self._options.poll_s)
                await self._search(order, _LOOKS)
            except anthropic.AnthropicError as error:
                self._ledger.dropped(order)
                raise gave_up(error, self._service, self._options.model) from error
            else:
                self._ledger.created(order, batch.id)
            if order.batches:
                return order
        raise Stopped(f"{self._service.name} does not say whether it took the batch")

    async def _newest(self) -> str | None:
        """The id of the newest batch, to know later which ones are newer."""
        try:
            page = await self._batches.list(limit=1)
        except anthropic.AnthropicError as error:
            raise gave_up(error, self._service, self._options.model) from error
        return page.data[0].id if page.data else None

    async def _search(self, order: Order, looks: int) -> None:
        """Look for what came of an order, several times where the list may lag behind."""
        for look in range(looks):
            if look:
                await asyncio.sleep(self._options.poll_s)
            await self._look_for(order)
            if order.batches:
                return

    async def _look_for(self, order: Order) -> None:
        """Note the batches that may have come of an order: newer, as large, not known otherwise.

        Whether one really did is seen by its results, which carry the requests' keys.
        """
        known = {batch for other in self._ledger.orders.values() for batch in other.batches}
        day_before = datetime.fromisoformat(order.at) - timedelta(days=1)
        try:
            async for batch in self._batches.list(limit=100):
                if batch.id == order.newest or batch.created_at < day_before:
                    return
                if batch.id not in known and size(batch) == len(order.keys):
                    self._ledger.created(order, batch.id)
        except anthropic.AnthropicError as error:
            raise gave_up(error, self._service, self._options.model) from error


class _Lost(anthropic.AnthropicError):
    """It is not known whether a batch was created; the SDK does not retry this."""


async def _once(request: Any, call_next: Any) -> Any:
    """Keep the SDK from creating a batch twice where the reply was lost."""
    try:
        response = await call_next(request)
    except anthropic.APIConnectionError:
        raise _Lost("the reply was lost") from None
    if response.status_code >= 500 and response.status_code not in (503, 529):
        raise _Lost(f"status {response.status_code}")
    return response
