"""Batches without padding: all rows' tokens end to end, a prompt that several rows share once.

Norms, projections and MLPs then work on real tokens only; attention alone needs rows, and gathers
them from the packed tokens and back. The numbers are those of the padded batch (tests hold it; a
model is asked once, when it is loaded, whether it gives them, and else stays padded).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from bench.models.sequences import Sequences

NAME = "packed_sdpa"


@dataclass(frozen=True)
class Packing:
    """Where each token of a padded batch stands among N packed ones.

    Attributes:
        ids, positions: (1, N) token ids and position ids.
        rows: (B, L) index of the packed token at each place of each row, the row's first token at
            0; what stands behind a row's last token is not looked at.
        home: (N,) flat place in (B, L) at which each packed token is attended from.
        states: (B, T + 1) index of the state before each response token and behind the last;
            any at padding.
    """

    ids: Tensor
    positions: Tensor
    rows: Tensor
    home: Tensor
    states: Tensor

    @classmethod
    def of(cls, batch: Sequences) -> Packing:
        """Pack a batch; equal prompts (`Sequences.prompt_of`) are kept once."""
        attention, width = batch.attention, batch.prompt_width
        first = attention.int().argmax(dim=1, keepdim=True)  # (B, 1) column of the first token
        own = attention.clone()
        owner = batch.prompt_of
        own[:, :width] &= (owner == torch.arange(len(batch), device=owner.device)).unsqueeze(1)
        number = (own.flatten().cumsum(0) - 1).view_as(own)  # (B, S) index among the packed
        number = torch.cat([number[owner, :width], number[:, width:]], dim=1)
        positions = batch.positions
        columns = torch.arange(own.shape[1], device=first.device)
        length = int(attention.sum(dim=1).max())
        places = (first + columns[:length]).clamp(max=own.shape[1] - 1)
        flat = torch.arange(len(batch), device=first.device).unsqueeze(1) * length
        return cls(
            ids=batch.ids[own].unsqueeze(0),
            positions=positions[own].unsqueeze(0),
            rows=number.gather(1, places).clamp(min=0),
            home=(flat + columns - first)[own],
            states=number[:, width - 1 :].clamp(min=0),
        )

    def inputs(self) -> dict[str, Any]:
        """What the model is called with; a mask of four dimensions it passes on untouched."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.ids.new_ones(1, 1, 1, 1, dtype=torch.bool),
            "position_ids": self.positions,
            "use_cache": False,
            "packing": self,
        }

    def split(self, x: Tensor) -> Tensor:
        """Packed (1, H, N, d) to rows (B, H, L, d)."""
        heads, width = x.shape[1], x.shape[3]
        tokens = x[0].transpose(0, 1).reshape(-1, heads * width)  # (N, H * d)
        batch, length = self.rows.shape
        gathered = tokens.index_select(0, self.rows.flatten())
        return gathered.view(batch, length, heads, width).transpose(1, 2)

    def unite(self, x: Tensor) -> Tensor:
        """Rows (B, H, L, d) to packed (1, N, H, d)."""
        _, heads, _, width = x.shape
        tokens = x.transpose(1, 2).reshape(-1, heads * width)
        return tokens.index_select(0, self.home).view(1, -1, heads, width)


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The library's SDPA attention, for packed tokens row by row.

    Within a row no mask is needed: padding stands behind the tokens, where causality hides it.
    """
    if packing is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    rows = torch.nn.functional.scaled_dot_product_attention(
        packing.split(query),
        packing.split(key),
        packing.split(value),
        is_causal=True,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return packing.unite(rows), None


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)


@torch.no_grad()
def can_pack(model: Any) -> bool:
    """Switch a bare model to the attention of this module, if its numbers stay what they were.

    A sliding window, a capped score or a bias of positions would be lost in it; a model that has
    one, or is built in a way that does not take it, gives other numbers on the trial batch and
    keeps its own attention.
    """
    config = model.config
    if config._attn_implementation != "sdpa" or getattr(config, "sliding_window", None):
        return False
    trial = _trial(config.vocab_size, model.device)
    packing = Packing.of(trial)
    try:
        plain = model.base_model(
            input_ids=trial.ids,
            attention_mask=trial.attention.long(),
            position_ids=trial.positions,
            use_cache=False,
        ).last_hidden_state[:, trial.prompt_width - 1 :]
        model.set_attn_implementation(NAME)
        packed = model.base_model(**packing.inputs()).last_hidden_state[0, packing.states]
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        same = False
    else:
        states = torch.nn.functional.pad(trial.mask, (1, 0), value=True)
        scale = plain[states].abs().max()
        limit = 1e-4 if plain.dtype == torch.float32 else 5e-2
        same = bool((plain[states] - packed[states]).abs().max() <= limit * scale)
    if not same and config._attn_implementation == NAME:
        model.set_attn_implementation("sdpa")
    return same


def _trial(vocabulary: int, device: torch.device) -> Sequences:
    """Three rows of unlike lengths, two of them with the same prompt."""
    ids = (torch.arange(3 * 12).view(3, 12) * 7 + 3) % vocabulary
    ids[1, :5] = ids[0, :5]
    attention = torch.ones(3, 12, dtype=torch.bool)
    attention[:2, :2] = False
    attention[1, 9:] = attention[2, 10:] = False
    owner = torch.tensor([0, 0, 2])
    return Sequences(ids, attention, attention[:, 5:], owner).to(device)
