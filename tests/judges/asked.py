"""What a judge's prompt shows, and answers that follow a rule: helpers of the tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

Body = dict[str, Any]


class Shown(NamedTuple):
    instruction: str
    first: str
    second: str


def shown(body: Body) -> Shown:
    """The three texts, found by the nonce in their tags alone; a reference is passed over."""
    prompt = body["messages"][0]["content"]
    nonce = re.search(r"mark of this comparison is ([0-9a-f]{16})\.", prompt)[1]
    found = re.findall(rf"<([a-zA-Z-]+)-{nonce}>\n(.*?)\n</\1-{nonce}>", prompt, re.DOTALL)
    return Shown(*(text for name, text in found if name != "reference"))


def said(verdict: str, rationale: str = "It answers better.") -> Body:
    return {"rationale": rationale, "verdict": verdict}


def prefers(better: Callable[[str, str], bool]) -> Callable[[Body], Body]:
    """Answers A where `better(A, B)`, B where `better(B, A)`, else a tie."""

    def answer(body: Body) -> Body:
        _, first, second = shown(body)
        if better(first, second):
            return said("A")
        return said("B" if better(second, first) else "tie")

    return answer
