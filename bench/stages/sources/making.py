"""From what a plan says of a token source to the source itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.models.classifier import Classifier, load_reward_model
from bench.models.heads import RewardModel
from bench.models.names import REWARD
from bench.plugins.protocols import SourceInputs
from bench.plugins.targets import import_target

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import TokenSource
    from bench.stages.planned_source import PlannedSource


def make_source(
    planned: PlannedSource, context: Context, backbone: Backbone, folders: Iterator[Path]
) -> TokenSource:
    """The source that a plan describes.

    Args:
        planned: names the source, its options and the sources that it is made of.
        context: of the stage.
        backbone: the SFT model; sources add their adapters to it.
        folders: artifacts of `planned.all_stages`, in their order.
    """
    own = [next(folders) for _ in planned.stages]
    parts = [make_source(part, context, backbone, folders) for part in planned.parts]
    inputs = SourceInputs(backbone, context.suite, own, parts, planned.options)
    made: TokenSource = import_target(planned.target)(inputs)
    return made


def one_reward_model(inputs: SourceInputs) -> RewardModel | Classifier:
    """The reward model in the one folder that a source was planned with.

    Raises:
        UserError: it was planned with none, or with several.
    """
    if len(inputs.folders) != 1:
        raise UserError(
            f"a token source that reads one reward model was planned with {len(inputs.folders)}",
            exit_code=1,
        )
    name = free_name(inputs.backbone, REWARD)
    template = inputs.suite.prompt_template
    return load_reward_model(inputs.backbone, name, inputs.folders[0], template)


def our_reward_model(inputs: SourceInputs, source: str, *granularities: str) -> RewardModel:
    """The same, where the source reads what a reward model gives inside a response.

    Args:
        inputs: of the source.
        source: its name, for the message.
        granularities: which models it can read; none: each of ours.

    Raises:
        UserError: the reward model scores something else, or texts as wholes.
    """
    model = one_reward_model(inputs)
    kind = "sequence classifier" if isinstance(model, Classifier) else model.granularity
    if isinstance(model, Classifier) or (granularities and kind not in granularities):
        wanted = " or ".join(granularities) or "trained here"
        raise UserError(
            f"the token source {source!r} reads inside a response, for which it needs a reward "
            f"model ({wanted}); it is given a {kind} model: leave reward_model.path out, or choose "
            "another method"
        )
    return model


def free_name(backbone: Backbone, wanted: str) -> str:
    """`wanted` as the name of an adapter, with a number where it is taken."""
    taken = backbone.adapters
    names = (wanted if n == 1 else f"{wanted}_{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)
