"""KL divergence to the reference policy: estimates of it, and controllers of its coefficient."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bench.rl.checks import check_float, check_not_negative, check_rank, check_same_shape
from bench.rl.logprobs import log_softmax

KLKind = Literal["k1", "k2", "k3", "k1_clamped"]


def kl_estimate(
    logprobs: Float[Tensor, "B T"], ref_logprobs: Float[Tensor, "B T"], kind: KLKind = "k1"
) -> Float[Tensor, "B T"]:
    """Single-sample estimate of ``KL(pi || pi_ref)`` at each token drawn from pi.

    With ``d_t = log pi(a_t | s_t) - log pi_ref(a_t | s_t)``:

        k1         = d_t                    unbiased; may be negative
        k2         = d_t^2 / 2              biased, low variance; >= 0
        k3         = exp(-d_t) - 1 + d_t    unbiased; >= 0
        k1_clamped = max(d_t, 0)            biased upwards; >= 0

    As a reward, their values count. As a *loss*, differentiated through `logprobs` with the tokens
    held, their gradients do: ``grad log pi(a_t | s_t)`` times 1, d_t, 1 - exp(-d_t) and
    [d_t > 0]. In expectation over pi that is 0 for k1; the gradient of KL(pi || pi_ref) for k2;
    that of the reverse one, KL(pi_ref || pi), for k3; and that of neither for k1_clamped.

    Args:
        logprobs: (B, T) of the policy that drew the tokens, nats.
        ref_logprobs: (B, T) of the reference policy for the same tokens, nats.
        kind: which estimator.

    Returns:
        (B, T), nats per token. There is no mask: what stands at padded positions means nothing,
        and a loss needs something finite there (the gradient of a masked NaN is 0 * NaN).

    Raises:
        ValueError: if the shapes differ, or `kind` is unknown.
        TypeError: if a dtype is not float32 or float64.

    References:
        k1 is the penalty of InstructGPT, arXiv:2203.02155, Eq. 2; k3 is arXiv:2402.03300, Eq. 4;
        the three together are J. Schulman, "Approximating KL Divergence" (2020),
        http://joschu.net/blog/kl-approx.html, whose r is exp(-d) here. k1_clamped is what
        AlpacaFarm, arXiv:2305.14387, runs: ``torch.clamp(logprobs - ref_logprobs, min=0.0)`` in
        the `_shape_reward` of its PPO trainer.
    """
    check_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs)
    check_rank(2, logprobs=logprobs)
    check_float(logprobs=logprobs, ref_logprobs=ref_logprobs)
    log_ratio = logprobs - ref_logprobs
    if kind == "k1":
        return log_ratio
    if kind == "k2":
        return 0.5 * log_ratio.square()
    if kind == "k3":
        return torch.expm1(-log_ratio) + log_ratio
    if kind == "k1_clamped":
        return log_ratio.clamp(min=0.0)
    raise ValueError(f"kind must be k1, k2, k3 or k1_clamped, is {kind!r}")


def best_of_n_kl_bound(n: int) -> float:
    """Most that the best of n draws from a policy can be from that policy, in KL, nats.

        KL(pi_n || pi) <= log n - (n - 1) / n

    It is the KL itself where no response is drawn twice and no two score alike, and far above it
    where a policy draws one response most of the time. A tie that the order of the draws decides
    only lowers the KL.

    Args:
        n: draws, 1 at least.

    Raises:
        ValueError: if n is less.

    References:
        Used as the KL itself in arXiv:2112.09332 and arXiv:2210.10760; arXiv:2401.01879 shows that
        it is a bound.
    """
    if n < 1:
        raise ValueError(f"n must be 1 at least, is {n}")
    return math.log(n) - (n - 1) / n


def forward_kl(
    logits: Float[Tensor, "B T V"], ref_logits: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """The whole ``KL(pi_ref || pi)`` of the next-token distributions, not an estimate.

    Equation: ``KL_t = sum_v pi_ref(v | s_t) (log pi_ref(v | s_t) - log pi(v | s_t))``.

    Args:
        logits: (B, T, V) of the policy, any float dtype; -inf marks a token that cannot be drawn.
        ref_logits: (B, T, V) of the reference, likewise.

    Returns:
        (B, T) nats, >= 0 but for rounding; float32 for half-precision logits, else their dtype.

    Raises:
        ValueError: if the shapes differ or are not (B, T, V).

    References:
        arXiv:2404.11999, Section 4: summed over the tokens, what TDPO compares responses with.
    """
    check_same_shape(logits=logits, ref_logits=ref_logits)
    check_rank(3, logits=logits)
    reference = log_softmax(ref_logits)
    # 0 log 0 = 0: a token that the reference never draws has no part in it
    further = (reference - log_softmax(logits)).masked_fill(reference == -torch.inf, 0.0)
    return (reference.exp() * further).sum(-1)


@dataclass
class FixedKLController:
    """A KL coefficient that stays as it is.

    Attributes:
        coef: the coefficient, reward units per nat, >= 0.
    """

    coef: float

    def __post_init__(self) -> None:
        check_not_negative(coef=self.coef)

    def update(self, kl_per_sequence: float) -> float:
        """Return `coef`, whatever `kl_per_sequence` (nats) is."""
        return self.coef


@dataclass
class AdaptiveKLController:
    """Proportional controller that steers the KL per sequence to a target.

    After each PPO step:

        e    = clip(kl / target - 1, -error_clip, error_clip)
        coef = coef * (1 + rate * e)    if e > 0
        coef = coef * (1 + fall * e)    otherwise

    Attributes:
        coef: the coefficient now, reward units per nat, > 0. It stays > 0.
        target: the wanted KL, nats per sequence (summed over the response's tokens), > 0.
        rate: relative rise of `coef` in one step at e = 1, 0 < rate < 1.
        fall: relative fall of `coef` in one step at e = -1, 0 <= fall < 1; None: as `rate`. A fall
            slower than the rise brings the KL to its target from below: while the policy is
            still near the reference, the coefficient does not run down.
        error_clip: greatest |e|, relative to the target, 0 < error_clip <= 1.

    Raises:
        ValueError: if an attribute is out of range.

    References:
        "Fine-Tuning Language Models from Human Preferences" (OpenAI, 2019), arXiv:1909.08593,
        Section 2.2: ``e = clip(kl / target - 1, -0.2, 0.2)``, ``coef *= 1 + K e``, ``K = 0.1``.
        Its code, openai/lm-human-preferences, has ``K = n_steps / horizon`` with n_steps the
        batch size: ``error_clip=0.2``, ``rate=batch_size / horizon`` and no `fall` are it exactly.

    Differences from the paper:
        By default the error is clipped at 1 instead of 0.2, so `rate` alone is the greatest change
        per step. Near the target ``rate = K`` is the paper's controller; far from it this one
        moves up to five times as far (10 % a step where the paper moves 2 %). The paper's falls as
        fast as it rises.
    """

    coef: float
    target: float
    rate: float
    fall: float | None = None
    error_clip: float = 1.0

    def __post_init__(self) -> None:
        if not self.coef > 0.0:
            raise ValueError(f"coef must be positive (it only ever gets scaled), is {self.coef}")
        if not self.target > 0.0:
            raise ValueError(f"target must be positive, is {self.target}")
        if not 0.0 < self.rate < 1.0:
            raise ValueError(f"rate must lie in (0, 1), is {self.rate}")
        if self.fall is not None and not 0.0 <= self.fall < 1.0:
            raise ValueError(f"fall must lie in [0, 1), is {self.fall}")
        if not 0.0 < self.error_clip <= 1.0:
            raise ValueError(f"error_clip must lie in (0, 1], is {self.error_clip}")

    def update(self, kl_per_sequence: float) -> float:
        """Move the coefficient one step and return it.

        Args:
            kl_per_sequence: mean over the batch of the KL summed over a response's tokens, nats.
                A k1 estimate may be negative.

        Returns:
            The new `coef`.

        Raises:
            ValueError: if `kl_per_sequence` is NaN.
        """
        if math.isnan(kl_per_sequence):
            raise ValueError("kl_per_sequence is NaN: the policy has diverged")
        error = kl_per_sequence / self.target - 1.0
        error = min(max(error, -self.error_clip), self.error_clip)
        step = self.rate if error > 0.0 or self.fall is None else self.fall
        self.coef *= 1.0 + step * error
        return self.coef
