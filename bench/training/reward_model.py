"""Training a reward model on pairs: one loop, whatever the pairs and the granularity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.data import Preference, Ranking
from bench.errors import Diverged, UserError
from bench.models.backbone import Backbone
from bench.models.heads import Granularity, RewardModel, ScalarHead, Scorer
from bench.models.names import REWARD
from bench.models.sequences import Sequences, microbatches
from bench.rl import (
    bradley_terry_loss,
    divergence_preference_loss,
    ranking_loss,
    token_preference_loss,
)
from bench.training.comparisons import Group, tokenise
from bench.training.optimisation import Descent, Measured, finite, generator

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig, RewardModelConfig
    from bench.training.checkpoints import Checkpoints

TokenLoss = Literal["eq3", "eq4", "divergence"]


@dataclass(frozen=True)
class Objective:
    """What the reward model scores and which loss it learns from.

    Attributes:
        granularity: "sequence" or "segment" (Bradley-Terry on R), or "token" (`loss`).
        loss: for "token": "eq3" all tokens, "eq4" the tokens that the edit changed,
            "divergence" token by token from the first that differs (arXiv:2308.01320).
    """

    granularity: Granularity
    loss: TokenLoss = "eq3"

    @property
    def compares_responses(self) -> bool:
        """Whether responses are compared by R alone, and so more than two at a time."""
        return self.granularity != "token" or self.loss == "eq3"


def train_reward_model(
    backbone: Backbone,
    rows: Sequence[Preference] | Sequence[Ranking],
    objective: Objective,
    config: RewardModelConfig,
    lora: LoRAConfig,
    seed: int,
    on_step: Callable[[dict[str, float]], None] = lambda row: None,
    checkpoints: Checkpoints | None = None,
) -> tuple[RewardModel, dict[str, int]]:
    """Train adapter "reward" and its head on pairs or rankings.

    Args:
        backbone: the SFT model.
        rows: (chosen, rejected), for the fine-grained set (edited, original); or rankings.
        objective: granularity and loss.
        config: budget and learning rate, the same for every objective.
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
        UserError: if the rankings are not of one size, or `config` or `objective` is for pairs.
    """
    groups, counts = tokenise(backbone.tokens, rows, backbone.within(config.max_length))
    _check_sizes({len(group.responses) for group in groups}, objective, config)
    torch.manual_seed(seed)
    backbone.add_adapter(REWARD, lora)
    rng = generator("reward_model", seed)
    head = ScalarHead(backbone.hidden_size, scale=config.head_scale, generator=rng)
    model = RewardModel(backbone, REWARD, head, objective.granularity)
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
        descent.step(parts, _measure(model, batch, objective, config))
    tokens = config.epochs * sum(len(x) for group in groups for x in group.responses)
    return model, {**counts, "tokens": tokens, "steps": descent.done}


def _check_sizes(sizes: set[int], objective: Objective, config: RewardModelConfig) -> None:
    """Refuse what only a pair, or no ranking, can answer."""
    if not sizes:
        raise UserError("no pair has two different responses: nothing to train a reward model on")
    if len(sizes) > 1:
        raise UserError(f"rankings of {sorted(sizes)} responses: all must have as many")
    if sizes == {2}:
        return
    if not objective.compares_responses:
        raise UserError(f"the loss {objective.loss} compares pairs: set preferences.responses=2")
    if config.margin > 0:
        raise UserError(
            "a ranking has no margins: set reward_model.margin=0 or preferences.responses=2"
        )


def _measure(
    model: RewardModel, groups: list[Group], objective: Objective, config: RewardModelConfig
) -> Callable[[list[int]], tuple[Tensor, Measured]]:
    """A micro-batch's part of the batch's mean loss and of its accuracy."""
    # Every loss is a mean over the groups that have a preference, and each of them has one
    # (`tokenise`). Accuracy is over pairs, of which rankings with ties have fewer.
    pairs = sum(group.pairs for group in groups)

    def measure(index: list[int]) -> tuple[Tensor, Measured]:
        part = [groups[i] for i in index]
        loss, accuracy = batch_loss(model, part, objective, config)
        loss = finite(loss, "the reward model's loss") * (len(part) / len(groups))
        # In float64, so that the parts of 100 % add up to it.
        accuracy = accuracy.double() * (sum(group.pairs for group in part) / pairs)
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    return measure


def batch_loss(
    model: RewardModel, groups: list[Group], objective: Objective, config: RewardModelConfig
) -> tuple[Tensor, Tensor]:
    """Loss of groups of one size, and the share of their pairs that R has in order.

    All responses in one forward pass, each scored once, a prompt computed once where the model
    packs. The chosen responses come first, then the rejected ones (then the third ones ...).
    """
    tokens, size = model.backbone.tokens, len(groups[0].responses)
    batch = tokens.join(
        [group.prompt for group in groups] * size,
        [group.responses[i] for i in range(size) for group in groups],
    ).to(model.backbone.device)
    outputs = model.outputs(batch, model.read(batch))
    scores = model.response_scores(outputs, batch).view(size, -1).T
    ranks = torch.tensor([group.ranks for group in groups], device=scores.device)
    above = ranks.unsqueeze(2) < ranks.unsqueeze(1)
    accuracy = (scores.unsqueeze(2) > scores.unsqueeze(1))[above].float().mean()
    if size > 2:
        return ranking_loss(scores, ranks, label_smoothing=config.label_smoothing), accuracy
    margins = config.margin * scores.new_tensor([group.margin for group in groups])
    smoothing = config.label_smoothing
    if objective.granularity == "token":
        loss = _token_loss(outputs, batch, groups, objective.loss, margins, smoothing)
    else:
        loss = bradley_terry_loss(*scores.unbind(1), margins=margins, label_smoothing=smoothing)
    return loss, accuracy


def _token_loss(
    outputs: Tensor,
    batch: Sequences,
    pairs: list[Group],
    kind: TokenLoss,
    margins: Tensor,
    label_smoothing: float,
) -> Tensor:
    """Eq. 3, Eq. 4, or the loss after the first divergence, from outputs (2 B, T)."""
    (chosen, rejected), (chosen_mask, rejected_mask) = outputs.chunk(2), batch.mask.chunk(2)
    sides = chosen, chosen_mask, rejected, rejected_mask
    if kind == "divergence":
        first = torch.tensor([pair.first_divergence for pair in pairs], device=outputs.device)
        return divergence_preference_loss(
            *sides, first, margins=margins, label_smoothing=label_smoothing
        )
    changed = _changed(pairs, batch) if kind == "eq4" else ()
    return token_preference_loss(*sides, *changed, margins=margins, label_smoothing=label_smoothing)


def _changed(pairs: list[Group], batch: Sequences) -> tuple[Tensor, ...]:
    """(B, T) masks U1 of the tokens that differ, of the chosen and of the rejected side."""
    flags = [torch.tensor(pair.changed[side]) for side in (0, 1) for pair in pairs]
    changed = pad_sequence(flags, batch_first=True).to(batch.mask.device)
    return changed.chunk(2)


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
