"""The simulated minimal editor: mends each error where it stands, and leaves the rest alone.

What it deletes and what it inserts is about balanced. That matters: trained on edits that only
delete or replace, a reward model learns that shorter is better, and PPO ends at empty answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bench.data import Span
from bench.suites.testbed.draft import (
    Piece,
    draft_of,
    fact_piece,
    fixed_piece,
    insert,
    join_all,
    remove,
    render,
)
from bench.suites.testbed.gold import Parse, counts, parse, spans
from bench.suites.testbed.prompts import Request

MISS = 0.1
_CLUTTER = ("rude", "hype", "unparsed")


def edit(prompt: str, response: str, rng: random.Random, *, miss: float = MISS) -> str:
    """Mend a response with as few changes as possible.

    Wrong values are replaced; rude, boastful, unparsed and repeated clauses deleted; missing facts
    and a missing constraint added in a random wording at a random sentence boundary.

    Args:
        prompt: one of the testbed's.
        response: any text.
        rng: source of randomness.
        miss: probability to overlook an error, each on its own; with 0 the result's gold score
            is 1.

    Returns:
        The edited text; the response itself, byte for byte, if nothing is wrong with it or all
        that is wrong was overlooked. Never empty.

    Raises:
        ValueError: if the prompt is not understood.
    """
    parsed = parse(prompt, response)
    before = counts(prompt, response)
    request = parsed.request

    if before.score == 1.0:
        return response
    notices = partial(noticed, rng, miss)
    original = draft_of(parsed, response)
    pieces = _mend_clauses(parsed, original, notices)
    keep_constraint = not before.constraint_violated or notices()
    one_sentence = request.constraint == "one_sentence" and keep_constraint
    told = {piece.attribute for piece in pieces}
    missing = [a for a in request.attributes if a not in told and notices()]
    if not pieces and not missing:
        missing = [request.attributes[0]]
    for attribute in missing:
        truth = request.entity.facts[attribute].value
        new = fact_piece(request.entity, attribute, truth, rng)
        pieces = insert(pieces, new, rng, one_sentence=one_sentence)
    if keep_constraint:
        pieces = _obey(pieces, request, rng)
    return response if pieces == original else render(pieces, request.entity)


def mark(prompt: str, response: str, rng: random.Random, *, miss: float = MISS) -> list[Span]:
    """The errors that have a place, each overlooked as in `edit`; arguments and errors as there."""
    notices = partial(noticed, rng, miss)
    return [span for span in spans(prompt, response) if notices()]


def noticed(rng: random.Random, miss: float) -> bool:
    """Whether an error is seen; one number is drawn."""
    return rng.random() >= miss


def _mend_clauses(parsed: Parse, pieces: list[Piece], notices: Callable[[], bool]) -> list[Piece]:
    """Correct wrong values, delete clutter and repeats."""
    pieces = list(pieces)
    unwanted = set()
    for i, clause in enumerate(parsed.clauses):
        if clause.duplicate or clause.kind in _CLUTTER:
            if notices():
                unwanted.add(i)
        elif clause.correct is False and clause.attribute is not None and notices():
            truth = parsed.request.entity.facts[clause.attribute].value
            start, end = clause.value_start - clause.start, clause.value_end - clause.start
            text = pieces[i].text
            pieces[i] = replace(pieces[i], text=text[:start] + truth + text[end:], value=truth)
    return remove(pieces, unwanted)


def _obey(pieces: list[Piece], request: Request, rng: random.Random) -> list[Piece]:
    """Meet the constraint, if the draft does not do so already."""
    entity = request.entity
    if request.constraint == "one_sentence":
        return join_all(pieces)
    if request.constraint == "simile" and not any(p.kind == "simile" for p in pieces):
        return insert(pieces, fixed_piece(entity, "simile", rng), rng, one_sentence=False)
    if request.constraint == "question" and pieces[-1].kind != "question":
        asked = [i for i, piece in enumerate(pieces) if piece.kind == "question"]
        question = pieces[asked[-1]] if asked else fixed_piece(entity, "question", rng)
        return [*remove(pieces, asked[-1:]), replace(question, joined=False)]
    return pieces
