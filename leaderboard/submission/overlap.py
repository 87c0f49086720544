"""Contamination: evaluation prompts that a model may have been trained on.

Three measures, each with a looser idea of "the same": letter by letter; without case, punctuation
and spacing; and one shared sequence of 13 words, as arXiv:2005.14165, Appendix C, compares texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict

N = 13
SHORTEST = 8  # words of a prompt that is looked for as a whole


class Overlap(BaseModel):
    """How many of the evaluation prompts are in the training prompts.

    Attributes:
        training, evaluation: different prompts of each.
        exact: of the evaluation prompts, those that are training prompts letter by letter.
        normalised: likewise without case, punctuation and spacing; the exact ones are among them.
        ngrams: those that share `N` words in a row with a training prompt. A prompt of fewer words
            is looked for as a whole, and one of fewer than `SHORTEST` not at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: int
    evaluation: int
    exact: int
    normalised: int
    ngrams: int


def overlap(training: Iterable[str], evaluation: Iterable[str]) -> Overlap:
    """Compare the prompts that something was trained on with those that it is measured on."""
    seen, asked = set(training), set(evaluation)
    alike = {words(text) for text in seen}
    wanted = {text: set(_sequences(words(text))) for text in asked}
    lengths = {len(one) for own in wanted.values() for one in own}
    shared = _found(alike, set().union(*wanted.values()), lengths)
    return Overlap(
        training=len(seen),
        evaluation=len(asked),
        exact=len(asked & seen),
        normalised=sum(words(text) in alike for text in asked),
        ngrams=sum(not own.isdisjoint(shared) for own in wanted.values()),
    )


def words(text: str) -> tuple[str, ...]:
    """The words of a text, without case and punctuation."""
    return tuple(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _sequences(found: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if len(found) >= SHORTEST:
        size = min(N, len(found))
        yield from (found[i : i + size] for i in range(len(found) - size + 1))


def _found(
    texts: Iterable[tuple[str, ...]], wanted: set[tuple[str, ...]], lengths: set[int]
) -> set[tuple[str, ...]]:
    """Which of the wanted sequences are in one of the texts."""
    found: set[tuple[str, ...]] = set()
    for text in texts:
        for size in lengths:
            own = (text[i : i + size] for i in range(len(text) - size + 1))
            found.update(one for one in own if one in wanted)
    return found
