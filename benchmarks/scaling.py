"""`python -m benchmarks.scaling`: how the cost of PPO and of reward modelling grows.

Each axis doubles one size twice and holds the others; the exponent is the slope of log seconds over
log size. Costs are linear in prompts, pairs and steps, and at most square in the responses' length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench.config.run import RewardModelConfig
from bench.training.reward_model import RewardSpec, train_reward_model
from benchmarks.peers.ours import backbone_of, build_ppo
from benchmarks.report import RESULTS, origin, origin_text, table, write
from benchmarks.work import LORA, Work, causal_model, pairs

SLACK = 0.1  # of a fitted exponent over what it should be at most: the timer's noise


@dataclass(frozen=True)
class Axis:
    """One size that grows.

    Attributes:
        job: "PPO" or "reward model".
        size: what grows.
        values: three sizes, each double the one before.
        most: the exponent that the cost should have at most.
        build: a size to a function that does the work once.
    """

    job: str
    size: str
    values: tuple[int, int, int]
    most: int
    build: Callable[[int], Callable[[], None]]


def ppo_job(work: Work, steps: int = 1) -> Callable[[], None]:
    """A function that takes `steps` PPO steps, policy and value separate."""
    ppo = build_ppo(work, backbone_of(work, causal_model(work)), "separate")

    def run() -> None:
        for _ in range(steps):
            ppo.step()

    return run


def reward_job(work: Work, epochs: int = 1) -> Callable[[], None]:
    """A function that trains a reward model for `epochs` epochs."""
    backbone, rows = backbone_of(work, causal_model(work)), pairs(work)
    config = RewardModelConfig(epochs=epochs, batch_size=work.pair_batch, lr=work.lr)

    def run() -> None:
        train_reward_model(backbone, rows, RewardSpec("sequence"), config, LORA, seed=0)

    return run


def _pairs_of(work: Work, length: int) -> Work:
    return replace(work, pair_response=(length, length))


def axes(work: Work) -> list[Axis]:
    """The six axes around `work`, which is their smallest size but for the number of steps."""
    prompts, length, rows = work.prompts, work.response_tokens, work.pairs
    return [
        Axis("PPO", "prompts", _doubled(prompts), 1, lambda n: ppo_job(replace(work, prompts=n))),
        Axis("PPO", "steps", _doubled(1), 1, lambda n: ppo_job(work, n)),
        Axis(
            "PPO",
            "response tokens",
            _doubled(length),
            2,
            lambda n: ppo_job(replace(work, response_tokens=n)),
        ),
        Axis(
            "reward model", "pairs", _doubled(rows), 1, lambda n: reward_job(replace(work, pairs=n))
        ),
        Axis("reward model", "epochs", _doubled(1), 1, lambda n: reward_job(work, n)),
        Axis(
            "reward model",
            "response tokens",
            _doubled(length),
            2,
            lambda n: reward_job(_pairs_of(work, n)),
        ),
    ]


def _doubled(size: int) -> tuple[int, int, int]:
    return size, 2 * size, 4 * size


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Slope b of the least-squares line log s = a + b log n."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure(axis: Axis, rounds: int) -> dict[str, Any]:
    """Median seconds at each size, the sizes in turns, and the exponent."""
    jobs = {value: axis.build(value) for value in axis.values}
    for job in jobs.values():
        job()
    seconds: dict[int, list[float]] = {value: [] for value in axis.values}
    for _ in range(rounds):
        for value, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[value].append(time.perf_counter() - started)
    medians = [median(seconds[value]) for value in axis.values]
    fitted = exponent(axis.values, medians)
    return {
        "job": axis.job,
        "size": axis.size,
        "values": list(axis.values),
        "seconds": medians,
        "exponent": fitted,
        "most": axis.most,
        "met": fitted <= axis.most + SLACK,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """One row an axis."""
    header = ["", "grows", "sizes", "seconds", "exponent", "goal"]
    rows = [
        [
            row["job"],
            row["size"],
            ", ".join(map(str, row["values"])),
            ", ".join(f"{s:.2f}" for s in row["seconds"]),
            f"{row['exponent']:.2f}",
            f"≤ {row['most']}: {'met' if row['met'] else 'not met'}",
        ]
        for row in result["axes"]
    ]
    notes = (
        f"{result['rounds']} rounds with the sizes in turns, one thread, medians; the exponent is "
        f"that of seconds in the size, with {SLACK} for noise. {origin_text(result)}"
    )
    if result["quick"]:
        notes += "\n\n**Tiny sizes (`--quick`): these numbers say nothing about growth.**"
    return "\n\n".join(["# Growth", notes, table(header, rows)])


def main(
    out: Annotated[Path, typer.Option(help="JSON file; a .md stands beside it")] = RESULTS
    / "scaling.json",
    rounds: Annotated[int, typer.Option(min=1, help="measurements of each size")] = 5,
    quick: Annotated[bool, typer.Option(help="tiny sizes: whether it works, not how fast")] = False,
) -> None:
    """Measure the axes; print and write seconds and exponents."""
    torch.set_num_threads(1)
    work = Work(prompts=32, response_tokens=48, pairs=128)
    if quick:
        work = Work(prompts=4, minibatch=4, response_tokens=4, pairs=8, pair_batch=8)
    result = origin("python -m benchmarks.scaling") | {"rounds": rounds, "quick": quick}
    result["axes"] = [measure(axis, rounds) for axis in axes(work)]
    text = as_markdown(result)
    write(result, text, out)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
