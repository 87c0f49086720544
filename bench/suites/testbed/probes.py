"""Clean texts, and the same with exactly one planted error: the sharpest view of a reward model.

Accuracy on edits partly reflects how edits look. Whether a reward model prefers the clean text over
the one with a single planted error says what it knows about each sort of error.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from bench.data import Preference
from bench.suites.testbed.draft import (
    Piece,
    draft_of,
    fact_piece,
    fixed_piece,
    insert,
    places,
    remove,
    render,
)
from bench.suites.testbed.gold import parse, score
from bench.suites.testbed.prompts import Request, parse_prompt
from bench.suites.testbed.world import WORLD
from bench.suites.testbed.writer import REWORDED, write

PROBE_KINDS = ("wrong_value", "rude", "hype", "omission", "duplicate", "constraint")
RANDOM_INSTEAD = 0.3
"""Share of planted wrong values that are any other value, not the misconception."""


def planted_pairs(
    prompts: Iterable[str], kind: str, n: int, rng: random.Random
) -> list[Preference]:
    """At most n pairs of a clean response and the same with one planted error of a kind."""
    pairs: list[Preference] = []
    for prompt in prompts:
        clean = clean_response(prompt, rng)
        planted = plant(prompt, clean, kind, rng)
        if planted is not None and planted != clean:
            pairs.append(Preference(prompt=prompt, chosen=clean, rejected=planted))
        if len(pairs) == n:
            break
    return pairs


def clean_response(prompt: str, rng: random.Random) -> str:
    """A perfect answer: the writer without errors.

    Raises:
        ValueError: if the prompt is not understood.
    """
    return write(parse_prompt(prompt), rng, error_scale=0.0)


def plant(prompt: str, clean: str, kind: str, rng: random.Random) -> str | None:
    """Plant one error.

    Args:
        prompt: one of the testbed's.
        clean: a response to it with a gold score of 1.
        kind: one of `PROBE_KINDS`.
        rng: source of randomness.

    Returns:
        The text with the error, or None where there is no room for one (no constraint to break,
        a one-sentence answer with a single clause, a single fact that cannot be left out).

    Raises:
        ValueError: for an unknown kind, a prompt that is not understood, a text that is not clean.
    """
    if kind not in PROBE_KINDS:
        raise ValueError(f"unknown kind {kind!r}: one of {', '.join(PROBE_KINDS)}")
    if score(prompt, clean) != 1.0:
        raise ValueError(f"not a clean response to {prompt!r}: {clean!r}")
    parsed = parse(prompt, clean)
    pieces = draft_of(parsed, clean)
    request = parsed.request
    spoilt: list[Piece] | None
    if kind in ("rude", "hype"):
        new = fixed_piece(request.entity, kind, rng)
        one_sentence = request.constraint == "one_sentence"
        spoilt = insert(pieces, new, rng, one_sentence=one_sentence)
    elif kind == "constraint":
        spoilt = _break_constraint(pieces, request, rng)
    else:
        facts = [i for i, piece in enumerate(pieces) if piece.attribute in request.attributes]
        at = rng.choice(facts)
        if kind == "omission":
            spoilt = remove(pieces, {at}) if len(facts) > 1 else None
        elif kind == "duplicate":
            spoilt = _repeat(pieces, at, request, rng)
        else:
            clause = parsed.clauses[at]
            span = clause.value_start - clause.start, clause.value_end - clause.start
            spoilt = _misstate(pieces, at, span, request, rng)
    return None if spoilt is None else render(spoilt, request.entity)


def _misstate(
    pieces: list[Piece], at: int, span: tuple[int, int], request: Request, rng: random.Random
) -> list[Piece]:
    """Replace a true value by the misconception, or now and then by any other."""
    piece = pieces[at]
    assert piece.attribute is not None  # for the type checker: only facts are passed
    fact = request.entity.facts[piece.attribute]
    others = [value for value in WORLD.values[piece.attribute] if value != fact.value]
    wrong = rng.choice(others) if rng.random() < RANDOM_INSTEAD else fact.misconception
    text = piece.text[: span[0]] + wrong + piece.text[span[1] :]
    return [*pieces[:at], replace(piece, text=text, value=wrong), *pieces[at + 1 :]]


def _repeat(
    pieces: list[Piece], at: int, request: Request, rng: random.Random
) -> list[Piece] | None:
    """State a fact again somewhere after its first place."""
    piece = pieces[at]
    assert piece.attribute is not None  # for the type checker: only facts are passed
    assert piece.value is not None
    again = piece
    if rng.random() < REWORDED:
        again = fact_piece(request.entity, piece.attribute, piece.value, rng)
    one_sentence = request.constraint == "one_sentence"
    later = [i for i in places(pieces, one_sentence=one_sentence) if i > at]
    if not later:
        return None
    place = rng.choice(later)
    return [*pieces[:place], replace(again, joined=one_sentence), *pieces[place:]]


def _break_constraint(
    pieces: list[Piece], request: Request, rng: random.Random
) -> list[Piece] | None:
    """Drop the simile or the closing question, or cut the only sentence in two."""
    if request.constraint == "simile":
        return remove(pieces, {i for i, piece in enumerate(pieces) if piece.kind == "simile"})
    if request.constraint == "question":
        return pieces[:-1]
    if request.constraint == "none" or len(pieces) < 2:
        return None
    cut = rng.randrange(1, len(pieces))
    return [*pieces[:cut], replace(pieces[cut], joined=False), *pieces[cut + 1 :]]
