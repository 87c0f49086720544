"""Training a reward model on pairs: one loop, whatever the pairs and the granularity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.data import Annotation, Preference, Ranking
from bench.errors import Diverged, UserError
from bench.models.backbone import Backbone
from bench.models.heads import Granularity, RewardModel, ScalarHead, Scorer
from bench.models.names import REWARD
from bench.models.segmenters import SENTENCES, Segments
from bench.models.sequences import microbatches
from bench.training.annotations import annotated, check_kinds
from bench.training.comparisons import (
    Group,
    check_sizes,
    joined,
    share_in_order,
    tokenise,
)
from bench.training.objectives import ComparisonLoss, Scored
from bench.training.optimisation import Descent, Measured, finite, generator

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig, RewardModelConfig
    from bench.plugins.protocols import Objective
    from bench.training.checkpoints import Checkpoints


_COMPARISON = ComparisonLoss()


@dataclass(frozen=True)
class RewardSpec:
    """What the reward model scores and which loss it learns from.

    Attributes:
        granularity: "sequence", "segment" or "token".
        objective: the loss.
        segments: of a segment model, how it cuts responses.
    """

    granularity: Granularity
    objective: Objective = _COMPARISON
    segments: Segments = SENTENCES


def train_reward_model(
    backbone: Backbone,
    rows: Sequence[Preference] | Sequence[Ranking] | Sequence[Annotation],
    spec: RewardSpec,
    config: RewardModelConfig,
    lora: LoRAConfig,
    seed: int,
    on_step: Callable[[dict[str, float]], None] = lambda row: None,
    checkpoints: Checkpoints | None = None,
) -> tuple[RewardModel, dict[str, int]]:
    """Train adapter "reward" and its head on pairs, rankings or annotated responses.

    Args:
        backbone: the SFT model.
        rows: (chosen, rejected), for the fine-grained set (edited, original); or rankings; or
            responses with their errors, where the objective is `annotated`.
        spec: granularity and loss.
        config: budget and learning rate, the same for every spec.
        lora: the adapter's shape.
        seed: of initial weights and order.
        on_step: called with {"step", "loss", "accuracy"} after every step, those of an interrupted
            attempt first.
        checkpoints: what an interrupted attempt left, and where to leave it.

    Returns:
        The model (not yet normalised) and counts {"pairs", "identical", "truncated", "tokens",
        "steps"}; see `tokenise` for the first three.

    Raises:
        Diverged: if the loss is not finite.
        UserError: if the rankings are not of one size, `config` or `spec` is for pairs, or the
            objective is not of what the rows are.
    """
    groups, counts = _groups(backbone, rows, spec, config)
    torch.manual_seed(seed)
    backbone.add_adapter(REWARD, lora)
    rng = generator("reward_model", seed)
    head = ScalarHead(backbone.hidden_size, scale=config.head_scale, generator=rng)
    model = RewardModel(backbone, REWARD, head, spec.granularity, spec.segments)
    parameters = [*backbone.parameters(REWARD), *model.head.parameters()]
    descent = Descent(
        parameters,
        lr=config.lr,
        lr_schedule=config.lr_schedule,
        warmup=config.warmup,
        steps=config.epochs * -(-len(groups) // config.batch_size),
        max_grad_norm=config.max_grad_norm,
        rng=rng,
        checkpoints=checkpoints,
        on_step=on_step,
    )
    for index in descent.batches([g.length for g in groups], config.batch_size):
        batch = [groups[i] for i in index]
        parts = microbatches([group.length for group in batch], config.microbatch_size)
        descent.step(parts, _measure(model, batch, spec, config))
    tokens = config.epochs * sum(len(x) for group in groups for x in group.responses)
    return model, {**counts, "tokens": tokens, "steps": descent.done}


def _groups(
    backbone: Backbone, rows: Sequence[Any], spec: RewardSpec, config: RewardModelConfig
) -> tuple[list[Group], dict[str, int]]:
    """The rows as ids, and counts of them; refuse what the objective cannot learn from."""
    longest = backbone.within(config.max_length)
    own, wanted = bool(rows) and isinstance(rows[0], Annotation), is_annotated(spec.objective)
    if own != wanted:
        learns, given = ("annotated responses", "pairs")[:: 1 if wanted else -1]
        raise UserError(
            f"the objective {type(spec.objective).__name__} learns from {learns}, and the plan "
            f"gives it {given}",
            exit_code=1,
        )
    if wanted:
        groups, counts = annotated(backbone.tokens, rows, longest)
        check_kinds(groups, getattr(spec.objective, "kinds", ()))
        return groups, counts
    groups, counts = tokenise(backbone.tokens, rows, longest)
    _check(groups, spec, config)
    return groups, counts


def is_annotated(objective: Objective) -> bool:
    """Whether an objective learns from annotated responses, one at a time, instead of pairs."""
    return bool(getattr(objective, "annotated", False))


def _check(groups: Sequence[Group], spec: RewardSpec, config: RewardModelConfig) -> None:
    """Refuse what only a pair, or no ranking, can answer."""
    who = f"the reward model with {type(spec.objective).__name__}"
    check_sizes(groups, who, ranks=spec.objective.ranks)
    if config.margin > 0 and len(groups[0].responses) > 2:
        raise UserError(
            "a ranking has no margins: set reward_model.margin=0 or preferences.responses=2"
        )


def _measure(
    model: RewardModel, groups: list[Group], spec: RewardSpec, config: RewardModelConfig
) -> Callable[[list[int]], tuple[Tensor, Measured]]:
    """A micro-batch's part of the batch's mean loss and of its accuracy."""
    # Every loss is a mean over the groups that have a preference, and each of them has one
    # (`tokenise`). Accuracy is over pairs, of which rankings with ties have fewer; an annotated
    # response is in none and counts as one.
    pairs = sum(group.pairs or 1 for group in groups)

    def measure(index: list[int]) -> tuple[Tensor, Measured]:
        part = [groups[i] for i in index]
        loss, accuracy = batch_loss(model, part, spec, config)
        loss = finite(loss, "the reward model's loss") * (len(part) / len(groups))
        # In float64, so that the parts of 100 % add up to it.
        accuracy = accuracy.double() * (sum(group.pairs or 1 for group in part) / pairs)
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    return measure


def batch_loss(
    model: RewardModel, groups: list[Group], spec: RewardSpec, config: RewardModelConfig
) -> tuple[Tensor, Tensor]:
    """Loss of groups of one size, and the share of their pairs that R has in order.

    Of annotated responses, the share that the objective's own `accuracy` says.

    All responses in one forward pass, each scored once, a prompt computed once where the model
    packs. The chosen responses come first, then the rejected ones (then the third ones ...).
    """
    batch = joined(model.backbone.tokens, groups).to(model.backbone.device)
    read = model.read(batch)
    outputs = model.outputs(batch, read)
    scores = model.response_scores(outputs, batch).view(len(groups[0].responses), -1).T
    margins = config.margin * scores.new_tensor([group.margin for group in groups])
    scored = Scored(outputs, batch.mask, scores, groups, margins, config.label_smoothing, read)
    share: Any = getattr(spec.objective, "accuracy", None)
    accuracy = share_in_order(scores, groups) if share is None else share(scored)
    return spec.objective.loss(scored), accuracy


def normalise(model: Scorer, samples: Any) -> None:
    """Set the model's constants so that R has mean 0 and std 1 over `samples`, as it reads them.

    Raises:
        Diverged: if the model gives all samples the same score, or NaN.
    """
    model.mean, model.std = 0.0, 1.0
    scores = model.scores(samples)
    model.mean, model.std = scores.mean().item(), scores.std(unbiased=False).item()
    if not model.std > 0:
        raise Diverged("the reward model gives every SFT sample the same score, or none at all")


def preference_accuracy(model: Scorer, pairs: Sequence[Preference]) -> list[float]:
    """1 where the chosen response scores higher, 0 where lower, .5 where equal; one a pair."""
    response = model.backbone.tokens.response
    sides = [
        model.rate(asked)
        for asked in (
            [(pair.prompt, response(pair.chosen, pair.chosen_ids)) for pair in pairs],
            [(pair.prompt, response(pair.rejected, pair.rejected_ids)) for pair in pairs],
        )
    ]
    gaps = (sides[0] - sides[1]).cpu().tolist()
    return [
        0.5 if pair.chosen == pair.rejected or gap == 0 else float(gap > 0)
        for pair, gap in zip(pairs, gaps, strict=True)
    ]
