"""Training a reward model on pairs: one loop, whatever the pairs and the granularity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.config import LoRAConfig, RewardModelConfig
from bench.data import Preference
from bench.editing import align_edit
from bench.models.backbone import Backbone
from bench.models.heads import Granularity, RewardModel, ScalarHead, map_rows
from bench.models.sequences import Sequences
from bench.rl import bradley_terry_loss, token_preference_loss
from bench.training.optimisation import (
    Diverged,
    adamw,
    finite,
    generator,
    linear_schedule,
    shuffled_batches,
    step,
)

ADAPTER = "reward"
TokenLoss = Literal["eq3", "eq4"]


@dataclass(frozen=True)
class Objective:
    """What the reward model scores and which of the paper's losses it learns from.

    Attributes:
        granularity: "sequence" (Bradley-Terry on R) or "token" (Eq. 3 or Eq. 4).
        loss: for "token": "eq3" all tokens, "eq4" the tokens that the edit changed.
    """

    granularity: Granularity
    loss: TokenLoss = "eq3"


@dataclass(frozen=True)
class Pair:
    """A tokenised pair with the masks of what differs between its two responses."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    chosen_changed: list[bool]
    rejected_changed: list[bool]

    @property
    def length(self) -> int:
        """Tokens that the pair costs."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def tokenise_pairs(backbone: Backbone, pairs: Sequence[Preference]) -> list[Pair]:
    """Token ids of `pairs`, without those whose responses are the same (they teach nothing)."""
    result = []
    for row in pairs:
        chosen, rejected = (backbone.tokens.response(x) for x in (row.chosen, row.rejected))
        if chosen != rejected:
            rejected_changed, chosen_changed = align_edit(rejected, chosen)
            prompt = backbone.tokens.prompt(row.prompt)
            result.append(Pair(prompt, chosen, rejected, chosen_changed, rejected_changed))
    return result


def train_reward_model(
    backbone: Backbone,
    pairs: Sequence[Preference],
    objective: Objective,
    config: RewardModelConfig,
    lora: LoRAConfig,
    seed: int,
    on_step: Callable[[dict[str, float]], None] = lambda row: None,
) -> tuple[RewardModel, dict[str, int]]:
    """Train adapter "reward" and its head on `pairs`.

    Args:
        backbone: the SFT model.
        pairs: (chosen, rejected); for the fine-grained set (edited, original).
        objective: granularity and loss.
        config: budget and learning rate, the same for every objective.
        lora: the adapter's shape.
        seed: of initial weights and order.
        on_step: called with {"step", "loss", "accuracy"} after every step.

    Returns:
        The model (not yet normalised) and counts {"pairs", "identical", "tokens", "steps"}.

    Raises:
        Diverged: if the loss is not finite.
    """
    rows = tokenise_pairs(backbone, pairs)
    torch.manual_seed(seed)
    backbone.add_adapter(ADAPTER, lora)
    rng = generator("reward_model", seed)
    head = ScalarHead(backbone.hidden_size, scale=config.head_scale, generator=rng)
    model = RewardModel(backbone, ADAPTER, head, objective.granularity)
    parameters = [*backbone.parameters(ADAPTER), *model.head.parameters()]
    optimiser = adamw([(parameters, config.lr)])
    steps = config.epochs * -(-len(rows) // config.batch_size)
    schedule = linear_schedule(optimiser, steps, config.warmup)
    tokens, done = 0, 0
    for _ in range(config.epochs):
        for index in shuffled_batches([row.length for row in rows], config.batch_size, rng):
            batch = [rows[i] for i in index]
            loss, accuracy, count = _pair_loss(model, batch, objective)
            finite(loss, "the reward model's loss").backward()
            step(optimiser, parameters, config.max_grad_norm)
            schedule.step()
            done, tokens = done + 1, tokens + count
            on_step({"step": done, "loss": loss.item(), "accuracy": accuracy})
    counts = {"pairs": len(rows), "identical": len(pairs) - len(rows)}
    return model, {**counts, "tokens": tokens, "steps": done}


def _pair_loss(
    model: RewardModel, pairs: list[Pair], objective: Objective
) -> tuple[Tensor, float, int]:
    """Loss, accuracy and response tokens of a batch, both sides in one forward pass."""
    prompts = [pair.prompt for pair in pairs]
    both = model.backbone.tokens.join(
        prompts + prompts, [p.chosen for p in pairs] + [p.rejected for p in pairs]
    ).to(model.backbone.device)
    outputs = model.outputs(both)
    chosen, rejected = outputs.chunk(2)
    chosen_mask, rejected_mask = both.mask.chunk(2)
    scores = model.response_scores(outputs, both.mask).chunk(2)
    if objective.granularity == "sequence":
        loss = bradley_terry_loss(*scores)
    elif objective.loss == "eq3":
        loss = token_preference_loss(chosen, chosen_mask, rejected, rejected_mask)
    else:
        changed = _masks(pairs, both)
        loss = token_preference_loss(chosen, chosen_mask, rejected, rejected_mask, *changed)
    accuracy = (scores[0] > scores[1]).float().mean().item()
    return loss, accuracy, int(both.mask.sum())


def _masks(pairs: list[Pair], both: Sequences) -> tuple[Tensor, Tensor]:
    """(B, T) changed-token masks U1 of the chosen and of the rejected side."""
    flags = [p.chosen_changed for p in pairs] + [p.rejected_changed for p in pairs]
    changed = torch.zeros_like(both.mask)
    for i, row in enumerate(flags):
        changed[i, : len(row)] = torch.tensor(row, device=changed.device)
    chosen, rejected = changed.chunk(2)
    return chosen, rejected


def normalise(model: RewardModel, samples: Sequences) -> None:
    """Set the model's constants so that R has mean 0 and std 1 over `samples`.

    Raises:
        Diverged: if the model gives all samples the same score, or NaN.
    """
    scores = model.response_scores(map_rows(model.outputs, samples), samples.mask)
    model.mean, model.std = scores.mean().item(), scores.std(unbiased=False).item()
    if not model.std > 0:
        raise Diverged("the reward model gives every SFT sample the same score, or none at all")


def preference_accuracy(model: RewardModel, pairs: Sequence[Preference]) -> list[float]:
    """1 where the chosen response scores higher, 0 where lower, .5 where equal; one a pair."""
    tokens = model.backbone.tokens
    prompts = [tokens.prompt(pair.prompt) for pair in pairs]
    sides = [
        model.scores(tokens.join(prompts, responses).to(model.backbone.device))
        for responses in (
            [tokens.response(pair.chosen) for pair in pairs],
            [tokens.response(pair.rejected) for pair in pairs],
        )
    ]
    gaps = (sides[0] - sides[1]).cpu().tolist()
    return [
        0.5 if pair.chosen == pair.rejected or gap == 0 else float(gap > 0)
        for pair, gap in zip(pairs, gaps, strict=True)
    ]
