"""The last layer's MLP at the positions that are read, and at no others.

What that MLP makes of a token reaches the token's own last hidden state and nothing else: no later
layer attends to it. A reward model that reads one output a response needs it at one position, and
nobody needs it at the prompt. The states that are read are what they were, and so are the
gradients (tests hold it).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def last_mlp(decoder: nn.Module) -> nn.Module | None:
    """The last layer's MLP, where it maps tokens to tokens one by one; None: leave it as it is.

    A mixture of experts may answer with more than a tensor, and an MLP that takes the residual as
    well (BLOOM) adds it itself: those stay whole.
    """
    layers = next((m for m in decoder.children() if isinstance(m, nn.ModuleList)), None)
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    if not isinstance(mlp, nn.Module) or hasattr(mlp, "experts"):
        return None
    return mlp if len(inspect.signature(mlp.forward).parameters) == 1 else None


@contextmanager
def last_mlp_at(decoder: nn.Module, places: Tensor, shape: torch.Size) -> Iterator[None]:
    """While this lasts, the last layer's MLP works at `places` and gives 0 elsewhere.

    Args:
        decoder: the model without its LM head.
        places: (n,) indices into a batch's flattened positions, each at most once.
        shape: (rows, columns) of the batch.
    """
    mlp = last_mlp(decoder)
    if mlp is None:
        yield
        return

    def pick(_: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
        return args[0].flatten(0, 1).index_select(0, places)

    def put(_: nn.Module, args: tuple[Any, ...], found: Tensor) -> Tensor:
        everywhere = found.new_zeros(shape.numel(), found.shape[-1])
        return everywhere.index_copy(0, places, found).view(*shape, -1)

    hooks = mlp.register_forward_pre_hook(pick), mlp.register_forward_hook(put)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
