"""Asking: what is stored is not asked again, what comes back is stored before it is read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UserError
from bench.llm.answers import Answer, AnswerStore, sum_known
from bench.llm.money.budget import Budget
from bench.llm.money.prices import Prices
from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.retries import mending, once_more
from bench.llm.running import run
from bench.llm.transports.ledger import Ledger
from bench.llm.transports.opening import open_transport
from bench.llm.transports.protocol import Say, Transport
from bench.llm.transports.replay import Replay

_LINE_EVERY_S = 10.0
_LATEST = 200  # stored answers that say what such questions take

Receive = Callable[[Request, Answer], Request | None]
"""Takes a request's answer; what it returns, if anything, is asked in the next round."""


@dataclass
class Tally:
    """What asking came to.

    Attributes:
        stored: questions whose answer was in the store.
        outcomes: of the new ones, by kind.
        cost_usd: known cost of all answers, stored and new; replaced ones are included, each is
            counted once. None if the price of one is not known.
        models: names that the API returned, and how often.
        first_at, last_at: when the oldest and the newest answer came.
    """

    stored: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    cost_usd: float | None = 0.0
    models: Counter[str] = field(default_factory=Counter)
    first_at: str | None = None
    last_at: str | None = None
    # Keys of what is counted (a canary may be asked again as a pair), as 32 bytes: there may be
    # hundreds of thousands.
    _paid: set[bytes] = field(default_factory=set, init=False, repr=False)
    _lost: dict[bytes, float | None] = field(default_factory=dict, init=False, repr=False)

    def add(self, answer: Answer, *, new: bool) -> None:
        """Count an answer."""
        if new:
            self.outcomes[answer.outcome] += 1
        else:
            self.stored += 1
        key = bytes.fromhex(answer.key)
        if answer.possibly_billed_usd != 0:
            self._lost[key] = answer.possibly_billed_usd
        counted = key in self._paid
        if not answer.paid or (counted and not new):
            return
        self._paid.add(key)
        self.cost_usd = sum_known(self.cost_usd, answer.total_usd)
        if answer.model and not counted:
            self.models[answer.model] += 1
        if answer.at:
            self.first_at = min(self.first_at or answer.at, answer.at)
            self.last_at = max(self.last_at or answer.at, answer.at)

    @property
    def calls(self) -> int:
        """Answers that were not in the store before."""
        return self.outcomes.total()

    @property
    def possibly_billed_usd(self) -> float | None:
        """Most that lost and unreadable answers to these questions may have cost beside `cost_usd`.

        None if the price of one is not known. What an interrupted command had in flight is in no
        store and so not in here.
        """
        return sum_known(0.0, *self._lost.values())


class Asker:
    """Puts questions to a model, with memory and a budget.

    Args:
        options: model, transport, limits.
        path: file of the answers.
        say: receives a line for people.

    Raises:
        UserError: an option or a file is wrong, or a key is missing.
    """

    def __init__(self, options: LLMOptions, path: Path, say: Say) -> None:
        self.options, self.path, self.say = options, path, say
        self.budget = Budget(
            Prices.load(options.prices), options.max_usd, batch=options.transport == "batches"
        )
        self.budget.check(options.model)
        if options.retry and options.transport == "replay":
            raise UserError("transport replay asks nobody, so leave out the option retry")
        self.answers = AnswerStore(path, warn=say)
        self.tally = Tally()
        self._asked: set[bytes] = set()  # keys of what this one has asked
        self._transport: Transport | None = None
        self._said = time.monotonic()

    def ask(self, requests: Iterable[Request], receive: Receive) -> None:
        """Ask all of them, and then what `receive` returned; it is called once for each request.

        Requests are drawn one by one, so a generator keeps memory flat.

        Raises:
            UserError: nothing can be answered; what was answered is stored.
        """
        pending: Iterable[Request] = requests
        while True:
            following: list[Request] = []

            def deliver(request: Request, answer: Answer) -> None:
                if more := receive(request, answer):
                    following.append(more)  # noqa: B023 (used within this round only)

            unanswered = _lookahead(self._unstored(iter(pending), deliver))
            if unanswered is not None:
                self._send(unanswered, deliver)
            if not following:
                return
            pending = following

    def follow_up(self, request: Request, status: str) -> Request | None:
        """The question that may mend an answer; None if the answer is final.

        Beside what `once_more` gives, the option `retry` asks a stored question again, once, whose
        answer ended with one of its statuses.

        Args:
            request: what was asked.
            status: what came of it.
        """
        more = once_more(request, status, self.options.max_tokens)
        if more is None and status in self.options.retry and not self._has_asked(request):
            return request.renew()
        return more

    def recorded(self, request: Request) -> bool:
        """Whether an answer is in the store, or in the file that is replayed; the file is opened.

        Raises:
            UserError: there is no such file.
        """
        if request.key in self.answers:
            return True
        transport = self._open() if self.options.transport == "replay" else None
        return isinstance(transport, Replay) and transport.has(request)

    def mending(self, counts: Mapping[str, int], retry: str) -> str:
        """How what is missing is asked for again; see `mending`. A recorded file stays as it is."""
        return "" if self.options.transport == "replay" else mending(counts, retry)

    def ready(self) -> None:
        """Raise UserError for what would stop every question, such as a missing key; asks none."""
        self._open()

    def _report(self) -> None:
        """Say now and then how far it is."""
        if time.monotonic() - self._said < _LINE_EVERY_S:
            return
        self._said = time.monotonic()
        counts = ", ".join(f"{n:,} {outcome}" for outcome, n in self.tally.outcomes.most_common())
        self.say(f"{self.options.model}: {counts}; {self.budget.spent()}")

    def _open(self) -> Transport:
        if self._transport is None:
            if self.options.max_usd is not None:
                self.budget.learn(*self.answers.latest(_LATEST))
            self._transport = open_transport(self.options, self.budget, self.answers, self.say)
        return self._transport

    def _send(
        self, requests: Iterator[Request], deliver: Callable[[Request, Answer], None]
    ) -> None:
        """Ask those that are not stored; their answers are, before anybody reads them."""
        twins: dict[str, list[Request]] = {}  # the same question again, while it is in flight

        def keep(request: Request, answer: Answer) -> None:
            asked = {"kind": request.kind, "asked_bytes": request.size}
            answer = self.answers.with_losses(answer.model_copy(update=asked))
            self.budget.learn(answer)
            valid = self._store(request, answer)
            self.tally.add(answer, new=True)
            self._report()
            deliver(request, valid)
            for twin in twins.pop(request.key):
                self.tally.stored += 1
                deliver(twin, valid)

        def once() -> Iterator[Request]:
            # Looked up once more: another process may have asked while this one waited for the file
            for request in self._unstored(requests, deliver):
                if request.key in twins:
                    twins[request.key].append(request)
                else:
                    twins[request.key] = []
                    yield request

        transport = self._open()
        with self.answers.locked(self.say):
            run(transport.send(self._not_ordered(once()), keep))

    def _store(self, request: Request, answer: Answer) -> Answer:
        """Store what came; returns the answer that is valid now.

        A renewed question that gets none keeps the answer that it had.
        """
        earlier = self.answers.get(request.key) if request.renewed else None
        self._asked.add(bytes.fromhex(request.key))
        if earlier is not None and earlier.paid:
            if not answer.paid:
                if answer.possibly_billed_usd != 0:
                    lost = {"possibly_billed_usd": answer.possibly_billed_usd}
                    self.answers.append(earlier.model_copy(update=lost))
                return earlier
            answer = answer.replacing(earlier)
        if answer.outcome != "skipped_budget":
            self.answers.append(answer)
        return answer

    def _has_asked(self, request: Request) -> bool:
        return bytes.fromhex(request.key) in self._asked

    def _not_ordered(self, requests: Iterator[Request]) -> Iterator[Request]:
        """The same requests.

        Raises:
            UserError: some are in a batch that was left open, so that they would be paid twice.
        """
        if self.options.transport in ("batches", "replay"):
            return requests
        ledger = Ledger.beside(self.path, self.say)
        ledger.read()
        ordered = ledger.awaited()
        if not ordered:
            return requests
        drawn = list(requests)
        if twice := sum(request.key in ordered for request in drawn):
            raise UserError(
                f"{twice:,} of these questions are ordered in an open batch and would be paid "
                "twice: use transport batches, which collects them; removing "
                f"{ledger.path} instead gives them up, and pays for them again"
            )
        return iter(drawn)

    def _unstored(
        self, requests: Iterator[Request], deliver: Callable[[Request, Answer], None]
    ) -> Iterator[Request]:
        """The requests without a stored answer; those with one are delivered on the way."""
        for request in requests:
            answer = self.answers.get(request.key)
            renew = request.renewed and not self._has_asked(request)
            if answer is not None and answer.paid and not renew:
                self.tally.add(answer, new=False)
                deliver(request, answer)
            else:
                yield request


def _lookahead(requests: Iterator[Request]) -> Iterator[Request] | None:
    """The same requests, or None if there are none: then no key is needed and no file locked."""
    first = next(requests, None)
    if first is None:
        return None

    def chained() -> Iterator[Request]:
        yield first
        yield from requests

    return chained()
