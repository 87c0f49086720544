"""The rules for asking again, the same for judge and editor.

A request can be asked `again` (unreadable answer, a new key), `with_room` (cut off, more tokens, a
new key), or be `renew`ed (the same key, although an answer is stored: the option retry).
`once_more` and `Asker.follow_up` choose among them; `mending` is the hint for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from bench.llm.answers import UNANSWERED
from bench.llm.requests import Request

RetryStatus = Literal["parse_error", "refusal", "truncated"]
"""How an answer may end that is paid and stored, but of no use: the option retry has it renewed."""

MORE_ROOM = 4  # times as many tokens, once, for an answer that was cut off


def once_more(request: Request, status: str, max_tokens: int) -> Request | None:
    """The question that may mend an answer: more room if cut off, a second try if unreadable.

    Each of the two is given once, in either order.

    Args:
        request: what was asked.
        status: what came of it; only "truncated" and "parse_error" are asked again.
        max_tokens: of the first question.

    Returns:
        The next question; None where the answer has to do.
    """
    if status == "truncated" and request.max_tokens <= max_tokens:
        return request.with_room(MORE_ROOM * max_tokens)
    if status == "parse_error" and not request.attempt:
        return request.again()
    return None


def mending(counts: Mapping[str, int], retry: str) -> str:
    """Say how what has no verdict, or no edit, is asked for again.

    Args:
        counts: how many by status; what has another one is passed over.
        retry: what comes before the statuses that are to be renewed, as "--retry ".

    Returns:
        For a message; "" where there is nothing to ask again.
    """
    unanswered, useless = (
        {status: counts[status] for status in statuses if counts.get(status)}
        for statuses in (UNANSWERED, get_args(RetryStatus))
    )
    clauses = []
    if unanswered:
        limit = " (up to the limit once more)" if "skipped_budget" in unanswered else ""
        clauses.append(f"run the same command again to ask for {_listed(unanswered)}{limit}")
    if useless:
        named = f"{retry}{','.join(useless)}"
        clauses.append(f"add {named} to ask, and pay, once more for {_listed(useless)}")
    return "; ".join(clauses)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts.items())
