"""By how much each token was better than expected: the built-in ways, by name in ADVANTAGES.

What they give is whitened as `ppo.whiten_advantages` says, for every way alike. Rewards are summed
over the states and not over the tokens: one may stand behind EOS (`ppo.score_position`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.rl import gae, group_standardised, leave_one_out, macro_gae, masked_sum
from bench.training.experience import whitened

if TYPE_CHECKING:
    from bench.config.run import PPOConfig
    from bench.training.experience import Rewards, Rollout


@dataclass(frozen=True)
class GAE:
    """Generalised advantage estimation over tokens (arXiv:1506.02438)."""

    config: PPOConfig
    uses_value = True
    samples = 1

    def estimate(self, rewards: Rewards, values: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """(B, T) each; over the states, so that a score behind EOS reaches the tokens before it."""
        config = self.config
        advantages, returns = gae(
            rewards.total, values, rewards.states, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        return whitened(advantages, rollout.batch.mask, config), returns


@dataclass(frozen=True)
class MacroGAE:
    """The same over macro actions of n tokens (MA-RLHF, arXiv:2410.02743); see `macro_gae`."""

    config: PPOConfig
    n: int
    uses_value = True
    samples = 1

    def estimate(self, rewards: Rewards, values: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """(B, T) each."""
        config, states = self.config, rewards.states
        place = torch.arange(1, states.shape[1] + 1, device=states.device)
        advantages, returns = macro_gae(
            rewards.total,
            values,
            (place % self.n == 0).expand(states.shape),
            states,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )
        return whitened(advantages, rollout.batch.mask, config), returns


@dataclass(frozen=True)
class Values:
    """Rewards read as values of actions, Z: A_t = Z_t - c V_t, and V learns Z (arXiv:2505.23363).

    What is paid later has no part in it. With c = 1 it is GAE with gamma = 0.
    """

    config: PPOConfig
    c: float
    uses_value = True
    samples = 1

    def estimate(self, rewards: Rewards, values: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """(B, T) each."""
        states = rewards.states
        advantages = (rewards.total - self.c * values).masked_fill(~states, 0.0)
        return whitened(advantages, rollout.batch.mask, self.config), rewards.total


@dataclass(frozen=True)
class LeaveOneOut:
    """Each response against the others to its prompt (RLOO, arXiv:2402.14740)."""

    config: PPOConfig
    samples: int
    uses_value = False

    def estimate(self, rewards: Rewards, values: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """(B, T) each; every token of a response has the response's advantage."""
        scores = masked_sum(rewards.total, rewards.states, dim=1)
        return _of_responses(leave_one_out(scores, self.samples), rollout, self.config)


@dataclass(frozen=True)
class Group:
    """Each response standardised within those to its prompt (GRPO, arXiv:2402.03300)."""

    config: PPOConfig
    samples: int
    uses_value = False

    def estimate(self, rewards: Rewards, values: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """(B, T) each; every token of a response has the response's advantage."""
        scores = masked_sum(rewards.total, rewards.states, dim=1)
        return _of_responses(group_standardised(scores, self.samples), rollout, self.config)


def _of_responses(advantages: Tensor, rollout: Rollout, config: PPOConfig) -> tuple[Tensor, Tensor]:
    """(B, T) each of (B,) advantages; no value is there to learn the returns."""
    mask = rollout.batch.mask
    spread = advantages.unsqueeze(1).expand(mask.shape)
    return whitened(spread, mask, config), torch.zeros(mask.shape, device=mask.device)
