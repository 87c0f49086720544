"""Random batches for the property tests, and every masked function of `bench.rl` in one table."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from bench import rl

Outputs = tuple[Tensor, ...]


@dataclass
class Batch:
    """Three (B, T) tensors and a mask in which every row counts something."""

    x: tuple[Tensor, Tensor, Tensor]
    mask: Tensor


def random_batch(seed: int, rows: int, length: int) -> Batch:
    """Draw a float64 batch whose mask has gaps anywhere (left, right, inside)."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(3, rows, length, generator=generator, dtype=torch.float64)
    mask = torch.rand(rows, length, generator=generator) < 0.6
    always = torch.randint(length, (rows,), generator=generator)
    mask |= torch.arange(length) == always[:, None]
    return Batch((draws[0], draws[1], draws[2]), mask)


batches = st.builds(
    random_batch,
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 4),
    length=st.integers(1, 7),
)


def _sequence_rewards(x: Outputs, mask: Tensor) -> Outputs:
    scores = rl.masked_sum(x[1], mask, dim=1)
    return (rl.sequence_rewards(scores, mask),)


def _finished(x: Tensor, mask: Tensor) -> Tensor:
    """A bool a row, from counted elements only."""
    return rl.masked_sum(x, mask, dim=1) > 0


def _missing_eos(mode: rl.PenaltyMode) -> Callable[[Outputs, Tensor], Outputs]:
    return lambda x, m: (
        rl.missing_eos_penalty(x[0], m, _finished(x[1], m), penalty=0.5, mode=mode),
    )


def _divergence(x: Outputs, mask: Tensor) -> Outputs:
    """Rows that differ from their first or from their second token on."""
    first = torch.ones_like(mask[:, 0], dtype=torch.long)
    first[_finished(x[2], mask) | (mask.sum(1) < 2)] = 0
    return (
        rl.divergence_preference_loss(
            x[0], mask, x[1], mask, first, margins=rl.masked_sum(x[2], mask, dim=1)
        ),
    )


def _place_final_score(position: rl.ScorePosition) -> Callable[[Outputs, Tensor], Outputs]:
    return lambda x, m: rl.place_final_score(x[0], m, _finished(x[1], m), position)[:1]


# per token, each row on its own
ROW_FUNCTIONS: dict[str, Callable[[Outputs, Tensor], Outputs]] = {
    "sequence_rewards": _sequence_rewards,
    "token_rewards": lambda x, m: (rl.token_rewards(x[0], m),),
    "kl_penalised": lambda x, m: (rl.kl_penalised(x[0], x[1], m, kl_coef=0.1),),
    "gae": lambda x, m: rl.gae(x[0], x[1], m, gamma=0.9, gae_lambda=0.8),
    "macro_gae": lambda x, m: rl.macro_gae(x[0], x[1], x[2] > 0, m, gamma=0.9, gae_lambda=0.8),
    "attention_shares": lambda x, m: (rl.attention_shares(x[0], m),),
    "growth_of_mean": lambda x, m: (rl.growth_of_mean(x[0], m),),
    "token_label_rewards": lambda x, m: (rl.token_label_rewards(x[0], m, softmaxes=2),),
    "segment_rewards": lambda x, m: (rl.segment_rewards(x[0], x[1] > 0, m),),
    "segment_label_rewards": lambda x, m: (
        rl.segment_label_rewards(x[0], x[1] > 0, m, value=0.3) * rl.token_rewards(x[0], m),
    ),
    "segments_with": lambda x, m: (
        rl.segments_with(x[0] > 0, x[1] > 0, m).to(x[0].dtype) * rl.token_rewards(x[0], m),
    ),
    "missing_eos_penalty_subtract": _missing_eos("subtract"),
    "missing_eos_penalty_replace": _missing_eos("replace"),
    "place_final_score_last": _place_final_score("last"),
    "place_final_score_eos": _place_final_score("eos"),
}
# per token, with statistics of the whole batch
BATCH_FUNCTIONS: dict[str, Callable[[Outputs, Tensor], Outputs]] = {
    "whiten": lambda x, m: (rl.whiten(x[0], m),),
    "whiten_keep_mean": lambda x, m: (rl.whiten(x[0], m, shift_mean=False),),
    "whiten_unbiased": lambda x, m: (rl.whiten(x[0], m, unbiased=True),),
}
# scalars: means over tokens
TOKEN_MEANS: dict[str, Callable[[Outputs, Tensor], Outputs]] = {
    "masked_mean": lambda x, m: (rl.masked_mean(x[0], m),),
    "ppo_policy_loss": lambda x, m: (rl.ppo_policy_loss(x[0], x[1], x[2], m, clip_range=0.2),),
    "ppo_value_loss": lambda x, m: (rl.ppo_value_loss(x[0], x[1], x[2], m, clip_range=0.2),),
}
# scalars of other kinds
SCALARS: dict[str, Callable[[Outputs, Tensor], Outputs]] = {
    "masked_sum": lambda x, m: (rl.masked_sum(x[0], m),),
    "explained_variance": lambda x, m: (rl.explained_variance(x[0], x[1], m),),
    "token_preference_loss": lambda x, m: (rl.token_preference_loss(x[0], m, x[1], m),),
    "token_preference_loss_changed": lambda x, m: (
        rl.token_preference_loss(x[0], m, x[1], m, x[2].abs() > 1, x[2] > 0),
    ),
    "divergence_preference_loss": _divergence,
    "token_label_loss": lambda x, m: (
        rl.token_label_loss(x[0], m, x[1], m, x[2].abs() > 1, x[2] > 0),
    ),
    "figa_loss": lambda x, m: (
        rl.figa_loss(
            x[0], m, x[1], m, x[2].abs() > 1, x[2] > 0, learn=1.0, unlearn=0.5, threshold=0.6
        ),
    ),
    "segment_places": lambda x, m: (
        rl.masked_sum(x[0] * rl.segment_places(x[1] > 0, m)[0].to(x[0].dtype), m),
    ),
    "segment_label_loss": lambda x, m: (
        rl.segment_label_loss(x[0], x[2].abs() > 1, x[2] > 0, x[1] > 0, m),
    ),
    "segment_score": lambda x, m: (rl.segment_score(x[0], x[1] > 0, m).square().sum(),),
}
# scalars without a gradient
STATISTICS: dict[str, Callable[[Outputs, Tensor], Outputs]] = {
    "segment_label_accuracy": lambda x, m: (
        rl.segment_label_accuracy(x[0], x[2].abs() > 1, x[2] > 0, x[1] > 0, m),
    ),
    "ratio_statistics": lambda x, m: tuple(
        rl.ratio_statistics(x[0], x[1], m, clip_range=0.2).values()
    ),
    "payments": lambda x, m: (rl.payments(x[0].round(), m),),
}
PER_TOKEN = ROW_FUNCTIONS | BATCH_FUNCTIONS
DIFFERENTIABLE = PER_TOKEN | TOKEN_MEANS | SCALARS
ALL = DIFFERENTIABLE | STATISTICS
