"""What a `token_ppo` step holds at most, beside what the dry run counts for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from bench.doctor import budget
from bench.models.backbone import base_of
from bench.training.ppo import PPO, Best
from benchmarks.gpu.machine import GIB, Taken, watch
from benchmarks.gpu.sections import Row, held, not_measured
from benchmarks.gpu.setting import Setting, Step
from benchmarks.peers.contest import COPIES_GOAL

MOST_GIB = 40.0
WITHIN = 0.15  # of the count
PHASES = ("rollout", "experience", "update")
NO_PEAK = "a CPU keeps no count of its tensors"


def memory(setting: Setting) -> Iterator[Row]:
    """Peak, copies of the base, and the count."""
    weights = setting.weights
    ppo = setting.ppo()
    weights.arm()  # here: counting in the step that is timed would take its time
    warm(ppo)
    phases = step(ppo, setting.device)
    setting.step = Step(phases)
    yield Row(
        "seconds of the step, every response of full length",
        ", ".join(f"{name} {taken.seconds:.2f}" for name, taken in phases.items()),
        numbers={name: taken.seconds for name, taken in phases.items()},
    )
    copies = max(weights.forward, weights.now())
    measured = f"{copies:.3f}"
    yield held("copies of the base", measured, f"≤ {COPIES_GOAL}", copies <= COPIES_GOAL, n=copies)
    yield from _peak(phases, setting)


def _peak(phases: dict[str, Taken], setting: Setting) -> Iterator[Row]:
    """The peak, and then the count, which takes the CPU some seconds."""
    peaks = {name: taken.peak for name, taken in phases.items() if taken.peak is not None}
    goal, near = f"≤ {MOST_GIB:.0f} GiB", f"within {WITHIN:.0%}"
    what = "the dry run's count of it"
    if not peaks:
        yield not_measured("peak of a token_ppo step", NO_PEAK, goal)
        yield not_measured(f"peak / {what}, {_shown(counted(setting))}", NO_PEAK, near)
        return
    peak = max(peaks.values())
    listed = ", ".join(f"{name} {size / GIB:.1f}" for name, size in peaks.items())
    yield held(
        "peak of a token_ppo step",
        f"{peak / GIB:.1f} GiB ({listed})",
        goal,
        peak <= MOST_GIB * GIB,
        bytes=peak,
        phases=peaks,
    )
    count = counted(setting)
    ratio = peak / count.total
    yield held(
        f"peak / {what}, {_shown(count)}",
        f"{ratio:.2f}",
        near,
        abs(ratio - 1) <= WITHIN,
        ratio=ratio,
        count=count.total,
        parts=dict(count.parts),
        doing=count.doing,
    )


def _shown(count: budget.Count) -> str:
    return f"{count.total / GIB:.3g} GiB ({count.doing})"


def counted(setting: Setting) -> budget.Count:
    """The dry run's count of the step that is measured."""
    work = setting.work
    longest = work.prompt_tokens + work.prompt_spread
    lengths = budget.Lengths({"ppo": longest, "validation": longest}, (longest, 0))
    settings = base_of(setting.backbone.model).config
    counter = budget.Counter(setting.measured_config(), settings, lengths, setting.device)
    return counter.stage("ppo")


def warm(ppo: PPO) -> None:
    """A step of a few tokens: kernels are loaded, and the optimisers have their moments.

    A run keeps a copy of its best policy as well, so here is one.
    """
    whole = ppo.config
    few = {"batch_size": 2, "rollout_batch_size": 2, "max_new_tokens": 2}
    ppo.config, ppo.done = whole.model_copy(update=few), 0  # past a warm-up of the value alone
    ppo.step()
    ppo.config = whole
    ppo.best = Best(weights=[p.detach().clone() for p in ppo.learner.policy_parameters])


def step(ppo: PPO, device: torch.device) -> dict[str, Taken]:
    """One PPO step; what its phases took."""
    taken: dict[str, Taken] = {}
    trainer: Any = ppo
    for phase in PHASES:
        setattr(trainer, phase, _watched(phase, getattr(ppo, phase), device, taken))
    ppo.step()
    return taken


def _watched(
    phase: str, function: Callable[..., Any], device: torch.device, taken: dict[str, Taken]
) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result, taken[phase] = watch(device, lambda: function(*args, **kwargs))
        return result

    return wrapper
