"""A second, different judge: any model behind an OpenAI-compatible endpoint.

A judge may favour its own family, and the paper's judge edited the paper's data as well. The same
questions put to another family of models show how much of a win rate is the judge's.
"""

from __future__ import annotations

import os

from pydantic import Field

from bench.llm.options import TransportName
from judges.pairwise import Pairwise, PairwiseOptions


class OpenAIOptions(PairwiseOptions):
    """As the other judge's, with a model that has to be named."""

    model: str = Field(description="who answers, by the endpoint's name for it")
    transport: TransportName = Field(
        "openai", description="openai: asks the endpoint; replay: answers from a file"
    )

    @property
    def endpoint(self) -> str:
        """By option or variable, as the SDK finds it; "openai" is the SDK's own."""
        return self.base_url or os.environ.get("OPENAI_BASE_URL") or "openai"


class OpenAI(Pairwise):
    """An OpenAI-compatible model compares the outputs, in both orders."""

    name = "openai"
    Options = OpenAIOptions
