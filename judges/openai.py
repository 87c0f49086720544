"""A second, different judge: any model behind an OpenAI-compatible endpoint.

A judge may favour its own family, and the paper's judge edited the paper's data as well. The same
questions put to another family of models show how much of a win rate is the judge's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from bench.llm import Answer, Request
from bench.llm.options import TransportName
from bench.plugins.protocols import OrderVerdict
from bench.preference import FIRST, exchanged
from judges.pairwise import MODEL_FIRST, Pairwise, PairwiseOptions, unanswered

_LETTERS = ("A", "B")
_LETTER = "one_letter"  # the prompt
_TOP = 5  # of the likeliest tokens, as AlpacaEval asks for them


class OpenAIOptions(PairwiseOptions):
    """As the other judge's, with a model that has to be named."""

    model: str = Field(description="who answers, by the endpoint's name for it")
    transport: TransportName = Field(
        "openai", description="openai: asks the endpoint; replay: answers from a file"
    )

    weighted: bool = Field(
        False,
        description="the preference is the chance of the verdict's letter, between 1 and 2: asks "
        "for one token with log-probabilities",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_letter(cls, values: Any) -> Any:
        """A prompt that asks for one letter, where no other is given."""
        weighted = isinstance(values, dict) and values.get("weighted") is True
        return {"template": _LETTER, **values} if weighted else values

    @model_validator(mode="after")
    def _by_a_chat(self) -> Self:
        if self.asks_a_chat and self.transport not in ("openai", "replay"):
            raise ValueError("log-probabilities and an annotator's fields need transport openai")
        return self

    @property
    def asks_a_chat(self) -> bool:
        """Whether a question has fields that only a chat completion has."""
        return self.weighted

    @property
    def endpoint(self) -> str:
        """By option or variable, as the SDK finds it; "openai" is the SDK's own."""
        return self.base_url or os.environ.get("OPENAI_BASE_URL") or "openai"


class OpenAI(Pairwise):
    """An OpenAI-compatible model compares the outputs, in both orders."""

    name = "openai"
    Options: type[OpenAIOptions] = OpenAIOptions
    options: OpenAIOptions

    def _request(self, text: str, order: int, shared: int) -> Request:
        if not self.options.weighted:
            return super()._request(text, order, shared)
        body = {
            "model": self.options.model,
            "max_tokens": 1,
            "messages": [{"role": "user", "content": text}],
            "chat": {"logprobs": True, "top_logprobs": _TOP},
        }
        return Request(body, order, endpoint=self.options.endpoint)

    def _read(self, answer: Answer, order: int) -> OrderVerdict:
        if not self.options.weighted:
            return super()._read(answer, order)
        if (verdict := unanswered(answer)) is not None:
            return verdict
        try:
            second = second_chance(answer.top_logprobs)
        except ValueError as error:
            return OrderVerdict(None, "parse_error", text=answer.text, error=str(error))
        preference = FIRST + second
        if order == MODEL_FIRST:
            preference = exchanged(preference)
        return OrderVerdict(preference, "ok", text=answer.text)


def second_chance(top_logprobs: Sequence[Mapping[str, float]]) -> float:
    """Chance of the answer B, of A and B: ``p_B / (p_A + p_B)``, by the first token.

    AlpacaEval 2's weighted preference (arXiv:2404.04475) is this number and 1. A token counts for
    the letter that it is but for blank space around it.

    Args:
        top_logprobs: for each token of the answer its likeliest ones and their log-probabilities.

    Raises:
        ValueError: there are none, or neither letter is among them.
    """
    if not top_logprobs:
        raise ValueError(
            "the endpoint gave no log-probabilities, which judge.weighted needs: leave it out"
        )
    chances = dict.fromkeys(_LETTERS, 0.0)
    for token, logprob in top_logprobs[0].items():
        if token.strip() in chances:
            chances[token.strip()] += math.exp(logprob)
    total = sum(chances.values())
    if total == 0:
        raise ValueError(f"neither A nor B is among the likeliest tokens {list(top_logprobs[0])}")
    return chances["B"] / total
