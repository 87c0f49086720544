"""Where a PPO step's time goes: `python -m benchmarks.profile`, on the testbed, one thread.

Prints the phases' seconds (medians) and the operators that take most of an update, as Markdown.
`benchmarks/profiles/` keeps what it printed before and after the training core was made faster.
"""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median

import torch
import typer

from bench.config.run import LoRAConfig, ModelConfig, PPOConfig
from bench.models.backbone import Backbone
from bench.suites.testbed.suite import Testbed
from bench.training.ppo import PPO, new_value

ROUNDS = 7
OPERATORS = 12


def trainer() -> PPO:
    """The testbed's default PPO, a token's score being whether its id is below 256."""
    suite = Testbed()
    backbone = Backbone.load(suite.model_path, ModelConfig(), suite.prompt_template)
    lora, config = LoRAConfig(), PPOConfig()
    ppo = PPO(
        backbone,
        suite.prompts("ppo", 600, 0),
        lambda rollout: (rollout.batch.responses < 256).float() * rollout.batch.mask,
        new_value(backbone, lora, None, 0, config),
        config,
        lora,
        0,
    )
    ppo.done = 0  # past the value's warm-up
    return ppo


def phases(ppo: PPO) -> dict[str, float]:
    """Median seconds of each phase of a step."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        marks = [time.perf_counter()]
        rollout = ppo.rollout()
        marks.append(time.perf_counter())
        experience, _ = ppo.experience(rollout, 0.1)
        marks.append(time.perf_counter())
        ppo.update(experience, policy=True)
        marks.append(time.perf_counter())
        for i, name in enumerate(("rollout", "experience", "update")):
            seconds[name].append(marks[i + 1] - marks[i])
    return {name: median(values) for name, values in seconds.items()}


def operators(ppo: PPO) -> list[tuple[str, float, int]]:
    """(name, self seconds, calls) of the operators that take most of an update."""
    experience, _ = ppo.experience(ppo.rollout(), 0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        ppo.update(experience, policy=True)
    rows = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return [(row.key, row.self_cpu_time_total / 1e6, row.count) for row in rows[:OPERATORS]]


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    ppo = trainer()
    ppo.step()
    typer.echo("| phase | s |\n| --- | ---: |")
    for name, value in phases(ppo).items():
        typer.echo(f"| {name} | {value:.3f} |")
    typer.echo("\n| operator of an update | self s | calls |\n| --- | ---: | ---: |")
    for name, value, calls in operators(ppo):
        typer.echo(f"| `{name}` | {value:.3f} | {calls} |")


if __name__ == "__main__":
    main()
