"""Money: what a command may spend, reserved before a call is sent."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar

from bench.errors import UserError
from bench.llm.answers import Usage
from bench.llm.prices import Prices, dollars
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
        """Most that a request can cost, US dollars.

        Where that is not known, as of a prompt that may be longer than the table goes, it is 0
        without a limit; under one it is infinite, so that no room is found for it.
        """
        usage = Usage(input_tokens=request.size + _ADDED_TOKENS, output_tokens=request.max_tokens)
        cost = self.cost(request.model, usage)
        if cost is None:
            return 0.0 if self.limit_usd is None else math.inf
        return cost

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
            False if waiting does not help: nothing is in flight any more, or `usd` is infinite.
        """
        while not self.try_reserve(usd):
            if self.reserved_usd <= 1e-12 or usd == math.inf:
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

    def spent(self) -> str:
        """What is spent so far, for people."""
        unknown = f", and {self.unpriced:,} answers of unknown price" if self.unpriced else ""
        return f"${self.spent_usd:.2f} spent{unknown}"

    def lose(self, usd: float) -> bool:
        """Count a lost try as billed; False if the next one would be too much."""
        self.spent_usd += usd
        return self.limit_usd is None or self.spent_usd + self.reserved_usd <= self.limit_usd


def why_skipped(most: float) -> str:
    """Why the budget has no room for a request that costs `most` US dollars at most."""
    if most == math.inf:
        return "the table has no price for so long a prompt, so it is not asked under a limit"
    return f"it may cost {dollars(most)}, and the limit has no room for that"


# What is held for the call that the running task makes; the SDK's retries find it here.
HELD: ContextVar[float] = ContextVar("held", default=0.0)
