"""What the paper's experiment would take on this device, from rates that were measured on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bench.config.run import RunConfig
from bench.data import Demonstration, Preference
from bench.doctor.hours import demonstrations
from bench.training.reward_model import RewardSpec, train_reward_model
from bench.training.sft import train_sft
from benchmarks.gpu.sections import Row, held, not_measured
from benchmarks.gpu.setting import Setting, Step
from benchmarks.work import pairs

MOST_HOURS = 4.0
REPORTED = Path(__file__).resolve().parents[2] / "results" / "reported" / "xu2024.json"
STEPS = 4  # of a training that a rate is taken from
PPO_GOAL = f"≤ {MOST_HOURS:.0f} h"


def hours(setting: Setting) -> Iterator[Row]:
    """Projections of PPO, the reward model and SFT, every text as long as the preset lets it be."""
    yield _ppo(setting)
    config = setting.config
    wanted = config.preferences.pairs * config.reward_model.epochs
    what = "reward model" + _beside("reward_model_hours")
    yield _projected(what, wanted, "pairs", _reward_model(setting))
    setting.clear()
    yield _projected("SFT", demonstrations(config), "demonstrations", _sft(setting))


def _ppo(setting: Setting) -> Row:
    what = "PPO" + _beside("ppo_hours")
    if setting.step is None:
        return not_measured(what, "no PPO step was measured", PPO_GOAL)
    found = ppo_hours(setting.config, setting.step, setting.shape.rollouts)
    ppo = setting.config.ppo
    listed = f"{ppo.steps} steps of {ppo.batch_size} rollouts, {ppo.epochs} epochs"
    return held(what, f"{found:.3g} h ({listed})", PPO_GOAL, found <= MOST_HOURS, hours=found)


def ppo_hours(config: RunConfig, step: Step, rollouts: int) -> float:
    """The measured step's seconds, as often as its rollouts go into the run's.

    Args:
        config: of the run.
        step: with so many
        rollouts: and the run's epochs.
    """
    seconds = sum(taken.seconds for taken in step.phases.values())
    steps = config.ppo.steps + config.ppo.value_warmup_steps
    return steps * config.ppo.batch_size / rollouts * seconds / 3600


def _projected(what: str, wanted: int, unit: str, each_s: float) -> Row:
    found = wanted * each_s / 3600
    return Row(
        what,
        f"{found:.3g} h ({wanted} {unit} at {1 / each_s:.3g}/s)",
        numbers={"hours": found, "per_second": 1 / each_s},
    )


def _beside(metric: str) -> str:
    """The paper's own hours for its token-level method, from what it reports."""
    for table in json.loads(REPORTED.read_text())["tables"]:
        if table["metric"] == metric:
            mean = next(row["mean"] for row in table["rows"] if row["method"] == "token_ppo")
            return f" (the paper: {mean:g} h on 8 A100)"
    raise KeyError(metric)


def _reward_model(setting: Setting) -> float:
    """Seconds a pair, of one pass that a micro-batch fills."""
    size = setting.config.reward_model.microbatch_size or 1
    config = setting.config.reward_model.model_copy(update={"epochs": 1, "batch_size": size})
    rows, lora, kind = _pairs(setting, size), setting.config.lora, RewardSpec("token")
    return seconds_each(
        size,
        lambda mark: train_reward_model(
            setting.backbone, rows, kind, config, lora, seed=0, on_step=mark
        ),
    )


def _sft(setting: Setting) -> float:
    """Seconds a demonstration, likewise."""
    size = setting.config.sft.microbatch_size or 1
    changes = {"epochs": 1, "steps": None, "batch_size": size}
    config = setting.config.sft.model_copy(update=changes)
    pairs = _pairs(setting, size)
    rows = [Demonstration(prompt=row.prompt, response=row.chosen) for row in pairs]
    lora = setting.config.lora
    return seconds_each(
        size, lambda mark: train_sft(setting.backbone, rows, config, lora, on_step=mark)
    )


def _pairs(setting: Setting, size: int) -> list[Preference]:
    return pairs(replace(setting.work, pairs=STEPS * size))


def seconds_each(rows: int, train: Callable[[Callable[[object], None]], object]) -> float:
    """Seconds a row of training steps, the first left out: before it the model gets its adapter.

    Args:
        rows: of a step.
        train: is given what it calls after every step, when the device has finished it.
    """
    marks: list[float] = []
    train(lambda _: marks.append(time.perf_counter()))
    return (marks[-1] - marks[0]) / (rows * (len(marks) - 1))
