"""Requests, their wording, and the splits.

The program knows a prompt only by its text: `parse_prompt` reads the request back from it, so the
harness handles testbed prompts like any others.

Validation and test differ from training in what is asked, not only in how: a combination of entity,
set of attributes and constraint belongs to one of the three, with all its orders and phrasings. In
an evaluation split each combination is asked once, so that no two of its prompts ask the same and
an instruction counts as an independent one.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeVar

from bench.suites.testbed.language import (
    CONSTRAINT_SHARES,
    CONSTRAINTS,
    PHRASINGS,
    attribute_list,
)
from bench.suites.testbed.world import ATTRIBUTES, WORLD, WORLD_SEED, Entity

TRAINING_SPLITS = ("demonstrations", "preference", "ppo")
EVALUATION_SPLITS = ("validation", "test", "unseen")
SPLITS = TRAINING_SPLITS + EVALUATION_SPLITS
SIZE_SHARES = {2: 0.5, 3: 0.32, 4: 0.18}
"""How many attributes a prompt asks for."""
_HELD_OUT = {"validation": 128, "test": 256}
"""Combinations of each; the other 232 of 616 are trained on, each fact in about ten of them."""


Key = TypeVar("Key")
Combination = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True)
class Request:
    """What a prompt asks for.

    Attributes:
        entity: whom it is about.
        attributes: what it asks, in its order; no repeats.
        constraint: a key of `CONSTRAINTS`.
    """

    entity: Entity
    attributes: tuple[str, ...]
    constraint: str


def render_prompt(request: Request, phrasing: int) -> str:
    """The request in words.

    Args:
        request: what to ask.
        phrasing: index into `PHRASINGS`.
    """
    asked = PHRASINGS[phrasing].format(
        attributes=attribute_list(request.attributes), entity=request.entity.name
    )
    return f"{asked} {CONSTRAINTS[request.constraint]}".strip()


_PROMPT = [
    re.compile(
        re.escape(phrasing)
        .replace(r"\{attributes\}", r"the (?P<attributes>[a-z, ]+)")
        .replace(r"\{entity\}", r"(?P<entity>[A-Za-z ]+)")
        + r"(?: (?P<constraint>\S.*))?"
    )
    for phrasing in PHRASINGS
]
_CONSTRAINT_OF = {text: name for name, text in CONSTRAINTS.items()}


@lru_cache(maxsize=65536)
def parse_prompt(text: str) -> Request:
    """Read the request back from a prompt.

    Raises:
        ValueError: naming the part that is not understood.
    """
    match = next((m for m in (regex.fullmatch(text.strip()) for regex in _PROMPT) if m), None)
    if match is None:
        raise ValueError(f"not a testbed prompt (no phrasing fits): {text!r}")
    entity = WORLD.by_name.get(match["entity"])
    if entity is None:
        raise ValueError(f"unknown entity {match['entity']!r} in the prompt {text!r}")
    constraint = _CONSTRAINT_OF.get(match["constraint"] or "")
    if constraint is None:
        raise ValueError(f"unknown constraint {match['constraint']!r} in the prompt {text!r}")
    attributes = tuple(re.split(r", | and ", match["attributes"]))
    for attribute in attributes:
        if attribute not in entity.attributes:
            raise ValueError(f"{attribute!r} is no attribute of {entity.name}: {text!r}")
    if len(set(attributes)) < len(attributes):
        raise ValueError(f"an attribute is asked twice: {text!r}")
    return Request(entity, attributes, constraint)


def sample_prompts(split: str, n: int, seed: int) -> list[str]:
    """Draw prompts of a split.

    Args:
        split: one of `SPLITS`.
        n: how many, all different; a smaller n gives a prefix of a larger one, and there are no
            more than the split has.
        seed: the run's. Evaluation splits ignore it: they are the same in every run.

    Raises:
        ValueError: for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
    if n < 0:
        raise ValueError(f"cannot draw {n} prompts")
    return list(_order(split, seed if split in TRAINING_SPLITS else WORLD_SEED)[:n])


@lru_cache(maxsize=16)
def _order(split: str, seed: int) -> tuple[str, ...]:
    """All prompts of a split, as drawn by weight without replacement.

    Efraimidis and Spirakis (2006): sorting by u^(1/w) is such a draw; no rejection loop is needed.
    """
    asked = _pool("training" if split in TRAINING_SPLITS else split)
    rng = random.Random(f"{split}:{seed}")
    keys = [rng.random() ** (1.0 / _weight(request)) for request, _ in asked]
    order = [asked[i] for i in sorted(range(len(asked)), key=lambda i: keys[i], reverse=True)]
    if split in EVALUATION_SPLITS:
        first: dict[Combination, tuple[Request, int]] = {}
        for request, i in order:
            first.setdefault(_combination(request), (request, i))
        order = list(first.values())
    return tuple(render_prompt(*one) for one in order)


@cache
def _pool(name: str) -> list[tuple[Request, int]]:
    """All of "training", "validation", "test" or "unseen": each request in each phrasing."""
    role = "unseen" if name == "unseen" else "rlhf"
    return [
        (request, i)
        for entity in WORLD.with_role(role)
        for request in _requests(entity)
        if role == "unseen" or _home(request) == name
        for i in range(len(PHRASINGS))
    ]


def _requests(entity: Entity) -> list[Request]:
    return [
        Request(entity, attributes, constraint)
        for size in SIZE_SHARES
        for attributes in itertools.permutations(entity.attributes, size)
        for constraint in CONSTRAINTS
    ]


def _combination(request: Request) -> Combination:
    """What is asked, whatever its order."""
    return request.entity.name, tuple(sorted(request.attributes)), request.constraint


def _home(request: Request) -> str:
    """The part that a combination belongs to, whatever its order and phrasing."""
    return _homes().get(_combination(request), "training")


@cache
def _homes() -> dict[Combination, str]:
    """The combinations that are held out, each with its split."""
    asked = (_combination(r) for e in WORLD.with_role("rlhf") for r in _requests(e))
    combinations = list(dict.fromkeys(asked))
    random.Random(f"homes:{WORLD_SEED}").shuffle(combinations)
    homes = [split for split, n in _HELD_OUT.items() for _ in range(n)]
    return dict(zip(combinations, homes, strict=False))


@cache
def _orders(size: int) -> int:
    """In how many ways `size` of an entity's attributes can be listed."""
    return len(list(itertools.permutations(ATTRIBUTES["country"], size)))


def _weight(request: Request) -> float:
    """Probability, up to a constant: size and constraint by their shares, orders alike."""
    size = len(request.attributes)
    return CONSTRAINT_SHARES[request.constraint] * SIZE_SHARES[size] / _orders(size)


def _draw(shares: dict[Key, float], rng: random.Random) -> Key:
    return rng.choices(list(shares), list(shares.values()))[0]


def draw_request(entity: Entity, rng: random.Random) -> Request:
    """A request that no evaluation split contains; pretraining asks these.

    Args:
        entity: not an "unseen" one.
        rng: source of randomness.
    """
    for _ in range(1000):
        size = _draw(SIZE_SHARES, rng)
        constraint = _draw(CONSTRAINT_SHARES, rng)
        attributes = tuple(rng.sample(entity.attributes, size))
        request = Request(entity, attributes, constraint)
        if entity.role != "rlhf" or _home(request) == "training":
            return request
    raise ValueError(f"no training request about {entity.name} in 1000 draws")
