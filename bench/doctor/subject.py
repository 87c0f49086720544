"""The user's own model and configuration as the checks need them: small and repeatable."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from bench.config.run import RunConfig
from bench.doctor.findings import Tolerance, tolerance
from bench.models.backbone import Backbone
from bench.models.heads import Granularity, RewardModel, ScalarHead, ValueModel
from bench.models.names import POLICY, VALUE
from bench.models.sequences import Sequences
from bench.training.experience import Rollout
from bench.training.optimisation import generator
from bench.training.ppo import PPO, new_value

ROWS = 8  # divides into 8x1, 2x4 and 1x8
LONGEST = 64  # response tokens of a demonstration that the checks look at
PROBE = "doctor"  # the adapter of the reward model and value that are looked at
STIRRED = 0.02  # standard deviation of LoRA weights that would start at 0
_SMALL: dict[str, Any] = {
    "engine": "ours",  # but for the check of the other one
    "batch_size": ROWS,
    "minibatch_size": ROWS,
    "minibatch_tokens": None,
    "microbatch_size": None,
    "epochs": 1,
    "value_warmup_steps": 0,
    "stop_kl": None,
    "ptx_coef": 0.0,
}


class Subject:
    """A base with a stirred adapter and head, a few prompts, and PPO trainers on them.

    Attributes:
        config: the run's configuration.
        backbone: its base.
        suite: its world.
        head: of the reward model and of the value that are looked at.
    """

    def __init__(self, config: RunConfig, backbone: Backbone, suite: Any) -> None:
        self.config, self.backbone, self.suite = config, backbone, suite
        self.prompts: list[str] = suite.prompts("ppo", ROWS, config.seed)
        torch.manual_seed(config.seed)
        backbone.add_adapter(PROBE, config.lora)
        self.stir(PROBE)
        self.head = ScalarHead(backbone.hidden_size, generator=generator(PROBE, config.seed))
        self.value = ValueModel(backbone, PROBE, self.head)

    @property
    def tolerance(self) -> Tolerance:
        """That of the base's precision."""
        return tolerance(self.backbone.model.dtype)

    @cached_property
    def texts(self) -> list[tuple[str, str]]:
        """(prompt, response) pairs of the suite."""
        found: list[tuple[str, str]] = self.suite.demonstrations(ROWS, self.config.seeded_sft.seed)
        return found

    @cached_property
    def tokens(self) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of `texts`: prompts, and responses cut to `LONGEST` with EOS at the end."""
        tokens = self.backbone.tokens
        responses = [tokens.response(response)[:-1] for _, response in self.texts]
        return (
            [tokens.prompt(prompt) for prompt, _ in self.texts],
            [[*response[: LONGEST - 1], tokens.eos_id] for response in responses],
        )

    @cached_property
    def level(self) -> Sequences:
        """`tokens` with every prompt cut, from its left, to the shortest: no padding there."""
        prompts, responses = self.tokens
        width = min(map(len, prompts))
        level = [prompt[-width:] for prompt in prompts]
        return self.backbone.tokens.join(level, responses).to(self.backbone.device)

    def reward_model(self, granularity: Granularity) -> RewardModel:
        """A reward model on the stirred adapter and head."""
        return RewardModel(self.backbone, PROBE, self.head, granularity)

    def stir(self, adapter: str) -> None:
        """Give random weights to what starts at 0, the same at every call: an adapter that acts."""
        rng = generator(PROBE, adapter)
        with torch.no_grad():
            for parameter in self.backbone.parameters(adapter):
                if not parameter.any():
                    noise = STIRRED * torch.randn(parameter.shape, generator=rng)
                    parameter.copy_(noise)

    def trainer(self, *, stirred: bool = False, **changes: Any) -> PPO:
        """A new PPO on the prompts with the run's settings, `ROWS` responses a step.

        Args:
            stirred: its adapters and the value's head act from the start.
            **changes: fields of the PPO section.
        """
        config, run = self.config.ppo.model_copy(update=_SMALL | changes), self.config
        value = new_value(self.backbone, run.lora, None, run.seed, config)
        trainer = PPO(
            self.backbone,
            self.prompts,
            lambda rollout: self.reward_model("token").paid(rollout.batch),
            value,
            config,
            run.lora,
            run.seed,
        )
        if stirred:
            for adapter in (POLICY, VALUE):
                self.stir(adapter)
            value.head.load_state_dict(self.head.state_dict())
        return trainer

    @cached_property
    def rollout(self) -> Rollout:
        """Responses of the untrained policy."""
        return self.trainer().rollout()
