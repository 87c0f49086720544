"""RTO: how much likelier than the reference a trained policy finds a token (arXiv:2404.18922)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from bench.models.heads import map_rows
from bench.rl import masked_sum
from bench.rl.masking import zero_masked
from bench.stages.sources.making import free_name

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout

_TEACHER = "teacher"  # name of the policy's adapter


@dataclass(frozen=True)
class LogRatio:
    """Pays DPO's implicit reward token by token.

    Equation, pi the policy that was trained before and pi_ref the SFT model::

        r_t = clip(beta (log pi(y_t | .) - log pi_ref(y_t | .)), -c, c)

    Attributes:
        backbone: the model.
        adapter: of pi.
        beta: factor.
        clip: c, reward units.
    """

    backbone: Backbone
    adapter: str
    beta: float
    clip: float
    name: str = "log-ratio to the reference"
    row_sum: RowSum = "nothing in particular"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T)."""
        batch = rollout.batch
        policy, reference = (
            map_rows(partial(self.backbone.logprobs, adapter=adapter), batch)
            for adapter in (self.adapter, None)
        )
        ratio = (self.beta * (policy - reference)).clamp(-self.clip, self.clip)
        return zero_masked(ratio, batch.mask)

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) the sum of what is paid, which is all that this source knows of a response."""
        return masked_sum(self.paid(rollout), rollout.batch.mask, dim=1)


def make_log_ratio(inputs: SourceInputs) -> LogRatio:
    """The source "log_ratio" of the registry; it reads the artifact of a policy stage."""
    (folder,) = inputs.folders
    name = free_name(inputs.backbone, _TEACHER)
    inputs.backbone.add_adapter(name, folder=folder / "policy")
    return LogRatio(inputs.backbone, name, **inputs.options)
