"""Texts in pieces: what an edit took out and put in, and what is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from markupsafe import Markup, escape

from bench.editing.acceptance import EditStatus, Limits, assess
from bench.studio.answers import Severity, with_breaks_of
from bench.studio.tasks import ToEdit

_GRAVER: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: its characters.
        kind: whether an edit kept it, took it out or put it in.
    """

    text: str
    kind: Literal["kept", "out", "in"]


@dataclass(frozen=True)
class Live:
    """An edit as it stands.

    Attributes:
        pieces: of both texts, in their order.
        tokens: words and marks that changed.
        replaced: share of all, see `bench.editing.changes.TextChanges`.
        limit: the largest share replaced that is accepted.
        status: whether it is accepted.
        reason: why it is not; "" where it is.
    """

    pieces: list[Piece]
    tokens: int
    replaced: float
    limit: float
    status: EditStatus
    reason: str

    @property
    def too_much(self) -> bool:
        """Whether it is refused for its size."""
        return self.status == "rejected_changed_too_much"


def live(content: ToEdit, text: str, limits: Limits) -> Live:
    """What an edit changed, by the same measure that accepts or refuses it."""
    text = with_breaks_of(content.original, text)
    result = assess(content.prompt, content.original, text, "", limits)
    changes, edited = result.changes, result.proposed
    assert changes is not None  # nor the text that they lead to: there is a proposal
    assert edited is not None
    pieces, at = [], 0
    for change in changes.changes:
        pieces += [
            Piece(edited[at : change.edited[0]], "kept"),
            Piece(content.original[slice(*change.original)], "out"),
            Piece(edited[slice(*change.edited)], "in"),
        ]
        at = change.edited[1]
    pieces.append(Piece(edited[at:], "kept"))
    shown = [piece for piece in pieces if piece.text]
    return Live(
        shown, changes.tokens, changes.replaced, limits.max_changed, result.status, result.reason
    )


@dataclass(frozen=True)
class Stretch:
    """Characters with the same marks on them.

    Attributes:
        text: the characters.
        severity: the gravest of their marks; None: there is none.
        types: of the marks, for who points at it.
    """

    text: str
    severity: str | None
    types: str


def stretches(text: str, spans: Sequence[dict[str, Any]]) -> list[Stretch]:
    """A text cut wherever a marked span begins or ends; spans may overlap."""
    cuts = sorted({0, len(text)} | {span[end] for span in spans for end in ("start", "end")})
    found = []
    for start, end in pairwise(cuts):
        on = [span for span in spans if span["start"] <= start and end <= span["end"]]
        gravest = max((span["severity"] for span in on), key=_GRAVER.index, default=None)
        types = ", ".join(sorted({span["type"] for span in on}))
        found.append(Stretch(text[start:end], gravest, types))
    return found


def exact(text: object) -> Markup:
    """Escaped so that a browser has every character: it would make a carriage return another."""
    return escape(text).replace("\r", Markup("&#13;"))
