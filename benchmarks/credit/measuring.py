"""Steps until a problem is solved, over learning rates and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bench.config.run import PPOConfig
from bench.plugins.protocols import TrainingInputs
from bench.stats.intervals import mean_interval
from bench.training.ppo import PPO, make_ppo
from benchmarks.credit.placing import Planned, paid_every
from benchmarks.credit.problem import LORA, LUCKY, PROMPTS, Problem, new_backbone

if TYPE_CHECKING:
    from bench.models.sequences import Sequences
    from bench.training.experience import Rollout

Advantage = tuple[str, Mapping[str, Any]]
GAE: Advantage = ("bench.training.advantages:GAE", {})


@dataclass(frozen=True)
class Settings:
    """Written down before the runs, the same for every way of paying.

    Attributes:
        tokens: of a response.
        rates: learning rates of policy and value; of each way the one that solves soonest counts.
        seeds: each of the model's weights, the adapters and all draws.
        steps: most; a run that has not solved the problem by then counts as this many.
        solved: share of the best reward, 1, in the mean of the last `window` steps' rollouts.
        batch_size: responses of a step.
    """

    tokens: int = 16
    rates: tuple[float, ...] = (1e-2, 3e-2)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 60
    solved: float = 0.8
    window: int = 3
    batch_size: int = 32

    def ppo(self, rate: float) -> PPOConfig:
        """One epoch over a rollout in one minibatch; no KL, nothing for a missing EOS."""
        return PPOConfig(
            steps=self.steps,
            value_warmup_steps=0,
            batch_size=self.batch_size,
            minibatch_size=self.batch_size,
            epochs=1,
            max_new_tokens=self.tokens,
            lr=rate,
            value_lr=rate,
            kl_coef=0.0,
            kl_rate=0.0,
            missing_eos="subtract",
            missing_eos_penalty=0.0,
            value_model="separate",
            eval_every=self.steps + 1,
        )


@dataclass(frozen=True)
class Way:
    """One way of paying.

    Attributes:
        label: for people.
        problem: what is learned.
        pay: what responses are paid, (B, T).
        advantage: where it is, and its options.
    """

    label: str
    problem: Problem
    pay: Callable[[Sequences], Tensor]
    advantage: Advantage = GAE

    @property
    def alike(self) -> str:
        """The same for ways that nothing tells apart: what they pay a good and a bad response."""
        tokens = new_backbone(0).tokens
        length = self.problem.tokens
        probe = tokens.join([[0]] * 2, [[0] * length, [LUCKY] * length])
        return str((self.problem, self.advantage, self.pay(probe).tolist()))


def every_n(problem: Problem, n: int) -> Way:
    """What n tokens earned is paid at the last of them."""
    return Way(
        f"every {n}", problem, lambda batch: paid_every(n, problem.earned(batch), batch.mask)
    )


def of_methods(problem: Problem, names: Sequence[str]) -> list[Way]:
    """The methods that pay; those that nothing tells apart, once a model is perfect, are one."""
    found: dict[str, Way] = {}
    for name in names:
        planned = Planned.of(name)
        if planned.source is None:
            continue
        way = Way(name, problem, partial(planned.paid, problem), planned.advantage)
        same = found.setdefault(way.alike, way)
        if same is not way:
            found[way.alike] = replace(same, label=f"{same.label}, {name}")
    return list(found.values())


def trainer(way: Way, config: PPOConfig, seed: int) -> PPO:
    """PPO, as a run makes it."""

    def pay(rollout: Rollout) -> Tensor:
        return way.pay(rollout.batch)

    backbone, advantage = new_backbone(seed), way.advantage
    return make_ppo(
        TrainingInputs(backbone, config, LORA, seed, PROMPTS, pay=pay, advantage=advantage)
    )


class _Solved(Exception):
    """Ends a training that needs no further step."""


def steps_to_solve(way: Way, settings: Settings, rate: float, seed: int) -> int | None:
    """Steps, None if the problem is not solved by the last; training ends as soon as it is."""
    scores: list[float] = []

    def watched(batch: Sequences) -> Tensor:
        scores.append(float(way.problem.earned(batch).sum(dim=1).mean()))
        last = scores[-settings.window :]
        if len(last) == settings.window and fmean(last) >= settings.solved:
            raise _Solved
        return way.pay(batch)

    made = trainer(replace(way, pay=watched), settings.ppo(rate), seed)
    try:
        made.run(lambda: {"score": 0.0}, lambda row: None)
    except _Solved:
        return len(scores)
    return None


def measure(way: Way, settings: Settings) -> dict[str, Any]:
    """Steps by rate and seed, and of the best rate the mean with its 95 % interval."""
    steps = {
        rate: [steps_to_solve(way, settings, rate, seed) for seed in settings.seeds]
        for rate in settings.rates
    }
    counted = {
        rate: [float(settings.steps if one is None else one) for one in found]
        for rate, found in steps.items()
    }
    best = min(settings.rates, key=lambda rate: fmean(counted[rate]))
    estimate = mean_interval(counted[best], bootstrap=False)
    low, high = estimate.ci95 or (estimate.mean, estimate.mean)
    return {
        "best_rate": best,
        "mean": estimate.mean,
        "low": low,
        "high": high,
        "unsolved": steps[best].count(None),
        "steps": {str(rate): found for rate, found in steps.items()},
    }
