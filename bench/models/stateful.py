"""Models that carry a state from token to token (Mamba, linear attention): which of them run."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from bench.errors import UserError
from bench.models.fast.cache import select_rows
from bench.models.sequences import pad_left, positions

SHORT, LONG, MORE = 3, 9, 2  # tokens of the trial's two rows, and of what follows the short one


def check_cache(model: Any) -> None:
    """Refuse a model that keeps what it has read where rollouts do not look.

    Raises:
        UserError: its forward pass takes no `past_key_values`.
    """
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise UserError(
            f"a {type(model).__name__} keeps its state outside past_key_values, where sampling "
            "does not find it: take another model.path"
        )


def carries_state(config: Any) -> bool:
    """Whether some layer carries a state from token to token, not keys and values alone."""
    layers = DynamicCache(config=config).layers
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


@torch.no_grad()
def check_decoding(model: Any) -> None:
    """Decode a short row beside a longer one that leaves, and hold it against the row at once.

    A state that takes padding for text, or that does not follow its row, gives other numbers. Keys
    and values of attention are masked; a model that has nothing else is not asked.

    Raises:
        UserError: the model does so.
    """
    if not carries_state(model.config):
        return
    row = [(7 * i + 3) % model.config.get_text_config().vocab_size for i in range(LONG + MORE)]
    whole = torch.tensor([row[: SHORT + MORE]], device=model.device)
    expected = model(input_ids=whole, use_cache=False).logits[0, -1]
    ids, attention = (x.to(model.device) for x in pad_left([row[:SHORT], row[:LONG]], 0))
    cache, position = DynamicCache(config=model.config), positions(attention)
    for token in [*row[SHORT : SHORT + MORE], None]:
        found = model(
            input_ids=ids,
            attention_mask=attention.long(),
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        ).logits[0, -1]
        if len(ids) > 1:
            select_rows(cache, torch.tensor([0], device=model.device))
            attention, position = attention[:1], position[:1]
        ids = torch.tensor([[token or 0]], device=model.device)
        attention = torch.cat([attention, attention.new_ones(1, 1)], dim=1)
        position = position[:, -1:] + 1
    # In half precision a router may send a token elsewhere: a mean hardly minds, a maximum does.
    allowed = 1e-3 if expected.dtype == torch.float32 else 0.1
    apart = (found - expected).float().abs().mean() / expected.float().abs().mean()
    if not apart <= allowed:
        raise UserError(
            f"a {type(model).__name__} gives other numbers token by token than at once "
            f"({float(apart):.1g} of their size) where rows are padded: take another model.path"
        )
