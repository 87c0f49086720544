"""The policy stage: from a reward to the adapter "policy", by the algorithm that a method names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.models.heads import RewardModel
from bench.plugins.protocols import TrainingInputs
from bench.stages.drawing import draw_demonstrations, prompts_of, short_enough
from bench.stages.policy_training import PolicyTraining
from bench.stages.sources.making import make_source
from bench.stages.sources.paying import pay_by
from bench.training.sft import fitting

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Method, TokenSource
    from bench.stages.chosen import ChosenAlgorithm, ChosenValidation
    from bench.stages.planned_source import PlannedSource


def build_policy(
    context: Context,
    out: Path,
    inputs: list[Path],
    method: Method,
    paid_by: PlannedSource,
    algorithm: ChosenAlgorithm,
    validation: ChosenValidation,
) -> dict[str, Any]:
    """Train the policy on what the method pays.

    Inputs: SFT; what the token source reads, such as a reward model; last, where there is one, the
    reward model that no method learns from.
    """
    options = algorithm.options
    training = PolicyTraining(context, inputs, validation)
    backbone = training.backbone
    source = make_source(paid_by, context, backbone, iter(training.inputs))
    field = f"{algorithm.name}.prompts"
    drawn = prompts_of(context.suite, "ppo", options.prompts, context.config.seed, field)
    # Of PPO; an algorithm of somebody else's need not have such an option.
    most = getattr(options, "prompt_max_tokens", None)
    prompts = short_enough(drawn, backbone.tokens, most, f"{algorithm.name}.prompt_max_tokens")
    trainer = algorithm.make(
        _training_inputs(context, backbone, prompts, source, method, algorithm)
    )
    stats = training.run(trainer, out, name=algorithm.name, steps=options.steps)
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
    shown = (
        draw_demonstrations(context.suite, config.seeded_sft)
        if algorithm.uses_demonstrations
        else []
    )
    return TrainingInputs(
        backbone=backbone,
        options=algorithm.options,
        lora=config.lora,
        seed=config.seed,
        prompts=prompts,
        pay=pay_by(source, method),
        reward_model=model if isinstance(model, RewardModel) else None,
        demonstrations=fitting(backbone, shown, config.sft) if shown else (),
        advantage=None if chosen is None else (chosen.target, chosen.options),
    )
