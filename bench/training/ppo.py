"""PPO with a reward at every token as the one contract; a sequence reward is the special case.

One step: sample a response to each prompt, score it, take the KL penalty off, estimate advantages,
and update policy and value on minibatches (arXiv:1707.06347; arXiv:2203.02155, Section 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.models.backbone import Backbone
from bench.models.heads import RewardModel, ScalarHead, ValueModel, map_rows
from bench.models.names import POLICY, VALUE
from bench.models.rollout import Sampling
from bench.models.sequences import Sequences, repeat_share
from bench.plugins.targets import import_target
from bench.rl import (
    AdaptiveKLController,
    FixedKLController,
    explained_variance,
    kl_estimate,
    masked_mean,
    masked_sum,
    payments,
)
from bench.training.advantages import GAE
from bench.training.best import Best
from bench.training.experience import Experience, Pay, Rollout, reward_tokens
from bench.training.optimisation import generator, set_values
from bench.training.samplers import sampler_of
from bench.training.updates import Demonstrations, Learner

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig, PPOConfig
    from bench.plugins.protocols import Advantage, TrainingInputs


class PPO:
    """Trains adapter "policy" (and "value") on a reward.

    Args:
        backbone: the SFT model; the reference is its base, adapters off.
        prompts: texts that are cycled through in shuffled order.
        pay: what each token of a response is paid, the KL penalty apart.
        value: where the value function starts (`new_value`); None: the advantage uses none.
        config: hyperparameters, the same for every method.
        lora: shape of the policy's adapter.
        seed: source of all draws.
        demonstrations: (prompt ids, response ids), for PPO-ptx.
        advantage: by how much each token was better than expected; None: GAE.

    Raises:
        ValueError: a step's responses are no whole number of the groups that are compared.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompts: Sequence[str],
        pay: Pay,
        value: ValueModel | None,
        config: PPOConfig,
        lora: LoRAConfig,
        seed: int,
        demonstrations: Demonstrations = (),
        advantage: Advantage | None = None,
    ) -> None:
        self.backbone, self.value, self.config = backbone, value, config
        self.advantage = advantage or GAE(config)
        if config.batch_size % self.advantage.samples:
            raise ValueError(
                f"{config.batch_size} responses are no groups of {self.advantage.samples}"
            )
        self.pay = pay
        self.prompts = list(prompts)
        self.prompt_ids = [backbone.tokens.prompt(text) for text in prompts]
        torch.manual_seed(seed)  # PEFT draws a new adapter's weights from the global generator
        backbone.add_adapter(POLICY, lora)
        self.rng = generator("ppo", seed)
        self.learner = Learner(backbone, value, config, demonstrations, self.rng)
        self.sampler = sampler_of(backbone, config)
        self.controller = _controller(config)
        self.queue: list[int] = []  # what is left of the present shuffle of all prompts
        # Policy steps so far; below 0 while the value warms up, which are no steps to users.
        self.done = -config.value_warmup_steps if value is not None else 0
        self.tokens = 0
        self.best = Best()

    def run(
        self,
        validate: Callable[[], dict[str, float]],
        on_row: Callable[[dict[str, float]], None],
        on_checkpoint: Callable[[dict[str, Any]], None] = lambda state: None,
    ) -> Best:
        """Train to `config.steps`; policy and value end as the best checkpoint.

        Args:
            validate: measures the policy as it is; its "score" chooses the checkpoint, and without
                one the last is kept.
            on_row: called with the metrics of every step.
            on_checkpoint: called after every validation with what `restore` takes.

        Raises:
            Diverged: if a loss is not finite.
        """
        if self.best.weights is None:  # a run that goes on has been validated before
            on_row({"step": 0, **self._look(validate)})
        while self.done < self.config.steps:
            row = self.step()
            self.done += 1
            if self.done > 0:
                due = self.done % self.config.eval_every == 0 or self.done == self.config.steps
                row |= self._look(validate) if due else {}
                on_row({"step": self.done, **row})
                if due:
                    on_checkpoint(self.state())
        set_values(self.learner.parameters, self.best.weights or [])
        return self.best

    def _look(self, validate: Callable[[], dict[str, float]]) -> dict[str, float]:
        return self.best.look(validate(), max(0, self.done), self.learner.parameters)

    def save_value(self, folder: Path) -> None:
        """Write the value function as it is, after `run` that of the checkpoint, if there is one.

        `bench credit` reads it.
        """
        if self.value is not None:
            self.value.save(folder)

    def step(self) -> dict[str, float]:
        """One round of rollout and update; only the value learns while `done` is below 0."""
        rollout = self.rollout()
        kl_coef = self.controller.coef  # of this step: what its KL teaches counts from the next
        experience, metrics = self.experience(rollout, kl_coef)
        metrics |= self.update(experience, policy=self.done >= 0)
        if self.done >= 0:
            self.controller.update(metrics["kl"])
        self.tokens += int(rollout.batch.mask.sum())
        return metrics | {"kl_coef": kl_coef, "tokens": self.tokens}

    def update(self, experience: Experience, *, policy: bool) -> dict[str, float]:
        """Optimise on minibatches; returns the means of what was measured on them."""
        # Still this step's coefficient: the controller is updated afterwards.
        return self.learner.update(
            experience, policy=policy, done=self.done, kl_coef=self.controller.coef
        )

    def rollout(self) -> Rollout:
        """Sample responses to the next prompts."""
        config, index = self.config, self._next_prompts()
        sampling = Sampling(
            config.max_new_tokens,
            config.temperature,
            batch_size=config.rollout_batch_size or config.batch_size,
            merge=config.merge_rollouts,
        )
        value = self.value
        read = value.read if value is not None and self._values_from_generation() else None
        asked = [self.prompt_ids[i] for i in index]
        return Rollout.drawn(
            self.backbone,
            [self.prompts[i] for i in index],
            asked,
            self.sampler.draw(asked, POLICY, sampling, self.rng, read),
            entropies=config.engine == "ours",  # a server tells neither entropies nor values
            values=read is not None,
        )

    def _next_prompts(self) -> list[int]:
        """Prompts of `batch_size` responses, each as often as its responses are compared."""
        samples = self.advantage.samples
        n = self.config.batch_size // samples
        while len(self.queue) < n:
            self.queue += torch.randperm(len(self.prompts), generator=self.rng).tolist()
        index, self.queue = self.queue[:n], self.queue[n:]
        return [i for i in index for _ in range(samples)]

    def _logprobs(self, batch: Sequences, adapter: str | None) -> Tensor:
        return map_rows(
            lambda rows: self.backbone.logprobs(rows, adapter, self.config.temperature), batch
        )

    @property
    def keeps_logprobs(self) -> bool:
        """Whether generation's own log-probabilities are the old ones of the updates.

        In half precision they differ from a second pass by more than rounding. Another engine's
        never are: its kernels are not those that the updates' ratios are computed with.
        """
        kept = self.config.rollout_logprobs
        if self.config.engine != "ours":
            return False
        exact = self.backbone.model.dtype == torch.float32
        return exact if kept == "auto" else kept == "generation"

    def _values_from_generation(self) -> bool:
        """On a shared trunk they cost nothing; the state behind EOS generation does not visit."""
        shared, behind = self.learner.shared, self.config.score_position == "first_pad"
        return shared and self.keeps_logprobs and not behind

    @torch.no_grad()
    def experience(self, rollout: Rollout, kl_coef: float) -> tuple[Experience, dict[str, float]]:
        """Rewards, advantages and returns of a rollout, and what to log of them."""
        config, batch, mask = self.config, rollout.batch, rollout.batch.mask
        # What the policy and the reference say of the tokens that were drawn. The policy has not
        # moved since, so generation's own numbers save a pass, where they are exact enough.
        reference = self._logprobs(batch, None)
        logprobs = rollout.logprobs if self.keeps_logprobs else self._logprobs(batch, POLICY)
        kl = kl_estimate(logprobs, reference, config.kl_kind)
        # V of the state *before* each token, hence T of the T + 1 states. The one behind the
        # longest response is left out; behind a shorter one it stands in a column of padding,
        # which is where a score that is paid one position later finds it.
        values = rollout.values
        if self.value is None:
            values = torch.zeros_like(kl)
        elif values is None:
            values = map_rows(self.value.states, batch, columns=1)[:, :-1]
        paid = self.pay(rollout)
        rewards = reward_tokens(paid, kl, mask, rollout.finished, config, kl_coef)
        advantages, returns = self.advantage.estimate(rewards, values, rollout)
        # Rewards are summed over the states and not over the tokens: one may stand behind EOS.
        # Of an engine that tells no entropies, what it drew does, though less exactly: the mean of
        # -log pi(a) over draws a of pi is the entropy of pi.
        entropies = -logprobs if rollout.entropies is None else rollout.entropies
        metrics = {
            "kl": masked_sum(kl, mask, dim=1).mean().item(),
            "reward": masked_sum(rewards.paid, rewards.states, dim=1).mean().item(),
            "reward_mass": masked_sum(rewards.paid.abs(), rewards.states, dim=1).mean().item(),
            "payments": payments(paid, mask).mean().item(),
            "length": batch.lengths.float().mean().item(),
            "repeat_share": fmean(map(repeat_share, batch.response_ids)),
            "finished": rollout.finished.float().mean().item(),
            "entropy": masked_mean(entropies, mask).item(),
        }
        if self.value is not None:
            explained = explained_variance(values, returns, rewards.states)
            metrics["explained_variance"] = float(explained)
        if config.engine != "ours":
            metrics |= engine_gap(rollout.logprobs, logprobs, mask)
        return Experience(
            batch, rewards.states, logprobs, reference, values, advantages, returns
        ), metrics

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on exactly here."""
        return self.learner.state() | {
            "rng": self.rng.get_state(),
            "coef": self.controller.coef,
            "queue": self.queue,
            "done": self.done,
            "tokens": self.tokens,
            "best": vars(self.best),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the numbers that follow are those of an uninterrupted run."""
        self.learner.restore(state)
        self.rng.set_state(state["rng"].cpu())
        self.controller.coef = state["coef"]
        self.queue, self.done, self.tokens = state["queue"], state["done"], state["tokens"]
        self.best = Best(**state["best"])


def make_ppo(inputs: TrainingInputs) -> PPO:
    """The algorithm "ppo" of the registry; its options are a `PPOConfig`."""
    backbone, config = inputs.backbone, inputs.options
    advantage: Advantage = GAE(config)
    if inputs.advantage is not None:
        target, options = inputs.advantage
        advantage = import_target(target)(config, **options)
    value = None
    if advantage.uses_value:
        value = new_value(backbone, inputs.lora, inputs.reward_model, inputs.seed, config)
    return PPO(
        backbone,
        inputs.prompts,
        inputs.pay,
        value,
        config,
        inputs.lora,
        inputs.seed,
        inputs.demonstrations,
        advantage,
    )


def new_value(
    backbone: Backbone,
    lora: LoRAConfig,
    reward_model: RewardModel | None,
    seed: int,
    config: PPOConfig,
) -> ValueModel:
    """A value function as `value_model` and `value_init` say.

    Its head starts at 0, so that every method's value starts equal whatever its reward's scale,
    but where `value_init` is "reward_model": there it starts as that model's normalised output.

    Args:
        backbone: the SFT model.
        lora: shape of the value's own adapter.
        reward_model: what the value may start from.
        seed: of new weights.
        config: which value model, and where it starts.
    """
    head = ScalarHead(backbone.hidden_size, zero=True)
    if config.value_model == "shared":
        return ValueModel(backbone, POLICY, head)
    torch.manual_seed(seed)
    backbone.add_adapter(VALUE, lora)
    value = ValueModel(backbone, VALUE, head)
    if reward_model is not None and config.value_init != "zero":
        backbone.copy_adapter(reward_model.adapter, VALUE)
        if config.value_init == "reward_model":
            value.start_from(reward_model)
    return value


def engine_gap(theirs: Tensor, ours: Tensor, mask: Tensor) -> dict[str, float]:
    """How far an engine's log-probabilities are from our own of the same tokens.

    Args:
        theirs: (B, T) nats; NaN where the engine gave none.
        ours: (B, T) nats, of our forward pass.
        mask: (B, T) bool, True = a response token.

    Returns:
        {"engine_gap": mean absolute difference, nats a token}; {} where the engine gave none.
    """
    known = mask & ~theirs.isnan()
    if not known.any():
        return {}
    return {"engine_gap": masked_mean((theirs.nan_to_num() - ours).abs(), known).item()}


def _controller(config: PPOConfig) -> AdaptiveKLController | FixedKLController:
    if config.kl_rate == 0 or config.kl_coef == 0:  # 0 stays 0, however it is scaled
        return FixedKLController(config.kl_coef)
    return AdaptiveKLController(
        config.kl_coef, config.kl_target, config.kl_rate, config.kl_fall, config.kl_error_clip
    )
