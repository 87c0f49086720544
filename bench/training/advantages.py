"""By how much each token was better than expected: the built-in ways, by name in ADVANTAGES.

What they give is whitened as `ppo.whiten_advantages` says, for every way alike. Rewards are summed
over the states and not over the tokens: one may stand behind EOS (`ppo.score_position`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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
class _OfResponses(ABC):
    """A response is one action, which the others to its prompt are the baseline of.

    Attributes:
        config: whether advantages are whitened.
        samples: responses to a prompt.
    """

    config: PPOConfig
    samples: int
    uses_value = False

    @abstractmethod
    def advantages(self, scores: Tensor) -> Tensor:
        """(B,) of the responses' scores (B,)."""

    def estimate(self, rewards: Rewards, values: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """(B, T) each: every token has its response's advantage; there is no value to learn."""
        scores = masked_sum(rewards.total, rewards.states, dim=1)
        mask = rollout.batch.mask
        spread = self.advantages(scores).unsqueeze(1).expand(mask.shape)
        return whitened(spread, mask, self.config), torch.zeros_like(rewards.total)


class LeaveOneOut(_OfResponses):
    """Each response against the others to its prompt (RLOO, arXiv:2402.14740)."""

    def advantages(self, scores: Tensor) -> Tensor:
        """(B,); see `bench.rl.leave_one_out`."""
        return leave_one_out(scores, self.samples)


class Group(_OfResponses):
    """Each response standardised within those to its prompt (GRPO, arXiv:2402.03300)."""

    def advantages(self, scores: Tensor) -> Tensor:
        """(B,); see `bench.rl.group_standardised`."""
        return group_standardised(scores, self.samples)
