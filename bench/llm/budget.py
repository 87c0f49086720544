"""Money: what a command may spend, reserved before a call is sent."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from bench.errors import UserError
from bench.llm.answers import Usage
from bench.llm.prices import Prices
from bench.llm.requests import Request

# Tokens that the API adds to a prompt on its own, such as those that explain the answer's schema.
_ADDED_TOKENS = 2000


class Budget:
    """Counts what is spent, and holds back the most that the calls in flight can cost.

    A call whose answer was lost on the way (a timeout, a cut connection) may have been billed: it
    counts as spent at its highest price.

    Args:
        prices: the table.
        limit_usd: most that may be spent; None: no limit.
        batch: whether the batches' price holds.
    """

    def __init__(
        self, prices: Prices, limit_usd: float | None = None, *, batch: bool = False
    ) -> None:
        self.prices, self.limit_usd, self.batch = prices, limit_usd, batch
        self.spent_usd = 0.0
        self.reserved_usd = 0.0
        self.unpriced = 0
        self._waiting: list[asyncio.Future[None]] = []

    def check(self, model: str) -> None:
        """Refuse a limit that cannot be kept.

        Raises:
            UserError: there is a limit, and the model's price is not known.
        """
        if self.limit_usd is not None and self.prices.of(model) is None:
            raise UserError(
                f"the price of {model} is not known, so a limit of ${self.limit_usd:g} cannot be "
                "kept: add the model to a table of prices (judge.prices, editor.prices) or leave "
                "the limit out"
            )

    def most(self, request: Request) -> float:
        """Most that a request can cost, US dollars; 0 where the price is not known."""
        usage = Usage(input_tokens=request.size + _ADDED_TOKENS, output_tokens=request.max_tokens)
        return self.cost(request.model, usage) or 0.0

    def cost(self, model: str, usage: Usage) -> float | None:
        """What an answer costs; None where the price is not known."""
        return self.prices.cost(model, usage, batch=self.batch)

    def try_reserve(self, usd: float) -> bool:
        """Hold `usd` back if they are there."""
        if self.limit_usd is not None and self.spent_usd + self.reserved_usd + usd > self.limit_usd:
            return False
        self.reserved_usd += usd
        return True

    async def reserve(self, usd: float) -> bool:
        """Hold `usd` back, waiting for calls in flight to cost less than was held for them.

        Returns:
            False if nothing is in flight any more and it would still be too much.
        """
        while not self.try_reserve(usd):
            if self.reserved_usd <= 1e-12:
                return False
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        return True

    def hold(self, usd: float) -> None:
        """Hold `usd` back for what an earlier process has ordered, whatever the limit."""
        self.reserved_usd += usd

    def settle(self, reserved: float, cost: float | None) -> None:
        """Give back what was held for a call, and count what it cost (None: not known)."""
        self.reserved_usd = max(0.0, self.reserved_usd - reserved)
        self.spent_usd += cost or 0.0
        self.unpriced += cost is None
        waiting, self._waiting = self._waiting, []
        for freed in waiting:
            if not freed.done():
                freed.set_result(None)

    def lose(self, usd: float) -> bool:
        """Count a lost try as billed; False if the next one would be too much."""
        self.spent_usd += usd
        return self.limit_usd is None or self.spent_usd + self.reserved_usd <= self.limit_usd


# What is held for the call that the running task makes; the SDK's retries find it here.
HELD: ContextVar[float] = ContextVar("held", default=0.0)
