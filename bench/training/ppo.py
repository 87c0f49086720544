"""PPO with a reward at every token as the one contract; a sequence reward is the special case.

One step: sample a response to each prompt, score it, take the KL penalty off, estimate advantages,
and update policy and value on minibatches (arXiv:1707.06347; arXiv:2203.02155, Section 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.config import LoRAConfig, PPOConfig
from bench.models.backbone import Backbone
from bench.models.heads import ScalarHead, ValueModel, map_rows
from bench.models.rollout import Sampling, sample
from bench.models.sequences import Sequences
from bench.rl import (
    AdaptiveKLController,
    FixedKLController,
    explained_variance,
    gae,
    kl_estimate,
    masked_mean,
    masked_sum,
    ppo_policy_loss,
    ppo_value_loss,
    token_logprobs,
    whiten,
)
from bench.training.optimisation import adamw, finite, generator, step

POLICY, VALUE = "policy", "value"


@dataclass(frozen=True)
class Rollout:
    """Responses that the policy drew.

    Attributes:
        prompts, outputs: (B,) texts.
        batch: their tokens.
        finished: (B,) bool, True = the response ends in EOS.
    """

    prompts: list[str]
    outputs: list[str]
    batch: Sequences
    finished: Tensor


class RewardSource(Protocol):
    """Scores a rollout: (B,) one a response, or (B, T) one a token; reward units, no KL."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """Score the rollout."""
        ...


class Assign(Protocol):
    """A method's reward: scores and KL to a reward at every token (B, T)."""

    def __call__(self, scores: Tensor, kl: Tensor, mask: Tensor, *, kl_coef: float) -> Tensor:
        """Spread the scores."""
        ...


@dataclass
class Best:
    """The checkpoint with the highest validation score so far."""

    score: float = float("-inf")
    step: int = 0
    weights: list[Tensor] | None = None


@dataclass(frozen=True)
class Experience:
    """A rollout with everything that an update needs; all (B, T) but the batch itself."""

    batch: Sequences
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class PPO:
    """Trains adapter "policy" (and "value") on a reward.

    Args:
        backbone: the SFT model; the reference is its base, adapters off.
        prompts: texts that are cycled through in shuffled order.
        source: scores responses.
        assign: spreads scores and KL over the tokens.
        value: where the value function starts; its adapter is named "value".
        config: hyperparameters, the same for every method.
        lora: shape of the policy's adapter.
        seed: source of all draws.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompts: Sequence[str],
        source: RewardSource,
        assign: Assign,
        value: ValueModel,
        config: PPOConfig,
        lora: LoRAConfig,
        seed: int,
    ) -> None:
        self.backbone, self.value, self.config = backbone, value, config
        self.source, self.assign = source, assign
        self.prompts = list(prompts)
        self.prompt_ids = [backbone.tokens.prompt(text) for text in prompts]
        torch.manual_seed(seed)
        backbone.add_adapter(POLICY, lora)
        self.policy_parameters = backbone.parameters(POLICY)
        self.value_parameters = [*backbone.parameters(VALUE), *value.head.parameters()]
        self.policy_optimiser = adamw([(self.policy_parameters, config.lr)])
        self.value_optimiser = adamw([(self.value_parameters, config.value_lr)])
        self.rng = generator("ppo", seed)
        self.controller = _controller(config)
        self.queue: list[int] = []
        self.done = -config.value_warmup_steps
        self.tokens = 0
        self.best = Best()

    def run(
        self,
        validate: Callable[[], dict[str, float]],
        on_row: Callable[[dict[str, float]], None],
        on_checkpoint: Callable[[dict[str, Any]], None] = lambda state: None,
    ) -> Best:
        """Train to `config.steps`; the policy adapter ends as the best checkpoint.

        Args:
            validate: judges the policy as it is; its "score" chooses the checkpoint.
            on_row: called with the metrics of every step.
            on_checkpoint: called after every validation with what `restore` takes.

        Raises:
            Diverged: if a loss is not finite.
        """
        if self.best.weights is None:
            on_row({"step": 0, **self._validate(validate, 0)})
        while self.done < self.config.steps:
            row = self.step()
            self.done += 1
            if self.done > 0:
                due = self.done % self.config.eval_every == 0 or self.done == self.config.steps
                row |= self._validate(validate, self.done) if due else {}
                on_row({"step": self.done, **row})
                if due:
                    on_checkpoint(self.state())
        _set(self.policy_parameters, self.best.weights or [])
        return self.best

    def _validate(self, validate: Callable[[], dict[str, float]], step: int) -> dict[str, float]:
        scores = validate()
        if scores["score"] > self.best.score:
            weights = [p.detach().clone() for p in self.policy_parameters]
            self.best = Best(scores["score"], step, weights)
        return {f"validation_{name}": value for name, value in scores.items()}

    def step(self) -> dict[str, float]:
        """One round of rollout and update; only the value learns while `done` is below 0."""
        rollout = self.rollout()
        kl_coef = self.controller.coef
        experience, metrics = self.experience(rollout, kl_coef)
        metrics |= self.update(experience, policy=self.done >= 0)
        if self.done >= 0:
            self.controller.update(metrics["kl"])
        self.tokens += int(rollout.batch.mask.sum())
        return metrics | {"kl_coef": kl_coef, "tokens": self.tokens}

    def rollout(self) -> Rollout:
        """Sample one response to each of the next prompts."""
        config, tokens = self.config, self.backbone.tokens
        index = self._next_prompts()
        sampling = Sampling(config.max_new_tokens, config.temperature, config.batch_size)
        prompts = [self.prompt_ids[i] for i in index]
        responses = sample(self.backbone, POLICY, prompts, sampling, self.rng)
        batch = tokens.join(prompts, responses).to(self.backbone.device)
        finished = torch.tensor(
            [r[-1] == tokens.eos_id for r in responses], device=batch.ids.device
        )
        return Rollout(
            [self.prompts[i] for i in index], [tokens.text(r) for r in responses], batch, finished
        )

    def _next_prompts(self) -> list[int]:
        while len(self.queue) < self.config.batch_size:
            self.queue += torch.randperm(len(self.prompts), generator=self.rng).tolist()
        index, self.queue = (
            self.queue[: self.config.batch_size],
            self.queue[self.config.batch_size :],
        )
        return index

    def _logprobs(self, batch: Sequences, adapter: str | None) -> Tensor:
        return map_rows(
            lambda rows: self.backbone.logprobs(rows, adapter, self.config.temperature), batch
        )

    @torch.no_grad()
    def experience(self, rollout: Rollout, kl_coef: float) -> tuple[Experience, dict[str, float]]:
        """Rewards, advantages and returns of a rollout, and what to log of them."""
        config, batch, mask = self.config, rollout.batch, rollout.batch.mask
        logprobs = self._logprobs(batch, POLICY)
        kl = kl_estimate(logprobs, self._logprobs(batch, None), config.kl_kind)
        values = map_rows(self.value.values, batch)
        scores = self.source(rollout)
        rewards = self.assign(scores, kl, mask, kl_coef=kl_coef)
        rewards = rewards - self._unfinished_penalty(rollout)
        advantages, returns = gae(
            rewards, values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        if config.whiten_advantages:
            advantages = whiten(advantages, mask)
        earned = masked_sum(rewards + kl_coef * kl, mask, dim=1)
        metrics = {
            "kl": masked_sum(kl, mask, dim=1).mean().item(),
            "reward": earned.mean().item(),
            "reward_mass": masked_sum((rewards + kl_coef * kl).abs(), mask, dim=1).mean().item(),
            "length": batch.lengths.float().mean().item(),
            "finished": rollout.finished.float().mean().item(),
            "explained_variance": float(explained_variance(values, returns, mask)),
        }
        return Experience(batch, logprobs, values, advantages, returns), metrics

    def _unfinished_penalty(self, rollout: Rollout) -> Tensor:
        """(B, T): the penalty on the last token of every response without EOS."""
        last = rollout.batch.lengths - 1
        penalty = torch.zeros(rollout.batch.mask.shape, device=last.device)
        amount = self.config.missing_eos_penalty * (~rollout.finished).float()
        return penalty.scatter(1, last.unsqueeze(1), amount.unsqueeze(1))

    def update(self, experience: Experience, *, policy: bool) -> dict[str, float]:
        """Optimise on minibatches; returns the means of what was measured on them."""
        rows: list[dict[str, float]] = []
        for _ in range(self.config.epochs):
            order = torch.randperm(len(experience.batch), generator=self.rng)
            for index in order.split(self.config.minibatch_size):
                part = _take(experience, index)
                row = self._update_value(part)
                if policy:
                    row |= self._update_policy(part)
                rows.append(row)
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def _update_policy(self, part: Experience) -> dict[str, float]:
        config, mask = self.config, part.batch.mask
        logits = self.backbone.logits(part.batch, POLICY).float() / config.temperature
        logprobs = token_logprobs(logits, part.batch.responses)
        loss = ppo_policy_loss(
            logprobs, part.logprobs, part.advantages, mask, clip_range=config.clip_range
        )
        finite(loss, "the policy loss").backward()
        norm = step(self.policy_optimiser, self.policy_parameters, config.max_grad_norm)
        with torch.no_grad():
            ratio = (logprobs - part.logprobs).exp()
            clipped = ((ratio - 1).abs() > config.clip_range).float()
            return {
                "policy_loss": loss.item(),
                "clip_fraction": masked_mean(clipped, mask).item(),
                "approx_kl": masked_mean(kl_estimate(part.logprobs, logprobs, "k3"), mask).item(),
                "policy_grad_norm": norm,
            }

    def _update_value(self, part: Experience) -> dict[str, float]:
        config = self.config
        loss = ppo_value_loss(
            self.value.values(part.batch),
            part.values,
            part.returns,
            part.batch.mask,
            clip_range=config.value_clip_range,
        )
        finite(loss, "the value loss").backward()
        norm = step(self.value_optimiser, self.value_parameters, config.max_grad_norm)
        return {"value_loss": loss.item(), "value_grad_norm": norm}

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on exactly here."""
        return {
            "policy": [p.detach() for p in self.policy_parameters],
            "value": [p.detach() for p in self.value_parameters],
            "policy_optimiser": self.policy_optimiser.state_dict(),
            "value_optimiser": self.value_optimiser.state_dict(),
            "rng": self.rng.get_state(),
            "coef": self.controller.coef,
            "queue": self.queue,
            "done": self.done,
            "tokens": self.tokens,
            "best": vars(self.best),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the numbers that follow are those of an uninterrupted run."""
        _set(self.policy_parameters, state["policy"])
        _set(self.value_parameters, state["value"])
        self.policy_optimiser.load_state_dict(state["policy_optimiser"])
        self.value_optimiser.load_state_dict(state["value_optimiser"])
        self.rng.set_state(state["rng"])
        self.controller.coef = state["coef"]
        self.queue, self.done, self.tokens = state["queue"], state["done"], state["tokens"]
        self.best = Best(**state["best"])


def new_value(backbone: Backbone, lora: LoRAConfig, adapter: str | None, seed: int) -> ValueModel:
    """A value function that starts at 0 everywhere, from adapter `adapter` where there is one.

    The head starts at 0, so that every method's value starts equal whatever its reward's scale.
    """
    torch.manual_seed(seed)
    backbone.add_adapter(VALUE, lora)
    if adapter is not None:
        backbone.copy_adapter(adapter, VALUE)
    return ValueModel(backbone, VALUE, ScalarHead(backbone.hidden_size, zero=True))


def _controller(config: PPOConfig) -> AdaptiveKLController | FixedKLController:
    if config.kl_rate == 0:
        return FixedKLController(config.kl_coef)
    return AdaptiveKLController(config.kl_coef, config.kl_target, config.kl_rate, config.kl_fall)


def _take(experience: Experience, index: Tensor) -> Experience:
    """The rows in `index`, every tensor cut to the response columns that they need."""
    batch = experience.batch.rows(index)
    width = batch.mask.shape[1]
    return Experience(
        batch,
        *(
            x[index, :width]
            for x in (
                experience.logprobs,
                experience.values,
                experience.advantages,
                experience.returns,
            )
        ),
    )


@torch.no_grad()
def _set(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
