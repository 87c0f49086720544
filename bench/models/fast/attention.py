"""Attention among packed tokens: who attends to whom, and the kernels that compute it.

Packed tokens lie end to end, (1, N, ...), and attention alone needs to know which of them belong
together. A `Span` says it for some rows at once; a kernel turns it into what its library wants:

    Rows     gathered into padded rows, for PyTorch's scaled_dot_product_attention: every device
    Varlen   flat, for PyTorch's varlen_attn (FlashAttention): CUDA, half precision, no padding
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "grainbench"
HALF = (torch.bfloat16, torch.float16)
WIDEST = 192  # heads whose FlashAttention backward every GPU has (arXiv:2307.08691)


@dataclass(frozen=True)
class Span:
    """Rows of packed tokens that attend together, each to everything before it in its row.

    Shorter rows are filled up on the right with tokens of any kind.

    Attributes:
        queries: (b, Q) indices of the packed tokens that attend.
        keys: (b, L) indices of those that they may attend to, from the row's first token on. The
            last query of a row sees its last key, the query before sees one key less, and so on.
        query_counts: (b,) queries of each row, perhaps 0.
        key_counts: (b,) keys of each row, never fewer than its queries.
        same: whether queries and keys are the same tokens.
    """

    queries: Tensor
    keys: Tensor
    query_counts: Tensor
    key_counts: Tensor
    same: bool = False

    @classmethod
    def whole(cls, tokens: Tensor, counts: Tensor) -> Span:
        """Rows of (b, L) tokens that attend to each other."""
        return cls(tokens, tokens, counts, counts, same=True)


class Kernel(ABC):
    """One span, prepared once for all layers of the model.

    Attributes:
        tokens: (n,) indices of the tokens whose result is here, row by row.
    """

    tokens: Tensor

    @abstractmethod
    def __init__(self, span: Span) -> None: ...

    @abstractmethod
    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """(n, H * d) results for `tokens`, from packed tensors (N, H, d).

        Keys and values may have fewer heads.
        """


class Rows(Kernel):
    """The span as padded rows."""

    def __init__(self, span: Span) -> None:
        self.span = span
        columns = torch.arange(span.queries.shape[1], device=span.queries.device)
        real = columns < span.query_counts.unsqueeze(1)  # (b, Q)
        self.places = real.flatten().nonzero().flatten()
        self.tokens = span.queries.flatten()[self.places]
        # Queries that are their row's keys need no mask, and without one the kernels are faster:
        # what fills a row up stands behind its tokens, which therefore do not see it.
        self.mask = None
        if not span.same:
            last = (span.key_counts - span.query_counts).unsqueeze(1) + columns  # (b, Q)
            keys = torch.arange(span.keys.shape[1], device=span.keys.device)
            self.mask = (keys <= last.unsqueeze(2)).unsqueeze(1)  # (b, 1, Q, L)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """As rows (b, H, Q, d) against rows (b, H, L, d)."""
        query = _rows(query, self.span.queries)
        key, value = _rows(key, self.span.keys), _rows(value, self.span.keys)
        grouped = query.shape[1] > key.shape[1] and takes_groups(self.mask, query)
        if not grouped:
            key, value = _repeated(query, key, value)
        found = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=self.mask,
            is_causal=self.mask is None,
            scale=scale,
            enable_gqa=grouped,
        )
        return found.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, self.places)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Packed (N, H, d) to rows (b, H, L, d) by index (b, L)."""
    rows = x.flatten(1).index_select(0, index.flatten())
    return rows.view(*index.shape, *x.shape[1:]).transpose(1, 2)


def takes_groups(mask: Tensor | None, query: Tensor) -> bool:
    """Whether a fast kernel is sure to take keys with fewer heads than the queries have.

    On every GPU that is FlashAttention, which knows half precision, no mask, and heads of up to
    256. Where no fast kernel takes them (some newer ones do, on some GPUs), PyTorch takes its
    reference implementation ("math"), many times as slow and with all scores in memory, and does
    not say so; repeating the keys costs far less.
    """
    fast = query.device.type != "cuda" or query.dtype in HALF
    return mask is None and fast and query.shape[-1] <= 256


def _repeated(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    groups = query.shape[1] // key.shape[1]
    return repeat_kv(key, groups), repeat_kv(value, groups)


class Varlen(Kernel):
    """The span without any padding: rows end to end, and where each of them begins.

    References:
        arXiv:2307.08691 (FlashAttention-2); its causal mask ends in the last query and key of a
        row, which is what a `Span` asks for.
    """

    def __init__(self, span: Span) -> None:
        self.tokens = _flat(span.queries, span.query_counts)
        self.keys = self.tokens if span.same else _flat(span.keys, span.key_counts)
        order = torch.arange(len(self.tokens), device=self.tokens.device)
        self.in_order = span.same and bool((self.tokens == order).all())
        self.starts = _starts(span.query_counts), _starts(span.key_counts)
        self.longest = int(span.query_counts.max()), int(span.key_counts.max())

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """As (n, H, d) against flat keys (m, H or fewer, d)."""
        if query.shape[2] > WIDEST:
            raise ValueError(f"FlashAttention has no backward for heads of {query.shape[2]}")
        options: dict[str, Any] = _GROUPS if query.shape[1] > key.shape[1] else {}
        if not (self.in_order and len(self.tokens) == len(query)):  # else they are all, as they lie
            query = query.index_select(0, self.tokens)
            key, value = (x.index_select(0, self.keys) for x in (key, value))
        found: Any = varlen_attn(
            query,
            key,
            value,
            *self.starts,
            *self.longest,
            scale=scale,
            window_size=(-1, 0),  # everything before, nothing behind
            **options,
        )
        results: Tensor = found.flatten(1)
        return results


# PyTorch 2.11 takes keys with fewer heads as they are, later ones want to be told.
_GROUPS = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def _flat(index: Tensor, counts: Tensor) -> Tensor:
    """The first `counts` (b,) of each row of (b, L), end to end."""
    columns = torch.arange(index.shape[1], device=index.device)
    return index[columns < counts.unsqueeze(1)]


def _starts(counts: Tensor) -> Tensor:
    """(b + 1,) where each row begins, and the end of the last."""
    return pad(counts.cumsum(0), (1, 0)).to(torch.int32)


def kernels(device: torch.device, dtype: torch.dtype) -> list[type[Kernel]]:
    """What may be tried for a model there, the fastest first."""
    nvidia = device.type == "cuda" and torch.version.hip is None  # ROCm has a kernel of its own
    return [Varlen, Rows] if nvidia and dtype in HALF else [Rows]


class Attends(Protocol):
    """What packed tokens are given to: `bench.models.fast.packing.Packed`."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, *, last: bool
    ) -> Tensor:
        """(N, H * d) from (N, H, d); `last`: in the model's last layer."""


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed: Attends | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What the library calls in every layer of a model that was switched to `NAME`.

    Args:
        module: the layer.
        query: (B, H, S, d).
        key: (B, H or fewer, L, d).
        value: likewise.
        attention_mask: (B, 1, S, L) bool, or None: causal.
        packed: the batch, where it is packed (B = 1); else this is the library's own attention,
            on rows and in decoding.
        scaling: of the scores; None: 1 / sqrt(d).
        **options: the library's.
    """
    if packed is not None:
        config: Any = module.config
        last = module.layer_idx == config.num_hidden_layers - 1
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # (N, H, d)
        found = packed.attend(q, k, v, scaling, last=last)
        return found.view(1, *query.shape[2:0:-1], -1), None
    layer: Any = module
    if query.shape[1] > key.shape[1] and attention_mask is None and not takes_groups(None, query):
        # The library asks for groups wherever there is no mask, and would get the slow kernel.
        key, value = _repeated(query, key, value)
        layer = SimpleNamespace(is_causal=getattr(module, "is_causal", True))
    return sdpa_attention_forward(
        layer, query, key, value, attention_mask, scaling=scaling, **options
    )


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
