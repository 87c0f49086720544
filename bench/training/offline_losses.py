"""What a policy learns from given responses: the built-in losses, by name in OFFLINE_LOSSES.

Each is a small class of options, as a reward model's objectives are, which hands tensors to a pure
function of `bench.rl`. A package adds one through the entry points `grainbench.offline_losses`
(`bench.plugins.protocols.OfflineLoss`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.rl import dpo_loss, figa_loss, masked_mean, masked_sum, rrhf_loss, tdpo_loss
from bench.training.comparisons import Group, changed_tokens


@dataclass(frozen=True)
class Compared:
    """What policy and reference say of B groups of K responses each, the best of a group first.

    Attributes:
        logprobs: (K B, T) log-probabilities of the policy, nats, 0 at padding; the best responses
            of all groups first, then all second ones, and so on.
        mask: (K B, T) True = a response token.
        groups: the responses themselves.
        ref_logprobs: (K B, T) of the reference, without gradient; None: the loss reads none.
        kl: (K B, T) KL(reference || policy) of the next-token distributions; None: likewise.
    """

    logprobs: Tensor
    mask: Tensor
    groups: Sequence[Group]
    ref_logprobs: Tensor | None = None
    kl: Tensor | None = None

    def sums(self, x: Tensor | None) -> Tensor:
        """(B, K) sums over the tokens of each response of a (K B, T)."""
        if x is None:
            raise ValueError("the loss uses what it does not say that it reads")
        return masked_sum(x, self.mask, dim=1).view(-1, len(self.groups)).T

    @property
    def means(self) -> Tensor:
        """(B, K) mean log-probability of a token of each response, nats."""
        return masked_mean(self.logprobs, self.mask, dim=1).view(-1, len(self.groups)).T

    @property
    def log_ratios(self) -> Tensor:
        """(B, K) log pi - log pi_ref of each response, nats."""
        return self.sums(self.logprobs) - self.sums(self.ref_logprobs)

    @property
    def preferences(self) -> Tensor:
        """(B, K) by what the policy prefers responses: log-ratios, or means without a reference."""
        return self.means if self.ref_logprobs is None else self.log_ratios


@dataclass(frozen=True)
class DPO:
    """Bradley-Terry on log-ratios to the reference (arXiv:2305.18290).

    Attributes:
        beta: reward units a nat.
        label_smoothing: share of the labels taken to be wrong.
    """

    beta: float
    label_smoothing: float = 0.0
    ranks = False
    reads: Literal["reference"] = "reference"

    def weight(self, groups: Sequence[Group]) -> float:
        """Pairs."""
        return len(groups)

    def loss(self, compared: Compared) -> Tensor:
        """() nats; see `dpo_loss`."""
        chosen, rejected = compared.log_ratios.unbind(1)
        return dpo_loss(chosen, rejected, beta=self.beta, label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class TDPO:
    """DPO with the divergence of the responses' states in the comparison (arXiv:2404.11999).

    Attributes:
        beta: as of `DPO`.
        alpha: weight of the divergences in variant 2.
        variant: TDPO1 or TDPO2.
    """

    beta: float
    alpha: float
    variant: Literal[1, 2] = 2
    ranks = False
    reads: Literal["distributions"] = "distributions"

    def weight(self, groups: Sequence[Group]) -> float:
        """Pairs."""
        return len(groups)

    def loss(self, compared: Compared) -> Tensor:
        """() nats; see `tdpo_loss`."""
        return tdpo_loss(
            *compared.log_ratios.unbind(1),
            *compared.sums(compared.kl).unbind(1),
            beta=self.beta,
            alpha=self.alpha,
            variant=self.variant,
        )


@dataclass(frozen=True)
class RRHF:
    """Responses in the order of their likelihoods, the best one imitated (arXiv:2304.05302).

    Attributes:
        rank_weight: factor on the term that orders.
        imitation: whether the best one's log-likelihood is a sum over its tokens or their mean.
    """

    rank_weight: float
    imitation: Literal["sum", "mean"]
    ranks = True
    reads: Literal["policy"] = "policy"

    def weight(self, groups: Sequence[Group]) -> float:
        """Rankings."""
        return len(groups)

    def loss(self, compared: Compared) -> Tensor:
        """() nats; see `rrhf_loss`."""
        means = compared.means
        ranks = torch.tensor([group.ranks for group in compared.groups], device=means.device)
        best = means if self.imitation == "mean" else compared.sums(compared.logprobs)
        return rrhf_loss(means, ranks, best[:, 0], rank_weight=self.rank_weight)


@dataclass(frozen=True)
class FIGA:
    """What an edit put in is imitated, what it took out unlearned (arXiv:2311.04072).

    Attributes:
        learn: factor on the first.
        unlearn: factor on the second.
        threshold: nats; what was taken out is unlearned where it is likelier than this.
    """

    learn: float
    unlearn: float
    threshold: float
    ranks = False
    reads: Literal["policy"] = "policy"

    def weight(self, groups: Sequence[Group]) -> float:
        """Tokens that the edits changed, on both sides."""
        return sum(sum(side) for group in groups for side in group.changed)

    def loss(self, compared: Compared) -> Tensor:
        """() nats; see `figa_loss`."""
        device = compared.mask.device
        (chosen, rejected), (mask, other) = compared.logprobs.chunk(2), compared.mask.chunk(2)
        return figa_loss(
            chosen,
            mask,
            rejected,
            other,
            *(flags.to(device) for flags in changed_tokens(compared.groups)),
            learn=self.learn,
            unlearn=self.unlearn,
            threshold=self.threshold,
        )


@dataclass(frozen=True)
class Imitation:
    """Cross-entropy of the best response, as SFT's: L = -(1/N) sum_i sum_t log pi(y_t).

    N counts the tokens of the best responses of all groups; the others teach nothing.
    """

    ranks = True
    reads: Literal["policy"] = "policy"

    def weight(self, groups: Sequence[Group]) -> float:
        """Tokens of the best responses."""
        return sum(len(group.responses[0]) for group in groups)

    def loss(self, compared: Compared) -> Tensor:
        """() nats a token."""
        best = slice(len(compared.groups))
        return -masked_mean(compared.logprobs[best], compared.mask[best])
