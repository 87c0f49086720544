"""The ceiling of density: each of the truth's own terms, paid at the token that completes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.stages.sources.scores import GoldSource

if TYPE_CHECKING:
    from bench.models.tokens import Tokens
    from bench.plugins.capabilities import GoldTerms
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class GoldTermsSource:
    """Pays what a suite's gold score is made of, each term where the text decides it.

    A row sums to the gold score: against `GoldSource` only the place differs.

    Attributes:
        suite: tells the terms.
        tokens: places them.
    """

    suite: GoldTerms
    tokens: Tokens
    name: str = "terms of the gold score"
    row_sum: RowSum = "score"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T)."""
        batch = rollout.batch
        paid = torch.zeros(batch.mask.shape, device=batch.mask.device)
        rows = zip(rollout.prompts, rollout.outputs, batch.response_ids, strict=True)
        for i, (prompt, output, ids) in enumerate(rows):
            spans = self.tokens.offsets(output, ids)
            for place, amount in self.suite.gold_terms(prompt, output):
                paid[i, token_at(place, spans, len(ids))] += amount
        return paid

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) g."""
        return GoldSource(self.suite).scores(rollout)


def token_at(place: int | None, spans: Sequence[tuple[int, int]], length: int) -> int:
    """Index of the token that completes the text up to a place.

    Args:
        place: a number of characters; None: what is only known when the response has ended.
        spans: the tokens' character spans, a last EOS left out.
        length: T, with EOS.
    """
    if place is None:
        return length - 1
    return next((i for i, (_, end) in enumerate(spans) if end >= place), length - 1)


def make_gold_terms(inputs: SourceInputs) -> GoldTermsSource:
    """The source "gold_terms" of the registry."""
    return GoldTermsSource(inputs.suite, inputs.backbone.tokens)
