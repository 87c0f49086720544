"""The policy stage: from a reward to the adapter "policy", by the algorithm that a method names."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.models.heads import RewardModel
from bench.models.names import HELDOUT, POLICY
from bench.plugins.protocols import TrainingInputs
from bench.stages.drawing import draw_demonstrations, prompts_of, short_enough
from bench.stages.sft import load_sft
from bench.stages.sources.making import make_source
from bench.stages.sources.paying import pay_by
from bench.stages.validating import NOT_CHOSEN, validator
from bench.training.checkpoints import Checkpoints
from bench.training.sft import fitting

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Judge, Method, TokenSource
    from bench.stages.chosen import ChosenAlgorithm
    from bench.stages.planned_source import PlannedSource

_SCORE = "validation_score"  # what chose the checkpoint, in a row of the curve


def build_policy(
    context: Context,
    out: Path,
    inputs: list[Path],
    method: Method,
    paid_by: PlannedSource,
    algorithm: ChosenAlgorithm,
    make_judge: Callable[[Context], Judge] | None,
    held_out: bool,
) -> dict[str, Any]:
    """Train the policy; `make_judge`: who chooses the checkpoint, None: no judge does.

    Inputs: SFT; what the token source reads, such as a reward model; last, where `held_out`, the
    reward model that no method learns from.
    """
    options = algorithm.options
    backbone, heldout = load_sft(context, inputs[0]), None
    there = backbone.adapters
    if held_out:  # before the trainer makes its own adapters, as the token source's are
        *inputs, folder = inputs
        heldout = RewardModel.load(backbone, HELDOUT, folder)
    source = make_source(paid_by, context, backbone, iter(inputs[1:]))
    field = f"{algorithm.name}.prompts"
    drawn = prompts_of(context.suite, "ppo", options.prompts, context.config.seed, field)
    # Of PPO; an algorithm of somebody else's need not have such an option.
    most = getattr(options, "prompt_max_tokens", None)
    prompts = short_enough(drawn, backbone.tokens, most, f"{algorithm.name}.prompt_max_tokens")
    trainer = algorithm.make(
        _training_inputs(context, backbone, prompts, source, method, algorithm)
    )
    checkpoints, curve = Checkpoints(out, context.progress.say), context.curve()
    if state := checkpoints.read():
        trainer.restore(state)
        for row in state["rows"]:
            curve.add(row)
    rows = curve.rows
    # The seconds of an interrupted run go on where its last row stood.
    began = time.perf_counter() - (rows[-1]["seconds"] if rows else 0.0)
    with context.progress.task(algorithm.name.upper(), total=options.steps) as task:
        task.advance(max(0, len(rows) - 1))

        def on_row(row: dict[str, float]) -> None:
            row = {name: x for name, x in row.items() if not (name == _SCORE and x == NOT_CHOSEN)}
            curve.add(row | {"seconds": round(time.perf_counter() - began, 2)})
            task.advance(int(row["step"] > 0), note=_note(row))

        def on_checkpoint(state: dict[str, Any]) -> None:
            checkpoints.write(state | {"rows": rows})

        judge = None if make_judge is None else make_judge(context)
        best = trainer.run(validator(context, backbone, judge, heldout), on_row, on_checkpoint)
    backbone.save_adapter(POLICY, out / "policy")
    curve.write(out)
    for name in backbone.adapters - there:
        backbone.drop_adapter(name)
    stats = {"tokens": trainer.tokens, "steps": options.steps, "best_step": best.step}
    if left_out := len(drawn) - len(prompts):
        stats["long_prompts"] = left_out
    return stats | backbone.tokens.cut_prompts(prompts)


def _training_inputs(
    context: Context,
    backbone: Backbone,
    prompts: list[str],
    source: TokenSource,
    method: Method,
    algorithm: ChosenAlgorithm,
) -> TrainingInputs:
    """All that an algorithm may train from; what it takes of it is its own affair."""
    config, chosen = context.config, algorithm.advantage
    model = getattr(source, "model", None)  # a third party's source need not have one
    shown = draw_demonstrations(context.suite, config.sft) if algorithm.uses_demonstrations else []
    return TrainingInputs(
        backbone=backbone,
        prompts=prompts,
        pay=pay_by(source, method),
        reward_model=model if isinstance(model, RewardModel) else None,
        options=algorithm.options,
        lora=config.lora,
        seed=config.seed,
        demonstrations=fitting(backbone, shown, config.sft) if shown else (),
        advantage=None if chosen is None else (chosen.target, chosen.options),
    )


def _note(row: dict[str, float]) -> str:
    """What of a row the progress shows, of what the algorithm measures."""
    shown = (("kl", "kl", 1), ("reward", "reward", 2), ("validation_gold", "gold", 2))
    return " ".join(f"{word} {row[key]:.{n}f}" for key, word, n in shown if key in row)
