"""How far a policy is from the SFT model that it started from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.models.heads import map_rows
from bench.models.rollout import sample
from bench.rl import masked_sum

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.models.rollout import Sampling


def sampled_kl(
    backbone: Backbone,
    adapter: str | None,
    prompts: list[str],
    sampling: Sampling,
    rng: torch.Generator,
) -> list[float]:
    """Log-ratio to the reference of one T = 1 sample a prompt, nats: unbiased for the KL.

    Args:
        backbone: with the adapter off it is the reference.
        adapter: of the policy; None: it is the reference itself.
        prompts: texts.
        sampling: at temperature 1.
        rng: of the samples.
    """
    if adapter is None:
        return [0.0] * len(prompts)
    ids = [backbone.tokens.prompt(text) for text in prompts]
    drawn = sample(backbone, adapter, ids, sampling, rng)
    batch = backbone.tokens.join(ids, drawn).to(backbone.device)
    ratio = map_rows(
        lambda rows: backbone.logprobs(rows, adapter) - backbone.logprobs(rows, None), batch
    )
    kl: list[float] = masked_sum(ratio, batch.mask, dim=1).tolist()
    return kl
