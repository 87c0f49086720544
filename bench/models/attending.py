"""Where a response's last token looks: the attention weights of the last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.errors import UserError
from bench.models.backbone import base_of, decoder_of
from bench.models.heads import map_rows
from bench.models.layout import Padded
from bench.rl.masking import last_counted

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.models.sequences import Sequences

_EAGER = "eager"  # the one way to attend that gives its weights


@torch.no_grad()
def last_token_attention(backbone: Backbone, batch: Sequences, adapter: str | None) -> Tensor:
    """Attention of each response's last token to the response's tokens.

    Args:
        backbone: the model.
        batch: prompts and responses.
        adapter: which one is on; None: the reference.

    Returns:
        (B, T) float32, a mean over the heads of the last layer; 0 at padding. A row sums to less
        than 1, since the prompt is looked at, too.

    Raises:
        UserError: the model's layers tell no attention.
    """
    with backbone.using(adapter) as model:
        base = base_of(model)
        usual = base.config._attn_implementation
        # Neither FlashAttention nor SDPA keeps the weights, which are the square of the length.
        base.set_attn_implementation(_EAGER)
        try:
            return map_rows(lambda rows: _attention(base, rows), batch)
        finally:
            base.set_attn_implementation(usual)


def _attention(base: object, rows: Sequences) -> Tensor:
    """(b, t) of one chunk of rows."""
    inputs = Padded(rows, rows.mask).inputs
    layers = decoder_of(base)(**inputs, output_attentions=True).attentions
    if not layers or layers[-1] is None:
        raise UserError(
            f"{type(base).__name__} does not tell its attention, by which the reward is shared "
            "out: choose another method, or another model"
        )
    weights = layers[-1].float().mean(dim=1)  # (b, S, S): of each place, to each place
    responses = weights[:, rows.prompt_width :, rows.prompt_width :]  # (b, t, t)
    return responses[last_counted(rows.mask)]
