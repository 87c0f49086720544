"""Pure tensor maths of RLHF: no I/O, no configuration, no logging, no in-place changes.

Shapes, one legend for the whole project:

    B   batch: responses (or preference pairs) handled together
    T   response tokens, padded to the longest response of the batch
    S   prompt + response tokens
    V   vocabulary
    K   responses ranked for one prompt

``mask (B, T)`` is bool and True = counts. What stands at a position that does not count,
NaN and infinity included, reaches neither a result nor a gradient. Float tensors are float32 or
float64; half precision is refused, because sums over tokens and log-probability ratios lose their
meaning in it (`token_logprobs` and `entropy` take half-precision logits and answer in float32).
Log-probabilities, KL and entropy are in nats.

Every function checks the shapes it is given and raises ``ValueError`` with both shapes; nothing
broadcasts silently.
"""

from bench.rl.advantages import explained_variance, gae, whiten
from bench.rl.credit import attention_shares, growth_of_mean
from bench.rl.groups import group_standardised, leave_one_out
from bench.rl.kl import (
    AdaptiveKLController,
    FixedKLController,
    KLKind,
    best_of_n_kl_bound,
    forward_kl,
    kl_estimate,
)
from bench.rl.logprobs import entropy, token_logprobs
from bench.rl.macro_actions import macro_gae
from bench.rl.masking import masked_mean, masked_sum
from bench.rl.offline_losses import dpo_loss, figa_loss, rrhf_loss, tdpo_loss
from bench.rl.policy_losses import ppo_policy_loss, ppo_value_loss, ratio_statistics
from bench.rl.preference_losses import (
    bradley_terry_loss,
    divergence_preference_loss,
    ranking_loss,
    token_preference_loss,
)
from bench.rl.rewards import (
    PenaltyMode,
    ScorePosition,
    kl_penalised,
    missing_eos_penalty,
    payments,
    place_final_score,
    sequence_rewards,
    token_rewards,
)
from bench.rl.segment_labels import (
    segment_label_accuracy,
    segment_label_loss,
    segment_label_rewards,
    segments_with,
)
from bench.rl.segments import segment_places, segment_rewards, segment_score
from bench.rl.token_labels import token_label_loss, token_label_rewards

__all__ = [
    "AdaptiveKLController",
    "FixedKLController",
    "KLKind",
    "PenaltyMode",
    "ScorePosition",
    "attention_shares",
    "best_of_n_kl_bound",
    "bradley_terry_loss",
    "divergence_preference_loss",
    "dpo_loss",
    "entropy",
    "explained_variance",
    "figa_loss",
    "forward_kl",
    "gae",
    "group_standardised",
    "growth_of_mean",
    "kl_estimate",
    "kl_penalised",
    "leave_one_out",
    "macro_gae",
    "masked_mean",
    "masked_sum",
    "missing_eos_penalty",
    "payments",
    "place_final_score",
    "ppo_policy_loss",
    "ppo_value_loss",
    "ranking_loss",
    "ratio_statistics",
    "rrhf_loss",
    "segment_label_accuracy",
    "segment_label_loss",
    "segment_label_rewards",
    "segment_places",
    "segment_rewards",
    "segment_score",
    "segments_with",
    "sequence_rewards",
    "tdpo_loss",
    "token_label_loss",
    "token_label_rewards",
    "token_logprobs",
    "token_preference_loss",
    "token_rewards",
    "whiten",
]
