"""The policy stage without a rollout: from given responses to the adapter "policy"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Demonstration, read_rows
from bench.models.tokens import Tokens
from bench.plugins.protocols import TrainingInputs
from bench.plugins.targets import import_target
from bench.stages.pairs import RESPONSES, training_pairs, training_rankings, warnings
from bench.stages.policy_training import PolicyTraining
from bench.training.comparisons import Group, tokenise

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.pipeline.stage import Context
    from bench.stages.chosen import ChosenAlgorithm, ChosenValidation


def build_offline(
    context: Context,
    out: Path,
    inputs: list[Path],
    algorithm: ChosenAlgorithm,
    validation: ChosenValidation,
) -> dict[str, Any]:
    """Train the policy on given responses by the algorithm's loss.

    Inputs: SFT; preferences, edits or the best responses; last, where there is one, the reward
    model that no method learns from.
    """
    config, learns = context.config, algorithm.loss
    if learns is None:
        raise ValueError(f"the algorithm {algorithm.name} was planned without a loss")
    training = PolicyTraining(context, inputs, validation)
    backbone, (given,) = training.backbone, training.inputs
    ranks: bool = import_target(learns.target)(**learns.options).ranks
    most = backbone.within(algorithm.options.max_length)
    groups, counts = given_groups(given, config, backbone.tokens, most, ranks=ranks)
    given_inputs = TrainingInputs(
        backbone=backbone,
        options=algorithm.options,
        lora=config.lora,
        seed=config.seed,
        groups=groups,
        loss=(learns.target, learns.options),
    )
    for text in warnings(counts, f"{algorithm.name}.max_length = {most}"):
        context.progress.say(f"{learns.name}: {text}")
    steps = algorithm.options.epochs * -(-len(groups) // algorithm.options.batch_size)
    trainer = algorithm.make(given_inputs)
    return counts | training.run(trainer, out, name=learns.name, steps=steps, kl=True)


def given_groups(
    folder: Path, config: RunConfig, tokens: Tokens, most: int, *, ranks: bool
) -> tuple[list[Group], dict[str, int]]:
    """The pairs of a preferences or an edits artifact as ids, or its rankings where it has any.

    Of one with single responses those.

    Args:
        folder: of the artifact.
        config: of the run.
        tokens: tokenizer and template.
        most: tokens of prompt and response.
        ranks: whether rankings are taken.

    Returns:
        See `tokenise`.
    """
    if (folder / RESPONSES).exists():
        return tokenise(tokens, read_rows(folder / RESPONSES, Demonstration), most)
    rankings = training_rankings(folder, config.preferences) if ranks else []
    rows = rankings or training_pairs(folder, config.preferences, tokens)
    return tokenise(tokens, rows, most)
