"""A response as a list of clauses: what the writer, the editor and the probes work on."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from bench.suites.testbed.gold import Parse
from bench.suites.testbed.language import (
    CLAUSES,
    FIXED,
    JOINER,
    capitalise,
    fact_clause,
    fixed_clause,
    uncapitalise,
)
from bench.suites.testbed.world import Entity


@dataclass(frozen=True)
class Piece:
    """A clause in a draft.

    Attributes:
        text: its words, cased as at its place; `render` adapts the first letter.
        kind: "fact", "simile", "question", "polite", "rude", "hype" or "unparsed".
        attribute: of a fact, else None.
        value: what a fact claims, else None.
        joined: True if ", and " precedes it, False if it opens a sentence.
        mark: the sentence's final mark, used if the piece closes one.
    """

    text: str
    kind: str
    attribute: str | None = None
    value: str | None = None
    joined: bool = False
    mark: str = "."


def fact_piece(entity: Entity, attribute: str, value: str, rng: random.Random) -> Piece:
    """A fact in a random wording."""
    template = rng.randrange(len(CLAUSES[attribute]))
    return Piece(fact_clause(entity, attribute, value, template), "fact", attribute, value)


def fixed_piece(entity: Entity, kind: str, rng: random.Random) -> Piece:
    """A random clause of a kind that states no fact."""
    text = fixed_clause(entity, kind, rng.randrange(len(FIXED[kind])))
    return Piece(text, kind, mark="?" if kind == "question" else ".")


def render(pieces: Sequence[Piece], entity: Entity) -> str:
    """Put the clauses together: capitals, ", and " and final marks.

    Args:
        pieces: the draft; the first piece opens a sentence whatever it says.
        entity: whom the text is about (its name keeps its capital inside a sentence).
    """
    parts: list[str] = []
    for i, piece in enumerate(pieces):
        joined = piece.joined and i > 0
        if joined:
            keep = (f"{piece.value} is ",) if piece.value else ()  # "Paris is the capital ..."
            parts.append(JOINER + uncapitalise(piece.text, entity, keep))
        else:
            parts.append((" " if i else "") + capitalise(piece.text))
        if i + 1 == len(pieces) or not pieces[i + 1].joined:
            parts.append(piece.mark)
    return "".join(parts)


def draft_of(parsed: Parse, response: str) -> list[Piece]:
    """The draft that a response amounts to; marks that fit no clause become full stops."""
    pieces = []
    for clause in parsed.clauses:
        mark = "!" if clause.mark == "!" else "."
        pieces.append(
            Piece(
                text=response[clause.start : clause.end],
                kind=clause.kind,
                attribute=clause.attribute,
                value=clause.value,
                joined=clause.joined,
                mark="?" if clause.kind == "question" else mark,
            )
        )
    return pieces


def places(pieces: Sequence[Piece], *, one_sentence: bool) -> list[int]:
    """Indices at which a clause can go in; never after a closing question.

    Args:
        pieces: the draft.
        one_sentence: any place between clauses will do, instead of sentence boundaries only.
    """
    free = range(len(pieces))
    inner = [i for i in free if one_sentence or i == 0 or not pieces[i].joined]
    closed = bool(pieces) and pieces[-1].kind == "question"
    return inner if closed else [*inner, len(pieces)]


def insert(
    pieces: Sequence[Piece], new: Piece, rng: random.Random, *, one_sentence: bool
) -> list[Piece]:
    """Put a clause in at random: as a sentence of its own, or into the only sentence."""
    at = rng.choice(places(pieces, one_sentence=one_sentence))
    longer = [*pieces[:at], replace(new, joined=False), *pieces[at:]]
    return join_all(longer) if one_sentence else longer


def remove(pieces: Sequence[Piece], unwanted: Collection[int]) -> list[Piece]:
    """Drop the pieces at these indices; a sentence that loses its first clause opens anew."""
    kept: list[Piece] = []
    opens = False
    for i, piece in enumerate(pieces):
        opens = opens or not piece.joined
        if i not in unwanted:
            kept.append(replace(piece, joined=not opens))
            opens = False
    return kept


def join_all(pieces: Sequence[Piece]) -> list[Piece]:
    """The same clauses as one sentence; a question anywhere but at its end is dropped."""
    last = len(pieces) - 1
    kept = [p for i, p in enumerate(pieces) if p.kind != "question" or i == last]
    return [replace(piece, joined=i > 0) for i, piece in enumerate(kept)]
