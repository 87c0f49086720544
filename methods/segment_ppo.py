"""Segment-level PPO: a reward for every sentence, learned from minimal edits (arXiv:2306.01693).

Between `fine_grained_ppo` and `token_ppo`: the same pairs (edit(y_l), y_l), the reward model read
at the end of each of a response's K sentences:

    R(tau) = (1/K) sum_k r_k,    L = -E[log sigma(R_edit - R_l)]

Rewards in PPO, for each token t of sentence k, which has len_k tokens, and b the KL coefficient,
whose term the trainer takes off:

    r_k / (K len_k) - b KL_t

Differences from the paper: one reward model learns all of the reward from comparisons of whole
responses; the paper trains one for each kind of error, on labelled segments. It pays r_k at the
segment's last token; here r_k is spread over the sentence and divided by K, so that a response's
rewards sum to its R(tau), as with the other granularities. r_k is normalised by the mean and std
that R(tau) has over SFT samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class SegmentPPO:
    """Segment reward model on edited pairs, then PPO."""

    name = "segment_ppo"

    class Options(Section):
        """None."""

    def __init__(self, options: SegmentPPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Edits -> segment reward model -> PPO."""
        reward_model = stages.reward_model(stages.edits(), granularity="segment")
        return stages.ppo(self, reward_model)

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[r_k / (K len_k)] (B, T), as the segment model pays it."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
