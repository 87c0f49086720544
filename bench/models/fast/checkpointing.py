"""Decoder layers that keep their input alone, and run once more in the backward.

A layer of LLaMA-7B keeps some 190 kB a token for the backward, its input takes 8. To compute the
rest again costs a third more time. What comes out is the same to the bit: the same operations on
the same numbers, and nothing in them is random (models are in evaluation mode, adapters have no
dropout).

The library's own switch asks for training mode, which would bring a model's dropout back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from bench.models.fast.forwards import forwards


def layers_of(decoder: nn.Module) -> list[nn.Module]:
    """The layers that a decoder runs one behind the other; none where they cannot be told."""
    return list(next((m for m in decoder.modules() if isinstance(m, nn.ModuleList)), []))


@contextmanager
def recomputed(
    decoder: nn.Module, again: Callable[[], AbstractContextManager[Any]]
) -> Iterator[None]:
    """While this lasts, what the decoder's layers compute is not kept but computed again.

    Args:
        decoder: the model without its LM head, called without a cache.
        again: what must hold while a layer is computed again, long after this has ended: the
            adapter that was active, and where the last MLP works.
    """
    layers = layers_of(decoder) if torch.is_grad_enabled() else []
    with forwards({layer: _twice(layer.forward, again) for layer in layers}):
        yield


def _twice(
    plain: Callable[..., Any], again: Callable[[], AbstractContextManager[Any]]
) -> Callable[..., Any]:
    def forward(*args: Any, **options: Any) -> Any:
        return checkpoint(
            plain,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), again()),
            **options,
        )

    return forward
