"""Money: what a command may spend, reserved before a call is sent."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from dataclasses import dataclass

from bench.errors import UserError
from bench.llm.answers import Answer, Usage, sum_known
from bench.llm.caching import beginning
from bench.llm.money.observed import Observed
from bench.llm.money.prices import Prices, dollars
from bench.llm.requests import Request

# Tokens that the API adds to a prompt on its own, such as those that explain the answer's schema.
_ADDED_TOKENS = 2000
OVERRUN = 0.1
"""Share of the limit that calls in flight may pass it by, if all of them cost the most they can."""
_MARGIN = 1.1  # on what calls have cost so far
# Standard deviations above the mean that are held back as well. The chance of a call's being dearer
# counts in full; over a batch it averages out: half a one is two of the mean over 16 requests.
_OF_A_CALL, _OF_A_BATCH = 2.0, 0.5


class Budget:
    """Counts what is spent, and holds money back for the calls in flight.

    For a call is held back what such calls have cost so far, with a margin, and at first, until ten
    answers are known, the most that it can cost: its prompt's bytes taken for tokens, and all the
    room for its answer. To hold back the most for every call would block far more money than
    calls cost, so that few could be in flight. What is guaranteed of a limit:

    - Nothing is sent unless what is spent, what is held back for the calls in flight and what is
      likely to be needed for this one fit together. Passing the limit takes calls in flight at the
      end that are dearer than the margin allows.
    - Were all calls in flight to cost the most they can, they would pass the limit by a tenth of
      it, or by the most that a single call can cost, where that is more. Calls wait for that, too.
    - A batch is ordered as a whole. Where answers of its kind are known, in the store or from a
      batch before, only the first of these holds; where none are, it cannot pass the limit.

    A call whose answer was lost on the way (a timeout, a cut connection) may have been billed: it
    counts as spent at its highest price.

    Args:
        prices: the table.
        limit_usd: what may be spent; None: no limit.
        batch: whether the batches' price holds.
    """

    def __init__(
        self, prices: Prices, limit_usd: float | None = None, *, batch: bool = False
    ) -> None:
        self.prices, self.limit_usd, self.batch = prices, limit_usd, batch
        self.spent_usd = 0.0
        self.lost_usd = 0.0  # of it, for answers that were lost
        self.reserved_usd = 0.0
        self.unpriced = 0
        self._at_most = 0.0  # that the calls in flight can cost
        self._observed = Observed()
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

    def learn(self, *answers: Answer) -> None:
        """Take in what answers took, for what is likely of the next ones."""
        for answer in answers:
            self._observed.learn(answer)

    def highest(self, request: Request) -> float | None:
        """Most that a request can cost, US dollars; None where the price is not known."""
        usage = Usage(input_tokens=request.size + _ADDED_TOKENS, output_tokens=request.max_tokens)
        return self.cost(request.model, self._written(request, usage))

    def cached(self, request: Request) -> str:
        """The beginning of a request's prompt that is cached; "" of none, and in a batch."""
        price = self.prices.of(request.model)
        if price is None or self.batch:
            return ""
        return beginning(request, price.caches_from)

    def _written(self, request: Request, usage: Usage) -> Usage:
        """The usage if what is cached had to be written, which is the dearest."""
        share = len(self.cached(request).encode()) / request.size
        written = math.ceil(share * usage.input_tokens)
        parts = {
            "input_tokens": usage.input_tokens - written,
            "cache_write_tokens": written,
        }
        return usage.model_copy(update=parts)

    def most(self, request: Request) -> float:
        """Most that a request can cost, US dollars.

        Where that is not known, as of a prompt that may be longer than the table goes, it is 0
        without a limit; under one it is infinite, so that no room is found for it.
        """
        cost = self.highest(request)
        if cost is None:
            return 0.0 if self.limit_usd is None else math.inf
        return cost

    def likely(self, request: Request) -> float:
        """What a request will not cost more than, by what such requests have cost; see the class.

        It is the most that it can cost where too little is known, and never more than that.
        """
        most = self.most(request)
        usage = self._observed.usage(request, _OF_A_BATCH if self.batch else _OF_A_CALL)
        cost = None if usage is None else self.cost(request.model, self._written(request, usage))
        return most if cost is None or most == math.inf else min(most, _MARGIN * cost)

    def cost(self, model: str, usage: Usage) -> float | None:
        """What an answer costs; None where the price is not known."""
        return self.prices.cost(model, usage, batch=self.batch)

    def try_reserve(self, usd: float, most: float | None = None) -> bool:
        """Hold `usd` back if they are there.

        Args:
            usd: what is likely to be spent.
            most: what can be spent, if that is more.
        """
        most = usd if most is None else most
        if not self._has_room(usd, most):
            return False
        self.reserved_usd += usd
        self._at_most += most
        return True

    def _has_room(self, usd: float = 0.0, most: float = 0.0) -> bool:
        if self.limit_usd is None:
            return True
        fits = self.spent_usd + self.reserved_usd + usd <= self.limit_usd
        overrun = max(OVERRUN * self.limit_usd, most)
        return fits and self.spent_usd + self._at_most + most <= self.limit_usd + overrun

    async def reserve(self, usd: float, most: float | None = None) -> bool:
        """Hold `usd` back, waiting for calls in flight to cost less than was held for them.

        Returns:
            False if waiting does not help: nothing is in flight any more, or `usd` is infinite.
        """
        while not self.try_reserve(usd, most):
            if self.reserved_usd <= 1e-12 or usd == math.inf:
                return False
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        return True

    def hold(self, usd: float) -> None:
        """Hold `usd` back for what an earlier process has ordered, whatever the limit."""
        self.reserved_usd += usd
        self._at_most += usd

    def settle(self, reserved: float, cost: float | None, most: float | None = None) -> None:
        """Give back what was held for a call, and count what it cost (None: not known)."""
        self.reserved_usd = max(0.0, self.reserved_usd - reserved)
        self._at_most = max(0.0, self._at_most - (reserved if most is None else most))
        self.spent_usd += cost or 0.0
        self.unpriced += cost is None
        waiting, self._waiting = self._waiting, []
        for freed in waiting:
            if not freed.done():
                freed.set_result(None)

    def spent(self) -> str:
        """What is spent so far, for people."""
        unknown = f", and {self.unpriced:,} answers of unknown price" if self.unpriced else ""
        lost = f", {dollars(self.lost_usd)} of it for lost answers" if self.lost_usd else ""
        return f"${self.spent_usd:.2f} spent{lost}{unknown}"

    def lose(self, usd: float) -> bool:
        """Count a lost try as billed; False if the next one would be too much."""
        self.spent_usd += usd
        self.lost_usd += usd
        return self._has_room()


def why_skipped(usd: float) -> str:
    """Why the budget has no room for a request that may cost so many US dollars."""
    if usd == math.inf:
        return "the table has no price for so long a prompt, so it is not asked under a limit"
    return f"it may cost {dollars(usd)}, and the limit has no room for that"


@dataclass
class Held:
    """What a call can cost at most, and what its lost tries may have cost; None: not known."""

    most: float | None
    lost_usd: float | None = 0.0

    def lose(self, budget: Budget) -> bool:
        """Count a lost try as billed; False if the next one would be too much."""
        self.lost_usd = sum_known(self.lost_usd, self.most)
        return budget.lose(self.most or 0.0)


# The call that the running task makes; the SDK's retries find it here.
HELD: ContextVar[Held | None] = ContextVar("held", default=None)
