"""Best-of-n: of n responses of the SFT model the one that scores highest (arXiv:2305.14387).

Nothing is trained but what scores. With R the score of a response y_i to the prompt x:

    y = y_k,  k = argmax_i R(x, y_i),  y_1, ..., y_n ~ pi_SFT(y|x)

How much of a method's gain is the reward model's, and how much is training's, shows beside it: it
maximises the score of `ppo_rlhf` (`reward.by=pairs`), of `fine_grained_ppo` (`edits`) or of
`token_ppo` (`token`) without moving the policy. With the suite's gold score (`gold`) it is the most
that n draws of the SFT model can give.

Each of `evaluation.samples` responses is the best of n draws of its own, at
`evaluation.temperature`; with n = 1 they are `sft`'s, to the token. There are no greedy ones, since
n greedy responses are all the same. Its KL to the SFT model is not known, as the probability of a
best response is not: the record has what it is at most, kl_bound = log n - (n - 1) / n
(`bench.rl.best_of_n_kl_bound`). That is to the SFT model at `evaluation.temperature`; the metric kl
of the other methods is measured at temperature 1.

Checked against the authors' code (tatsu-lab/alpaca_farm, commit 30717dd: examples/best_of_n.py and
`rerank_sequences_with_huggingface`; n is 16 in its README), the bound against the abstract of
arXiv:2401.01879. The method is older: arXiv:2009.01325, 2112.09332.

Differences from there: responses are drawn at `evaluation.temperature`, as for every method here (1
in best_of_n.py); R is normalised, which moves no argmax; of equal scores the first is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.stages.scorers import BestOfOptions, best_of

if TYPE_CHECKING:
    from bench.stages.planned_best import BestOf
    from bench.stages.planning import Stages


class BestOfN:
    """The best of n responses of the SFT model."""

    name = "best_of_n"

    Options = BestOfOptions

    def __init__(self, options: BestOfOptions) -> None:
        self.options = options

    def plan(self, stages: Stages) -> BestOf:
        """What scores -> the best of n."""
        return best_of(stages, self.options)
