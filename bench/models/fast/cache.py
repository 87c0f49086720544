"""A key-value cache that writes into room set aside, where the library's copies itself a token.

Layers that carry a state instead (Mamba, linear attention) keep the library's own.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin


class RoomyLayer(DynamicLayer):
    """One layer's keys and values (B, heads, tokens, d): views of buffers with room for more.

    Args:
        capacity: tokens that fit.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.buffers: tuple[Tensor, ...] = ()
        self.length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add the tokens' keys and values; returns all so far."""
        new = key_states, value_states
        if not self.is_initialized:
            self.lazy_initialization(*new)
            self.buffers = tuple(x.new_empty(*x.shape[:2], self.capacity, x.shape[3]) for x in new)
        start, self.length = self.length, self.length + key_states.shape[2]
        for buffer, states in zip(self.buffers, new, strict=True):
            buffer[:, :, start : self.length] = states
        self._view()
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows in `indices`."""
        if self.buffers:
            self.buffers = tuple(buffer[indices] for buffer in self.buffers)
            self._view()

    def _view(self) -> None:
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)


def select_rows(cache: DynamicCache, rows: Tensor) -> None:
    """Keep the rows of a batch that `rows` lists, in every layer of the cache."""
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            layer.reorder_cache(rows)  # these have no method for it by name; keys and values too
        else:
            layer.batch_select_indices(rows)


def roomy_cache(config: Any, capacity: int) -> DynamicCache:
    """The model's own cache, its layers of full attention replaced by ones with room."""
    cache = DynamicCache(config=config)
    cache.layers = [
        RoomyLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache
