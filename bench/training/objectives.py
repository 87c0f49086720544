"""What reward models learn from: the built-in losses, by name in the registry's OBJECTIVES.

Each is a small class of options with one method, which hands tensors to a pure function of
`bench.rl`. A package adds one through the entry points `grainbench.objectives`
(`bench.plugins.protocols.Objective`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.rl import (
    bradley_terry_loss,
    divergence_preference_loss,
    ranking_loss,
    segment_label_accuracy,
    segment_label_loss,
    token_label_loss,
    token_preference_loss,
)
from bench.training.annotations import tokens_of_kinds
from bench.training.comparisons import Group, changed_tokens


@dataclass(frozen=True)
class Scored:
    """A reward model's outputs for B groups of K responses each, the best of a group first.

    Attributes:
        outputs: (K B, T) the head's raw output after each response token; the best responses of
            all groups first, then all second ones, and so on. Away from the tokens that the
            granularity reads (`RewardModel.read`) they mean nothing.
        mask: (K B, T) True = a response token.
        scores: (B, K) R of each response, by the model's granularity; not normalised.
        groups: the responses themselves.
        margins: (B,) by how much the better one must be ahead, reward units.
        label_smoothing: share of labels taken to be wrong.
        read: (K B, T) True = an output that R is made of: of a segment model, a segment's last.
    """

    outputs: Tensor
    mask: Tensor
    scores: Tensor
    groups: Sequence[Group]
    margins: Tensor
    label_smoothing: float
    read: Tensor

    @property
    def sides(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of pairs: outputs and mask (B, T) of the chosen responses, then of the rejected ones."""
        (chosen, rejected), (chosen_mask, rejected_mask) = self.outputs.chunk(2), self.mask.chunk(2)
        return chosen, chosen_mask, rejected, rejected_mask

    @property
    def changed(self) -> tuple[Tensor, Tensor]:
        """Of pairs: (B, T) the tokens of the chosen and of the rejected that the other has not."""
        chosen, rejected = changed_tokens(self.groups)
        return chosen.to(self.mask.device), rejected.to(self.mask.device)


@dataclass(frozen=True)
class ComparisonLoss:
    """Bradley-Terry on R, of pairs and rankings; of a token model, whose R is a mean, Eq. 3.

    arXiv:2203.02155, Eq. 1; arXiv:2406.02756, Eq. 3.
    """

    ranks = True

    def loss(self, scored: Scored) -> Tensor:
        """() nats; see `ranking_loss` and `bradley_terry_loss`."""
        scores, smoothing = scored.scores, scored.label_smoothing
        if scores.shape[1] > 2:
            ranks = torch.tensor([group.ranks for group in scored.groups], device=scores.device)
            return ranking_loss(scores, ranks, label_smoothing=smoothing)
        return bradley_terry_loss(
            *scores.unbind(1), margins=scored.margins, label_smoothing=smoothing
        )


@dataclass(frozen=True)
class ChangedTokensLoss:
    """Eq. 4 of arXiv:2406.02756: a token model's outputs at the tokens that the edit changed."""

    ranks = False

    def loss(self, scored: Scored) -> Tensor:
        """() nats; see `token_preference_loss`."""
        return token_preference_loss(
            *scored.sides,
            *scored.changed,
            margins=scored.margins,
            label_smoothing=scored.label_smoothing,
        )


@dataclass(frozen=True)
class DivergenceLoss:
    """Token by token from the first that differs (arXiv:2308.01320)."""

    ranks = False

    def loss(self, scored: Scored) -> Tensor:
        """() nats; see `divergence_preference_loss`."""
        first = [pair.first_divergence for pair in scored.groups]
        return divergence_preference_loss(
            *scored.sides,
            torch.tensor(first, device=scored.mask.device),
            margins=scored.margins,
            label_smoothing=scored.label_smoothing,
        )


@dataclass(frozen=True)
class TokenLabelLoss:
    """Each token is classified as better, worse or neither by what the edit did (TLCR).

    arXiv:2407.16574. Margins and label smoothing are of comparisons and have no part in it.

    Attributes:
        softmaxes: how often the released code applies softmax: 2; the paper's equation: 1.
    """

    softmaxes: int = 1
    ranks = False

    def loss(self, scored: Scored) -> Tensor:
        """() nats; see `token_label_loss`."""
        return token_label_loss(*scored.sides, *scored.changed, softmaxes=self.softmaxes)


@dataclass(frozen=True)
class ScaledComparisonLoss:
    """Bradley-Terry on beta R with one margin for all pairs (Q-RM, arXiv:2505.23363).

    Attributes:
        beta: factor on the difference of the two R.
        margin: gamma, subtracted from it, beside the pairs' own margins.
    """

    beta: float
    margin: float
    ranks = False

    def loss(self, scored: Scored) -> Tensor:
        """() nats: -log sigma(beta (R_w - R_l) - gamma); see `bradley_terry_loss`."""
        return bradley_terry_loss(
            *(self.beta * scored.scores).unbind(1),
            margins=scored.margins + self.margin,
            label_smoothing=scored.label_smoothing,
        )


@dataclass(frozen=True)
class SegmentLabelLoss:
    """Each segment of an annotated response is classified by whether an error is in it.

    arXiv:2306.01693, Section 4.2. An output above 0 says: no error. Margins and label smoothing are
    of comparisons and have no part in it.

    Attributes:
        kinds: of the errors that count; none: all.
        hidden_by: kinds of errors beside which nobody looked for these: a segment that has one of
            them, and none of `kinds`, teaches nothing.
    """

    kinds: Sequence[str] = ()
    hidden_by: Sequence[str] = ()
    ranks = False
    annotated = True

    def loss(self, scored: Scored) -> Tensor:
        """() nats; see `segment_label_loss`."""
        return segment_label_loss(*self._labelled(scored))

    def accuracy(self, scored: Scored) -> Tensor:
        """() the share of segments that are classified right; see `segment_label_accuracy`."""
        return segment_label_accuracy(*self._labelled(scored))

    def _labelled(self, scored: Scored) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Outputs, tokens in an error, tokens that hide one, ends of segments, mask; (B, T)."""
        mask, width = scored.mask, scored.mask.shape[1]
        wrong = tokens_of_kinds(scored.groups, self.kinds, width).to(mask.device)
        hidden = torch.zeros_like(mask)
        if self.hidden_by:
            hidden = tokens_of_kinds(scored.groups, self.hidden_by, width).to(mask.device)
        return scored.outputs, wrong, hidden, scored.read, mask
