"""Watching a batch until it ends, and what a look at it that fails says.

The API is eventually consistent: a batch may answer 404, or be missing from the list, for a minute
or two after it was created (https://github.com/anthropics/anthropic-sdk-python/issues/1432). What
does not show is therefore looked for again before it is taken to be gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import anthropic
from anthropic.types.messages import MessageBatch

from bench.llm.options import LLMOptions
from bench.llm.transports.ledger import Ledger, Order
from bench.llm.transports.outcomes import Service, Told
from bench.llm.transports.protocol import Stopped

_YOUNG_S = 600.0  # a batch of this age may not be everywhere yet
_YOUNG_POLLS = 5  # nor one that is no older than so many looks take


@dataclass
class Batch:
    """A batch whose results are still to come, and the keys they have not come for.

    Attributes:
        done: requests that it had answered at the last look.
        canceled: whether a person has canceled it.
        seen: whether it has shown for this key, so that it is not another's.
        late: whether it was said that it does not show yet.
    """

    id: str
    order: Order
    waiting: set[str]
    done: int = 0
    canceled: bool = False
    seen: bool = False
    late: bool = False


class Missed(Exception):
    """A batch could not be looked at, for now."""


class NotYet(Missed):
    """A batch does not show, and may be too young to."""


def missed(
    batch: Batch, error: BaseException, ledger: Ledger, service: Service, options: LLMOptions
) -> Stopped | Missed:
    """What to raise where the API did not answer: it may do later, or never will."""
    told = Told.by(error)
    said = service.scrub(str(told))
    if not isinstance(error, anthropic.NotFoundError):
        return told.stopped(service, options.model) or Missed(said)
    if batch.seen:  # it was there a moment ago
        return Missed(said)
    if young(batch.order.noted_at(batch.id), options.poll_s):
        return NotYet(said)
    return stopped_at(batch, error, ledger, service, options)


def stopped_at(
    batch: Batch, error: BaseException, ledger: Ledger, service: Service, options: LLMOptions
) -> Stopped:
    """Why a batch is not looked at any more, and what to do: above all, not to pay for it twice."""
    if not isinstance(error, anthropic.NotFoundError):
        return gave_up(error, service, options.model)
    order = batch.order
    return Stopped(
        f"batch {batch.id}, noted in {ledger.path}, does not show for this key "
        f"({service.scrub(str(Told.by(error)))}). Ordered at {order.noted_at(batch.id)}, it may "
        "still exist, run and be billed: look for it in the console (https://platform.claude.com, "
        "Batches), and use a key of the workspace that ordered it. To remove that file instead "
        f"forgets every batch in it: the {len(order.keys):,} requests of this one are ordered anew "
        "and may be paid a second time"
    )


def young(at: str, poll_s: float) -> bool:
    """Whether what was noted at this time may not be everywhere yet.

    Args:
        at: ISO 8601; a time that lies as far ahead, by a clock that was set, counts as well.
        poll_s: seconds between two looks.
    """
    age_s = (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()
    return abs(age_s) <= max(_YOUNG_S, _YOUNG_POLLS * poll_s)


def size(batch: MessageBatch) -> int:
    """How many requests a batch has."""
    counts = batch.request_counts
    ended = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return counts.processing + ended


def gave_up(error: BaseException, service: Service, model: str) -> Stopped:
    """Why there will be no batches, after the SDK's retries."""
    told = Told.by(error)
    return told.stopped(service, model) or Stopped(
        f"{service.name} does not take or show batches: {service.scrub(str(told))}"
    )
