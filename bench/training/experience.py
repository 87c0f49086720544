"""What a rollout is worth: from what is paid, KL and values to rewards, advantages and returns.

Pure functions of tensors and the configuration; every choice that the field's implementations make
differently is one field of `PPOConfig` (docs/training.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.models.sequences import Sequences
from bench.rl import kl_penalised, missing_eos_penalty, place_final_score, whiten

if TYPE_CHECKING:
    from bench.config.run import PPOConfig
    from bench.models.backbone import Backbone
    from bench.models.rollout import Draw
    from bench.models.tokens import Tokens

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Rollout:
    """Responses that the policy drew.

    Attributes:
        prompts, outputs: (B,) texts.
        batch: their tokens.
        finished: (B,) bool, True = the response ends in EOS.
        logprobs: (B, T) of the tokens as they were drawn, nats; 0 at padding; NaN where an engine
            of `ppo.engine` gave none.
        entropies: (B, T) of the distributions that they were drawn from, nats; 0 at padding; None:
            an engine drew them that does not tell.
        values: (B, T) of the states that they were drawn in, where generation read them.
    """

    prompts: list[str]
    outputs: list[str]
    batch: Sequences
    finished: Tensor
    logprobs: Tensor
    entropies: Tensor | None
    values: Tensor | None = None

    @classmethod
    def of(
        cls,
        tokens: Tokens,
        prompts: Sequence[str],
        prompt_ids: Sequence[list[int]],
        responses: Sequence[list[int]],
        device: torch.device = CPU,
    ) -> Rollout:
        """A response to each prompt; nobody has told how likely it was: log-probabilities are 0.

        Args:
            tokens: of the model.
            prompts: (B,) texts.
            prompt_ids: (B,) the same as ids.
            responses: (B,) ids.
            device: where the tensors are.
        """
        batch = tokens.join(list(prompt_ids), list(responses)).to(device)
        return cls(
            prompts=list(prompts),
            outputs=[tokens.text(response) for response in responses],
            batch=batch,
            finished=torch.tensor([r[-1] in tokens.eos_ids for r in responses], device=device),
            logprobs=torch.zeros(batch.mask.shape, device=device),
            entropies=None,
        )

    @classmethod
    def drawn(
        cls,
        backbone: Backbone,
        prompts: Sequence[str],
        prompt_ids: Sequence[list[int]],
        drawn: Sequence[Draw],
        *,
        entropies: bool = True,
        values: bool = False,
    ) -> Rollout:
        """A response to each prompt, with what was told when it was drawn.

        Args:
            backbone: whose tokens they are.
            prompts: (B,) texts.
            prompt_ids: (B,) the same as ids.
            drawn: (B,) their responses.
            entropies: whether who drew them told the distributions' entropies.
            values: whether generation read values.
        """
        device, responses = backbone.device, [draw.ids for draw in drawn]

        def padded(rows: list[list[float]]) -> Tensor:
            """(B, T), 0 behind a row's end."""
            return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(device)

        return replace(
            cls.of(backbone.tokens, prompts, prompt_ids, responses, device),
            logprobs=padded([draw.logprobs for draw in drawn]),
            entropies=padded([draw.entropies for draw in drawn]) if entropies else None,
            values=padded([draw.values for draw in drawn]) if values else None,
        )


class Pay(Protocol):
    """What the tokens of a rollout are paid: (B, T) reward units, no KL, 0 at padding."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """Pay the rollout."""
        ...


@dataclass(frozen=True)
class Rewards:
    """What each token is paid; all (B, T).

    Attributes:
        total: `paid` less the KL penalty, whitened if the configuration says so: what GAE reads.
        paid: the method's rewards with the penalty for a missing EOS, never with the KL: what is
            logged as reward.
        states: bool, True = a state of the episode: the response tokens and, where the score is
            paid one later, the position behind them.
    """

    total: Tensor
    paid: Tensor
    states: Tensor


def reward_tokens(
    paid: Tensor,
    kl: Tensor,
    mask: Tensor,
    finished: Tensor,
    config: PPOConfig,
    kl_coef: float,
) -> Rewards:
    """Penalise a missing EOS, place the final score, take the KL off, whiten: in this order.

    Args:
        paid: (B, T) the method's rewards, reward units; 0 at padding.
        kl: (B, T) KL estimates, nats.
        mask: (B, T) True = a response token.
        finished: (B,) bool, True = ends in EOS.
        config: `missing_eos`, `score_position`, `kl_penalty`, `whiten_rewards` and their numbers.
        kl_coef: the coefficient now; with `kl_penalty: loss` the reward leaves the KL out.
    """
    penalty, mode = config.missing_eos_penalty, config.missing_eos
    # With first_pad the score is paid behind the response, where no token was drawn: no KL there.
    kl = kl.masked_fill(~mask, 0.0)
    kl_coef = 0.0 if config.kl_penalty == "loss" else kl_coef

    paid = missing_eos_penalty(paid, mask, finished, penalty=penalty, mode=mode)
    paid, states = place_final_score(paid, mask, finished, config.score_position)
    total = kl_penalised(paid, kl, states, kl_coef=kl_coef)
    total = _whitened_rewards(total, states, config)
    return Rewards(total, paid, states)


def _whitened_rewards(total: Tensor, states: Tensor, config: PPOConfig) -> Tensor:
    """`total` as it is, scaled to variance 1, or shifted to mean 0 as well."""
    if config.whiten_rewards == "no":
        return total
    return whiten(
        total,
        _counted(states, config),
        shift_mean=config.whiten_rewards == "shift",
        unbiased=config.whiten_unbiased,
    )


def whitened(advantages: Tensor, mask: Tensor, config: PPOConfig) -> Tensor:
    """(B, T) advantages, whitened over the tokens if `config.whiten_advantages` says so.

    Not over the states: nothing was decided behind EOS, where a score may be paid.
    """
    advantages = advantages.masked_fill(~mask, 0.0)
    if config.whiten_advantages:
        advantages = whiten(
            advantages, _counted(mask, config), unbiased=config.whiten_unbiased
        ).masked_fill(~mask, 0.0)
    return advantages


def _counted(mask: Tensor, config: PPOConfig) -> Tensor:
    return torch.ones_like(mask) if config.count_padding else mask


@dataclass(frozen=True)
class Experience:
    """A rollout with everything that an update needs; all (B, T) but the batch itself.

    Where the score is paid behind EOS, rows cut from it may have one more column of states,
    values and returns than of tokens.

    Attributes:
        batch: the tokens.
        states: bool, the states whose values are trained (see `Rewards`).
        logprobs, ref_logprobs: of the policy that drew the tokens, and of the reference, nats.
        values, advantages, returns: reward units.
    """

    batch: Sequences
    states: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, index: Tensor) -> Experience:
        """The rows in `index`, every tensor cut to the columns that they need."""
        # `batch.rows` drops the columns that are padding in all these rows, so the others have to;
        # states keep one more where the longest of the rows has its score behind EOS.
        batch, states = self.batch.rows(index), self.states[index]
        tokens, width = batch.mask.shape[1], int(states.any(dim=0).sum())
        return Experience(
            batch=batch,
            states=states[:, :width],
            logprobs=self.logprobs[index, :tokens],
            ref_logprobs=self.ref_logprobs[index, :tokens],
            advantages=self.advantages[index, :tokens],
            values=self.values[index, :width],
            returns=self.returns[index, :width],
        )
