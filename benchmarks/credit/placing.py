"""A reward that does not err, placed as a method's token source would place it.

What is left of a method is where it pays and how it tells what was better than expected. Both are
read off its own plan: a method of another package needs nothing here where its source is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.config.loading import load_suite
from bench.config.run import RunConfig
from bench.plugins.registry import ADVANTAGES, METHODS, OFFLINE_LOSSES
from bench.rl import (
    attention_shares,
    segment_label_rewards,
    segment_places,
    segment_rewards,
    segments_with,
    sequence_rewards,
)
from bench.stages.planned_best import BestOf
from bench.stages.planning import Stages

if TYPE_CHECKING:
    from bench.models.sequences import Sequences
    from bench.pipeline.stage import Stage
    from bench.plugins.protocols import Method
    from benchmarks.credit.problem import Problem

SEGMENT = 4  # tokens of a segment, for the sources of segment models


@dataclass(frozen=True)
class Truth:
    """What a perfect model knows of a batch.

    Attributes:
        earned: (B, T) reward units, where they arise.
        hits: (B, T) 1, -1 or 0 of a good token, a bad one and one that decides nothing.
        mask: (B, T) True = a response token.
        granularity: of the reward model that the plan has; None: it has none.
    """

    earned: Tensor
    hits: Tensor
    mask: Tensor
    granularity: str | None

    @property
    def at_the_end(self) -> Tensor:
        """(B, T)."""
        return sequence_rewards(self.earned.sum(dim=1), self.mask)

    @property
    def of_segments(self) -> Tensor:
        """(B, T) r_k / (K len_k), r_k / K what the tokens of segment k earned."""
        ends = every(SEGMENT, self.mask)
        count = segment_places(ends, self.mask)[1]
        outputs = paid_every(SEGMENT, self.earned, self.mask) * count
        return segment_rewards(outputs, ends, self.mask)

    @property
    def by_granularity(self) -> Tensor:
        """(B, T) as `RewardModel.paid` pays."""
        paid = {"sequence": self.at_the_end, "segment": self.of_segments, "token": self.earned}
        return paid[str(self.granularity)]


def every(n: int, mask: Tensor) -> Tensor:
    """(B, T) True = every n-th token of a response."""
    place = torch.arange(1, mask.shape[1] + 1)
    return (place % n == 0) & mask


def paid_every(n: int, earned: Tensor, mask: Tensor) -> Tensor:
    """(B, T) what n tokens earned, at the last of them; at the response's last what is left."""
    ends = every(n, mask) | sequence_rewards(torch.ones(len(mask)), mask).bool()
    total = earned.cumsum(dim=1) * ends
    before = torch.nn.functional.pad(total.cummax(dim=1).values[:, :-1], (1, 0))
    return (total - before) * ends


def _attention(truth: Truth, options: Mapping[str, Any]) -> Tensor:
    share, scores = options["share"], truth.earned.sum(dim=1, keepdim=True)
    looked = attention_shares(truth.earned, truth.mask)
    return share * looked * scores + (1 - share) * truth.at_the_end


def _prefixes(truth: Truth, options: Mapping[str, Any]) -> Tensor:
    return options["share"] * truth.earned + (1 - options["share"]) * truth.at_the_end


def _places(truth: Truth, options: Mapping[str, Any]) -> Tensor:
    return truth.of_segments * segment_places(every(SEGMENT, truth.mask), truth.mask)[1]


def _classes(truth: Truth, options: Mapping[str, Any]) -> Tensor:
    ends = every(SEGMENT, truth.mask)
    wrong = segments_with(truth.hits < 0, ends, truth.mask)
    return segment_label_rewards(0.5 - wrong.float(), ends, truth.mask, value=options["value"])


# What each source of TOKEN_SOURCES pays, were its model perfect; `sum` is that of its parts.
PLACES: dict[str, Callable[[Truth, Mapping[str, Any]], Tensor]] = {
    "reward_model": lambda truth, options: truth.by_granularity,
    "gold": lambda truth, options: truth.at_the_end,
    "gold_terms": lambda truth, options: truth.earned,
    "prefix_differences": _prefixes,
    "attention": _attention,
    "token_outputs": lambda truth, options: truth.earned * truth.mask.sum(dim=1, keepdim=True),
    "token_classes": lambda truth, options: truth.hits,
    "segment_classes": _classes,
    "placed_segments": _places,
    "log_ratio": lambda truth, options: options["clip"] * truth.hits,
}


def placed(described: Mapping[str, Any], truth: Truth) -> Tensor:
    """(B, T) what a source pays, as a stage's configuration describes it.

    Raises:
        LookupError: it is not known here.
    """
    if described["name"] == "sum":
        parts = [placed(part, truth) for part in described["parts"]]
        weights = described["options"].get("weights", [1.0] * len(parts))
        return torch.stack([w * part for w, part in zip(weights, parts, strict=True)]).sum(dim=0)
    if described["name"] not in PLACES:
        raise LookupError(
            f"the token source {described['name']!r} has no place in benchmarks/credit/placing.py: "
            "add to PLACES what it pays of a reward that does not err"
        )
    return PLACES[described["name"]](truth, described["options"])


@dataclass(frozen=True)
class Planned:
    """How a method trains, read off its plan.

    Attributes:
        method: itself.
        policy: the stage that makes its policy, or the SFT model where its draws are chosen from.
    """

    method: Method
    policy: Stage

    @classmethod
    def of(cls, name: str, **options: Any) -> Planned:
        """A registered method, as it is planned on the testbed."""
        config = RunConfig(method=name)
        kind = METHODS.get(name)
        method = kind(kind.Options(**options))
        made = method.plan(Stages(config, load_suite(config)))
        return cls(method, made.policy if isinstance(made, BestOf) else made)

    @property
    def source(self) -> Mapping[str, Any] | None:
        """What pays it, as the stage describes it; None: nothing does."""
        return self.policy.config.get("source")

    @property
    def granularity(self) -> str | None:
        """Of its reward model."""
        models = (stage for stage in self.policy.inputs if stage.name == "reward_model")
        return next((model.config["granularity"] for model in models), None)

    @property
    def advantage(self) -> tuple[str, Mapping[str, Any]]:
        """Where its advantage is, and its options."""
        chosen = self.policy.config["advantage"]
        return ADVANTAGES.entry(chosen["name"]).target, chosen["options"]

    @property
    def loss(self) -> tuple[str, Mapping[str, Any]]:
        """Where its loss on given responses is, and its options."""
        chosen = self.policy.config["loss"]
        return OFFLINE_LOSSES.entry(chosen["name"]).target, chosen["options"]

    @property
    def imitates(self) -> bool:
        """Whether it learns from single responses instead of pairs."""
        return self.policy.inputs[1].name == "best_responses"

    @property
    def reads_edits(self) -> bool:
        """Whether edits have a part in it."""
        return any(stage.name == "edits" for stage in self.policy.graph())

    def paid(self, problem: Problem, batch: Sequences) -> Tensor:
        """(B, T) its rewards of responses to a problem."""
        assert self.source is not None
        truth = Truth(problem.earned(batch), problem.hits(batch), batch.mask, self.granularity)
        return self.method.rewards(placed(self.source, truth), batch.mask)
