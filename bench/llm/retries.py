"""The rule for asking again, one for judge and editor."""

from __future__ import annotations

from bench.llm.requests import Request

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
