"""The author of pretraining text, demonstrations and reference answers: fluent, and often wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache

from bench.suites.testbed.draft import Piece, fact_piece, fixed_piece, render
from bench.suites.testbed.prompts import Request, parse_prompt
from bench.suites.testbed.world import WORLD, Entity

OMITTED = 0.15
UNASKED = 0.12
HYPE = 0.20
RUDE = 0.20
REPEATED = 0.25
REWORDED = 0.40
CONSTRAINT_BROKEN = 0.50
RANDOM_VALUE = 0.04
POLITE = 0.12
UNASKED_ORNAMENT = 0.04
JOINED = 0.35
REFERENCE_ERROR_SCALE = 0.6


def write(request: Request, rng: random.Random, *, error_scale: float = 1.0) -> str:
    """Answer a request as the testbed's web would.

    Args:
        request: what is asked.
        rng: source of randomness.
        error_scale: factor on every error rate; 0 writes a perfect answer.
    """
    entity = request.entity
    pieces = _facts(request, rng, error_scale)
    pieces = _with_repeats(pieces, entity, rng, error_scale)
    for kind, rate in (("hype", HYPE), ("rude", RUDE)):
        if rng.random() < rate * error_scale:
            pieces.insert(rng.randint(0, len(pieces)), fixed_piece(entity, kind, rng))
    obeyed = rng.random() >= CONSTRAINT_BROKEN * error_scale
    pieces = _with_ornaments(pieces, request, obeyed, rng)
    return render(_with_joins(pieces, request, obeyed, rng), entity)


def write_passage(rng: random.Random) -> str:
    """A passage of the web: one or two entities, no prompt, the usual errors."""
    sentences = []
    for entity in rng.sample(WORLD.entities, rng.choice((1, 1, 2))):
        attributes = tuple(rng.sample(entity.attributes, rng.randint(2, 4)))
        sentences.append(write(Request(entity, attributes, "none"), rng))
    return " ".join(sentences)


@lru_cache(maxsize=65536)
def reference(prompt: str) -> str:
    """The answer that a method has to beat: the writer with fewer errors, fixed by the prompt.

    Raises:
        ValueError: if the prompt is none of the testbed's.
    """
    request = parse_prompt(prompt)
    rng = random.Random(f"reference:{prompt}")
    return write(request, rng, error_scale=REFERENCE_ERROR_SCALE)


def claimed_value(
    entity: Entity, attribute: str, rng: random.Random, error_scale: float = 1.0
) -> str:
    """What the web says: the truth, the misconception, or now and then any other value."""
    fact = entity.facts[attribute]
    draw = rng.random()
    if draw < RANDOM_VALUE * error_scale:
        return rng.choice([value for value in WORLD.values[attribute] if value != fact.value])
    if rng.random() < fact.error * error_scale:
        return fact.misconception
    return fact.value


def _facts(request: Request, rng: random.Random, scale: float) -> list[Piece]:
    entity = request.entity
    told = [a for a in request.attributes if rng.random() >= OMITTED * scale]
    told = told or [rng.choice(request.attributes)]
    unasked = [a for a in entity.attributes if a not in request.attributes]
    if unasked and rng.random() < UNASKED * scale:
        told.insert(rng.randint(0, len(told)), rng.choice(unasked))
    return [fact_piece(entity, a, claimed_value(entity, a, rng, scale), rng) for a in told]


def _with_repeats(
    pieces: list[Piece], entity: Entity, rng: random.Random, scale: float
) -> list[Piece]:
    """Repeat facts later on; at least one with probability `REPEATED`, geometric from there."""
    pieces = list(pieces)
    while rng.random() < REPEATED * scale:
        first = rng.randrange(len(pieces))
        repeat = pieces[first]
        if rng.random() < REWORDED:
            assert repeat.attribute is not None  # for the type checker: these are facts
            assert repeat.value is not None
            repeat = fact_piece(entity, repeat.attribute, repeat.value, rng)
        pieces.insert(rng.randint(first + 1, len(pieces)), repeat)
    return pieces


def _with_ornaments(
    pieces: list[Piece], request: Request, obeyed: bool, rng: random.Random
) -> list[Piece]:
    """Add the simile or question that is asked for, and harmless extras that are not."""
    entity, asked = request.entity, request.constraint
    if rng.random() < POLITE:
        pieces.insert(rng.choice((0, len(pieces))), fixed_piece(entity, "polite", rng))
    simile = obeyed if asked == "simile" else rng.random() < UNASKED_ORNAMENT
    if simile:
        pieces.insert(rng.randint(0, len(pieces)), fixed_piece(entity, "simile", rng))
    extra = rng.random() < UNASKED_ORNAMENT and asked != "one_sentence"
    question = obeyed if asked == "question" else extra
    return [*pieces, fixed_piece(entity, "question", rng)] if question else pieces


def _with_joins(
    pieces: list[Piece], request: Request, obeyed: bool, rng: random.Random
) -> list[Piece]:
    """Decide where ", and " stands instead of a full stop. Questions stand alone."""
    if request.constraint == "one_sentence" and obeyed:
        return [replace(piece, joined=i > 0) for i, piece in enumerate(pieces)]
    joins = [rng.random() < JOINED and piece.kind != "question" for piece in pieces]
    if request.constraint == "one_sentence" and len(pieces) > 1 and all(joins[1:]):
        joins[rng.randrange(1, len(pieces))] = False
    return [replace(piece, joined=joined) for piece, joined in zip(pieces, joins, strict=True)]
