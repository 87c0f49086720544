"""Token sources: from a reward model, or the suite's gold score, to what each token is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.errors import Diverged, UserError
from bench.rl import sequence_rewards

if TYPE_CHECKING:
    from bench.models.heads import RewardModel
    from bench.plugins.protocols import GoldSuite, Method, RowSum, TokenSource
    from bench.training.experience import Pay, Rollout


@dataclass(frozen=True)
class RewardModelSource:
    """Pays what a reward model's granularity says; a row sums to the model's R.

    A sequence model reads its score off EOS, the one position that it was trained at; a response
    that was cut off gets one, lest its score be noise (what it lacks is for the penalty to say).
    """

    model: RewardModel
    row_sum: RowSum = "score"

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.model.granularity} reward model"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T); see `RewardModel.paid`."""
        if self.model.granularity == "sequence":
            return sequence_rewards(self.scores(rollout), rollout.batch.mask)
        return self.model.paid(rollout.batch)

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) normalised R."""
        if self.model.granularity != "sequence":
            return self.model.scores(rollout.batch)
        texts = list(zip(rollout.prompts, rollout.outputs, strict=True))
        return self.model.scores(self.model.backbone.batch_of(texts))


@dataclass(frozen=True)
class GoldSource:
    """Pays a suite's gold score on the last token."""

    suite: GoldSuite
    name: str = "gold score"
    row_sum: RowSum = "score"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T) [0, ..., 0, g]."""
        return sequence_rewards(self.scores(rollout), rollout.batch.mask)

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) g."""
        pairs = zip(rollout.prompts, rollout.outputs, strict=True)
        device = rollout.batch.mask.device
        return torch.tensor([self.suite.score(p, y) for p, y in pairs], device=device)


def pay_by(source: TokenSource, method: Method) -> Pay:
    """What PPO asks of a rollout: the method's rewards from what the source pays, both checked."""

    def pay(rollout: Rollout) -> Tensor:
        mask = rollout.batch.mask
        paid = checked(source.paid(rollout), mask, f"the token source {source.name!r}")
        return checked(method.rewards(paid, mask), mask, f"the method {method.name!r}")

    return pay


def checked(paid: Any, mask: Tensor, who: str) -> Tensor:
    """The rewards (B, T), if a plug-in gave what its protocol asks for.

    Raises:
        UserError: they are no float tensor of the mask's shape, or something is paid at padding.
        Diverged: they hold NaN or infinity.
    """
    if not isinstance(paid, Tensor) or not paid.is_floating_point() or paid.shape != mask.shape:
        shape = f"shape {tuple(paid.shape)}" if isinstance(paid, Tensor) else type(paid).__name__
        dtype = f", {paid.dtype}" if isinstance(paid, Tensor) else ""
        raise UserError(
            f"{who} gave rewards of {shape}{dtype}; they must be floats of the mask's shape "
            f"(B, T) = {tuple(mask.shape)}",
            exit_code=1,
        )
    if not paid[mask].isfinite().all():
        raise Diverged(f"{who} paid NaN or infinity: the run diverged")
    if paid.masked_fill(mask, 0.0).any():
        row, column = (paid.masked_fill(mask, 0.0) != 0).nonzero()[0].tolist()
        raise UserError(
            f"{who} pays {paid[row, column].item():g} at padding (row {row}, position {column}): "
            "rewards must be 0 where the mask is False",
            exit_code=1,
        )
    return paid
