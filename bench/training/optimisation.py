"""What the loops share: the optimiser, its schedule, and the order of batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bench.errors import Diverged

BETAS = (0.9, 0.98)
BUCKET = 8  # batches from which rows of like length are put together


def adamw(
    groups: Iterable[tuple[Iterable[nn.Parameter], float]],
    *,
    eps: float = 1e-8,
    beta2: float = BETAS[1],
) -> torch.optim.AdamW:
    """AdamW without weight decay over (parameters, learning rate) groups."""
    return torch.optim.AdamW(
        [{"params": list(parameters), "lr": lr} for parameters, lr in groups],
        betas=(BETAS[0], beta2),
        eps=eps,
        weight_decay=0.0,
        fused=True,
    )


def decay(kind: Literal["constant", "linear", "cosine"], done: int, steps: int) -> float:
    """Factor on the learning rate after `done` of `steps` steps: from 1 to 0, or always 1."""
    share = min(max(done / max(1, steps), 0.0), 1.0)
    if kind == "linear":
        return 1.0 - share
    return 0.5 * (1.0 + math.cos(math.pi * share)) if kind == "cosine" else 1.0


def linear_schedule(optimiser: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Learning rate rising over the share `warmup` of `steps`, then falling to 0 in a line."""
    rising = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return max(0.0, (steps - step) / max(1, steps - rising))

    return LambdaLR(optimiser, factor)


def step(
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    max_grad_norm: float | None,
) -> float:
    """Clip (None: do not), step, zero; returns the gradient's norm before clipping.

    Raises:
        Diverged: if the gradient is not finite (a step would spoil every weight).
    """
    most = math.inf if max_grad_norm is None else max_grad_norm
    norm = finite(torch.nn.utils.clip_grad_norm_(parameters, most), "a gradient's norm")
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return float(norm)


def shuffled_batches(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """One pass over the rows in batches of like length, in random order.

    Rows are shuffled, sorted by length within `BUCKET` batches, and the batches shuffled: little
    padding, while what meets in a batch stays mostly random.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches: list[list[int]] = []
    span = BUCKET * batch_size
    for start in range(0, len(order), span):
        bucket = sorted(order[start : start + span], key=lambda i: lengths[i])
        batches += [bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size)]
    for i in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[i]


def generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by what `parts` spell, so that streams never overlap by accident."""
    import hashlib

    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def finite(loss: Tensor, what: str) -> Tensor:
    """`loss` (or another number), or `Diverged` if it is NaN or infinite."""
    if not torch.isfinite(loss):
        raise Diverged(f"{what} is {loss.item()}: the run diverged")
    return loss
