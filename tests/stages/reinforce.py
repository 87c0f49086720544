"""A second algorithm, as a third party would write it: REINFORCE without a baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from bench.config.section import Section
from bench.models.names import POLICY
from bench.models.rollout import Sampling, draw_responses
from bench.plugins.protocols import TrainingInputs
from bench.rl import masked_sum
from bench.training.experience import Rollout
from bench.training.optimisation import adamw, generator, step
from bench.training.updates import set_values


class ReinforceOptions(Section):
    """Set by `--set reward.training.NAME=VALUE`, since the method hands them on."""

    steps: int = 4
    batch_size: int = 8
    prompts: int = 8
    lr: float = 1e-2
    max_new_tokens: int = 8
    demonstrations: bool = False


class Learns:
    """A method that pays what it gets and is trained by REINFORCE."""

    name = "learns"

    class Options(Section):
        training: ReinforceOptions = ReinforceOptions()

    def __init__(self, options: Learns.Options) -> None:
        self.options = options

    def plan(self, stages: Any) -> Any:
        training = self.options.training
        return stages.policy(
            self, None, "reinforce", training, uses_demonstrations=training.demonstrations
        )

    def rewards(self, paid: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return paid


@dataclass
class Last:
    """The policy ends as it is."""

    step: int


class Reinforce:
    """L = -E[log pi(y | x) R(x, y)]; validates every second step."""

    made: ClassVar[list[TrainingInputs]] = []  # for the tests to look at

    def __init__(self, inputs: TrainingInputs) -> None:
        Reinforce.made.append(inputs)
        self.inputs, self.tokens, self.done = inputs, 0, 0
        torch.manual_seed(inputs.seed)
        inputs.backbone.add_adapter(POLICY, inputs.lora)
        self.parameters = inputs.backbone.parameters(POLICY)
        self.optimiser = adamw([(self.parameters, inputs.options.lr)])
        self.rng = generator("reinforce", inputs.seed)

    def run(
        self,
        validate: Callable[[], dict[str, float]],
        on_row: Callable[[dict[str, float]], None],
        on_checkpoint: Callable[[dict[str, Any]], None],
    ) -> Last:
        def validated() -> dict[str, float]:
            return {f"validation_{name}": value for name, value in validate().items()}

        if self.done == 0:
            on_row({"step": 0} | validated())
        while self.done < self.inputs.options.steps:
            reward = self.step()
            self.done += 1
            row = {"step": self.done, "reward": reward, "tokens": self.tokens}
            due = self.done % 2 == 0
            on_row(row | (validated() if due else {}))
            if due:
                on_checkpoint(self.state())
        return Last(self.done)

    def step(self) -> float:
        rollout = self.rollout()
        scores = self.inputs.pay(rollout).sum(dim=1)
        logprobs = self.inputs.backbone.logprobs(rollout.batch, POLICY)
        loss = -(masked_sum(logprobs, rollout.batch.mask, dim=1) * scores).mean()
        loss.backward()
        step(self.optimiser, self.parameters, 1.0)
        self.tokens += int(rollout.batch.mask.sum())
        return float(scores.mean())

    def rollout(self) -> Rollout:
        backbone, options = self.inputs.backbone, self.inputs.options
        texts = list(self.inputs.prompts[: options.batch_size])
        prompts = [backbone.tokens.prompt(text) for text in texts]
        sampling = Sampling(options.max_new_tokens, 1.0)
        drawn = draw_responses(backbone, POLICY, prompts, sampling, self.rng)
        return Rollout.drawn(backbone, texts, prompts, drawn)

    def state(self) -> dict[str, Any]:
        return {
            "policy": [p.detach() for p in self.parameters],
            "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.get_state(),
            "done": self.done,
            "tokens": self.tokens,
        }

    def restore(self, state: dict[str, Any]) -> None:
        set_values(self.parameters, state["policy"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.set_state(state["rng"])
        self.done, self.tokens = state["done"], state["tokens"]
