"""Expert iteration: the best of n responses to each training prompt, imitated (arXiv:2305.14387).

`best_of_n` on the prompts that PPO trains on (`ppo.prompts`), then supervised learning from the SFT
model on what was kept, which is cross-entropy over the N tokens of a batch's responses:

    y_i = argmax_k R(x_i, y_ik),  y_i1, ..., y_in ~ pi_SFT(y|x_i)
    L = -(1/N) sum_i sum_t log pi(y_it | x_i, y_i<t)

Beside `best_of_n` it says how much of choosing the policy can learn, at the cost of one draw later;
beside `ppo_rlhf`, what a policy gradient adds to the same scores.

Responses are drawn with PPO's temperature and limits; budget, learning rate and validation are
those of every policy without a rollout (section `offline`). It draws n times `ppo.prompts`
responses, more than PPO's steps do in the presets (docs/methods.md has the counts).

Checked against the authors' code (tatsu-lab/alpaca_farm, commit 30717dd: its README, where n is 16
on the split "unlabeled", and examples/scripts/expiter.sh, which runs the SFT script from the SFT
model, 3 epochs at 2e-5, once).

Differences from there: an adapter on the SFT model instead of all weights, and a checkpoint chosen
as for every method here; a response keeps the ids that were drawn, and one that did not end is
imitated without an EOS. As there, there is one round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.stages.scorers import BestOfOptions, best_of

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class ExpertIteration:
    """The best of n responses of the SFT model, then a policy that imitates them."""

    name = "expert_iteration"

    Options = BestOfOptions

    def __init__(self, options: BestOfOptions) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """What scores -> the best of n to each prompt -> policy."""
        return stages.imitation(stages.best_responses(best_of(stages, self.options)))
