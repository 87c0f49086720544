"""Batches without padding: all rows' tokens end to end, a prompt that several rows share once.

Norms, projections and MLPs then work on real tokens only; attention alone needs rows, and gathers
them from the packed tokens and back::

    padded    . A B | c d .        packed    A B c d e f g      (N = 7 instead of 12)
              . A B | e f g        number    0 1 2 3 4 5 6

    Block 1   queries A B, keys A B              the prompts, each once, causally
    Block 2   queries c d, keys A B c d          the responses, each behind its prompt: `mask`
              queries e f g, keys A B e f g      lets a query see up to itself

Two blocks, since a prompt that is shared must attend only once and causal attention without a mask
has the faster kernel. The numbers are those of the padded batch (tests hold it; a
model is asked once, when it is loaded, whether it gives them, and else stays padded).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import (
    repeat_kv,
    sdpa_attention_forward,
    use_gqa_in_sdpa,
)
from transformers.masking_utils import sdpa_mask

from bench.models.sequences import Sequences

NAME = "packed_sdpa"
# What attends otherwise than to everything before it, where a short trial may not show it.
UNLIKE = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping", "alibi")


@dataclass(frozen=True)
class Block:
    """Rows of packed tokens that attend together.

    Attributes:
        queries: (b, Q) indices of the packed tokens that attend.
        keys: (b, L) indices of those that they may attend to, from the row's first token on.
        mask: (b, 1, Q, L) True = may attend; None: causally, queries and keys being the same.
        tokens: (n,) indices of the tokens whose result is here.
        places: (n,) where, in the flattened (b, Q).
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor | None
    tokens: Tensor
    places: Tensor

    @classmethod
    def of(cls, queries: Tensor, keys: Tensor, real: Tensor, last_key: Tensor | None) -> Block:
        """A block in which query (b, Q) sees the keys up to `last_key`; `real` ones are kept."""
        mask = None
        if last_key is not None:
            columns = torch.arange(keys.shape[1], device=keys.device)
            mask = (columns <= last_key.unsqueeze(2)).unsqueeze(1)
        places = real.flatten().nonzero().flatten()
        return cls(queries, keys, mask, queries.flatten()[places], places)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        """(n, H * d) results for `tokens`, from packed tensors (1, H, N, d).

        Keys and values may have fewer heads. The kernel groups the queries itself where the library
        says that a fast one does (with a mask none does on a GPU), else they are repeated.
        """
        key, value = _rows(key, self.keys), _rows(value, self.keys)
        groups = query.shape[1] // key.shape[1]
        grouped = groups > 1 and use_gqa_in_sdpa(self.mask, key, value)
        if groups > 1 and not grouped:
            key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        found = torch.nn.functional.scaled_dot_product_attention(
            _rows(query, self.queries),
            key,
            value,
            attn_mask=self.mask,
            is_causal=self.mask is None,
            enable_gqa=grouped,
            **options,
        )
        return found.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, self.places)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Packed (1, H, N, d) to rows (b, H, L, d) by index (b, L)."""
    heads, width = x.shape[1], x.shape[3]
    tokens = x[0].transpose(0, 1).reshape(-1, heads * width).index_select(0, index.flatten())
    return tokens.view(*index.shape, heads, width).transpose(1, 2)


@dataclass(frozen=True)
class Packing:
    """Where each token of a padded batch stands among N packed ones.

    Attributes:
        ids, positions: (1, N) token ids and position ids.
        states: (B, T + 1) index of the state before each response token and behind the last;
            any at padding.
        blocks: the prompts, and the responses behind them.
        last: the states that are read, in the last layer: what stands elsewhere reaches nothing.
    """

    ids: Tensor
    positions: Tensor
    states: Tensor
    blocks: tuple[Block, ...]
    last: tuple[Block, ...]

    @classmethod
    def of(cls, batch: Sequences, read: Tensor | None = None) -> Packing:
        """Pack a batch; equal prompts (`Sequences.prompt_of`) are kept once.

        Args:
            batch: B rows.
            read: (B, T + 1) True = a state that is needed; None: all but padding's.
        """
        attention, width, owner = batch.attention, batch.prompt_width, batch.prompt_of
        device = attention.device
        # Number the tokens that are kept: all responses, and of equal prompts the first row's. The
        # other rows' prompts get that row's numbers: equal prompts stand in equal columns. What
        # padding gets does not matter, no query that is kept sees it.
        first = attention.int().argmax(dim=1, keepdim=True)  # (B, 1) column of the first token
        owners = owner == torch.arange(len(batch), device=device)  # (B,) their prompts are kept
        own = attention.clone()
        own[:, :width] &= owners.unsqueeze(1)
        number = (own.flatten().cumsum(0) - 1).view_as(own)  # (B, S) index among the packed
        number = torch.cat([number[owner, :width], number[:, width:]], dim=1).clamp(min=0)
        # Keys: each row's tokens from its first on, prompt and response. Shorter rows are filled up
        # with whatever stands behind them, which the masks below hide.
        lengths = attention.sum(dim=1, keepdim=True)  # (B, 1)
        columns = torch.arange(int(lengths.max()), device=device)
        keys = number.gather(1, (first + columns).clamp(max=own.shape[1] - 1))
        # States: from the prompt's last token, in which the first response token is drawn, to the
        # last response token. State t sees the prompt and t response tokens, itself among them.
        states = number[:, width - 1 :]
        before = lengths - batch.lengths.unsqueeze(1) - 1  # (B, 1) key of the prompt's last token
        last_key = before + torch.arange(states.shape[1], device=device)
        # Prompts begin their rows, so they are the keys' first columns. A shorter one runs into its
        # response there: causally, so that the prompt does not notice, and `in_prompt` drops it.
        prompts = keys[owners, : width - int(first.min())]
        in_prompt = columns[: prompts.shape[1]] <= before[owners]
        if read is None:
            read = torch.nn.functional.pad(batch.mask, (1, 0), value=True)
        # What the last layer gives reaches no other token, so there only the states that are read
        # need attend. A stable sort moves their columns to the left, where the rest is cut off.
        picked = (~read).int().argsort(dim=1, stable=True)[:, : int(read.sum(dim=1).max())]
        return cls(
            ids=batch.ids[own].unsqueeze(0),
            positions=batch.positions[own].unsqueeze(0),
            states=states,
            blocks=(
                Block.of(prompts, prompts, in_prompt, None),
                Block.of(states[:, 1:], keys, batch.mask, last_key[:, 1:]),
            ),
            last=(
                Block.of(
                    states.gather(1, picked),
                    keys,
                    read.gather(1, picked),
                    last_key.gather(1, picked),
                ),
            ),
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

    @property
    def read(self) -> Tensor:
        """(n,) indices of the tokens whose last states are needed."""
        return self.last[0].tokens.unique()

    @cached_property
    def home(self) -> Tensor:
        """(N,) place of each token's result among those of `blocks`."""
        return self._home(self.blocks)

    @cached_property
    def last_home(self) -> Tensor:
        """(N,) the same among those of `last`, and the place behind them for who has none."""
        return self._home(self.last)

    def _home(self, blocks: tuple[Block, ...]) -> Tensor:
        # The blocks' results lie end to end; who is in none points behind them, at a row of zeros.
        tokens = torch.cat([block.tokens for block in blocks])
        nowhere = tokens.new_full((self.ids.shape[1],), len(tokens))
        return nowhere.scatter(0, tokens, torch.arange(len(tokens), device=tokens.device))

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, last: bool, **options: Any
    ) -> Tensor:
        """Packed (1, N, H, d); 0 where the layer is the `last` and the state is not read."""
        _, heads, total, _ = query.shape
        blocks, home = (self.last, self.last_home) if last else (self.blocks, self.home)
        parts = [block.attend(query, key, value, **options) for block in blocks]
        nothing = [parts[0].new_zeros(1, parts[0].shape[1])] if last else []
        return torch.cat([*parts, *nothing]).index_select(0, home).view(1, total, heads, -1)


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
    """The library's SDPA attention, for packed tokens block by block."""
    if packing is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    config: Any = module.config
    attended = packing.attend(
        query,
        key,
        value,
        last=module.layer_idx == config.num_hidden_layers - 1,
        scale=scaling,
    )
    return attended, None


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)


def may_pack(config: Any) -> bool:
    """Whether nothing in a configuration speaks against packing; a trial decides (`can_pack`)."""
    sdpa = config._attn_implementation in ("sdpa", NAME)
    return sdpa and not any(getattr(config, x, None) for x in UNLIKE)


@torch.no_grad()
def can_pack(model: Any) -> bool:
    """Switch a bare model to the attention of this module, if its numbers stay what they were.

    A sliding window, a capped score or a bias of positions would be lost in it; a model that has
    one, or is built in a way that does not take it, gives other numbers on the trial batch and
    keeps its own attention.
    """
    config = model.config
    if not may_pack(config):
        return False
    # Asking the model is surer than a list of architectures: whatever attends otherwise, or drops
    # the option `packing` on its way to the attention, gives other numbers or an error.
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
        limit = 1e-4 if plain.dtype == torch.float32 else 2e-2
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
