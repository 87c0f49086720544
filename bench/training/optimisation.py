"""What the loops share: the optimiser, its schedule, the order of batches, and how they go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils._pytree import tree_map

from bench.errors import Diverged
from bench.models import processes
from bench.models.fast.sharding import is_share, like, local, whole

if TYPE_CHECKING:
    from bench.config.run import Schedule
    from bench.training.checkpoints import Checkpoints

T = TypeVar("T")
Measured = dict[str, Tensor]  # numbers by name, without gradient

BETAS = (0.9, 0.98)
BUCKET = 8  # batches from which rows of like length are put together


def adamw(
    groups: Iterable[tuple[Iterable[nn.Parameter], float]],
    *,
    eps: float = 1e-8,
    beta2: float = BETAS[1],
) -> torch.optim.AdamW:
    """AdamW without weight decay over (parameters, learning rate) groups."""
    listed = [(list(parameters), lr) for parameters, lr in groups]
    # torch's fused step takes no mixture of whole weights and shares.
    shares = any(is_share(parameter) for parameters, _ in listed for parameter in parameters)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": lr} for parameters, lr in listed],
        betas=(BETAS[0], beta2),
        eps=eps,
        weight_decay=0.0,
        fused=not shares,
        foreach=False if shares else None,
    )


def rate_factor(kind: Schedule, done: int, steps: int, rising: int = 0) -> float:
    """Factor on the learning rate of the step that follows `done` of `steps` steps.

    It rises in a line over the first `rising` steps, of which the first has 1 / rising already (in
    the transformers library it has 0), and then goes from 1 to 0 as `kind` says, or stays 1.
    """
    done = max(0, done)
    if done < rising:
        return (done + 1) / rising
    falling = max(1, steps - rising)
    left = min(max(0, steps - done), falling) / falling
    if kind == "linear":
        return left
    return 0.5 * (1.0 - math.cos(math.pi * left)) if kind == "cosine" else 1.0


def step(
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    max_grad_norm: float | None,
) -> float:
    """Clip (None: do not), step, zero; returns the gradient's norm before clipping.

    Raises:
        Diverged: if the gradient is not finite (a step would spoil every weight).
    """
    norm = finite(_clip(parameters, max_grad_norm), "a gradient's norm")
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return float(norm)


def _clip(parameters: Sequence[nn.Parameter], max_grad_norm: float | None) -> Tensor:
    """The gradient's norm, before it is clipped."""
    most = math.inf if max_grad_norm is None else max_grad_norm
    shares = [local(p.grad) for p in parameters if p.grad is not None and is_share(p)]
    if not shares:
        return torch.nn.utils.clip_grad_norm_(parameters, most)
    rest = [p.grad for p in parameters if p.grad is not None and not is_share(p)]
    squares = processes.summed(torch.nn.utils.get_total_norm(shares).square())
    norm = (squares + torch.nn.utils.get_total_norm(rest).square()).sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)  # as torch's own clipping
    for grad in [*shares, *rest]:
        grad.mul_(factor)
    return norm


def add_gradients(
    parts: Sequence[T], forward: Callable[[T], tuple[Tensor, Measured]]
) -> list[Measured]:
    """Add up the gradient of a batch's loss, of which only a part is in memory at once.

    Several processes share the parts out; each has the gradients of its own until
    `processes.sum_gradients`.

    Args:
        parts: micro-batches.
        forward: a part's share of the loss, and what is measured of the part.

    Returns:
        What was measured, part by part.
    """

    def work(own: list[T]) -> list[Measured]:
        found = []
        for part, weight in processes.weighed(own):
            loss, measured = forward(part)
            (loss * weight).backward()
            found.append({name: processes.portable(x) for name, x in measured.items()})
        return found

    return processes.share_out(parts, work)


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


class Descent:
    """AdamW's steps over shuffled batches, pass after pass; they go on from a checkpoint.

    All that decides the steps to come is in the checkpoint: weights, moments, learning rate, and
    the place in the order of batches. Torch's global generator is not: no step draws from it, since
    models are in evaluation mode and adapters have no dropout.

    Args:
        parameters: what is trained.
        lr: the peak of the learning rate.
        lr_schedule: how it falls from there (`rate_factor`).
        warmup: share of the steps over which it rises.
        steps: how many in all.
        max_grad_norm: to which gradients are clipped.
        rng: source of the batches' order; of nothing else from now on.
        checkpoints: where to go on from, and to write to; None: begin, and write nothing.
        on_step: called with a row after every step, first with those before a checkpoint.

    Attributes:
        done: steps so far.
        tokens: a caller's count of what it trained on so far.
        rows: what was measured at every step, beside its number.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        lr: float,
        lr_schedule: Schedule,
        warmup: float,
        steps: int,
        max_grad_norm: float,
        rng: torch.Generator,
        checkpoints: Checkpoints | None = None,
        on_step: Callable[[dict[str, float]], None] = lambda row: None,
    ) -> None:
        self.parameters, self.steps, self.max_grad_norm = parameters, steps, max_grad_norm
        self.optimiser = adamw([(parameters, lr)])
        rising = max(1, round(warmup * steps))
        self.schedule = LambdaLR(
            self.optimiser, lambda done: rate_factor(lr_schedule, done, steps, rising)
        )
        self.rng, self.checkpoints = rng, checkpoints
        self.done, self.tokens = 0, 0
        self.rows: list[dict[str, float]] = []
        self.on_step = on_step
        self._pass_began, self._place = rng.get_state(), 0
        if checkpoints and (state := checkpoints.read()):
            self.restore(state)

    def batches(self, lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
        """Batches of row indices until all steps are done; one `step` must follow each."""
        while self.done < self.steps:
            self._pass_began = self.rng.get_state()
            order = list(shuffled_batches(lengths, batch_size, self.rng))
            for index in order[self._place :]:
                yield index
                if self.checkpoints and processes.anywhere(self.checkpoints.due()):
                    self.checkpoints.write(self.state())
                if self.done == self.steps:
                    return
            self._place = 0

    def step(
        self, parts: Sequence[T], forward: Callable[[T], tuple[Tensor, Measured]]
    ) -> dict[str, float]:
        """One step down the gradient of a batch's loss; takes what `add_gradients` takes.

        Returns:
            The sums over the parts of what was measured, by name; the step's row has them too.
        """
        found = add_gradients(parts, forward)
        processes.sum_gradients([p for p in self.parameters if not is_share(p)])
        step(self.optimiser, self.parameters, self.max_grad_norm)
        self.schedule.step()
        self.done += 1
        self._place += 1
        sums = {name: sum(part[name].item() for part in found) for name in found[0]}
        self._add({"step": self.done, **sums})
        return sums

    def _add(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        self.on_step(row)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        rate: float = self.optimiser.param_groups[0]["lr"]
        return rate

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, whole whatever share of it each process has."""
        state = {
            "parameters": [p.detach() for p in self.parameters],
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "pass_began": self._pass_began,
            "place": self._place,
            "done": self.done,
            "tokens": self.tokens,
        }
        whole_state: dict[str, Any] = tree_map(whole, state)
        return whole_state | {"rows": self.rows}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the steps that follow are those of an uninterrupted run."""
        set_values(self.parameters, state["parameters"])
        moments, groups = state["optimiser"]["state"], state["optimiser"]["param_groups"]
        for index, of_one in moments.items():
            for name in ("exp_avg", "exp_avg_sq"):
                of_one[name] = like(of_one[name], self.parameters[index])
        # Which of torch's ways to take a step depends on who has which weights now (`adamw`).
        for group, own in zip(groups, self.optimiser.param_groups, strict=True):
            group |= {way: own[way] for way in ("fused", "foreach")}
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.rng.set_state(state["pass_began"])  # the pass is shuffled once more, up to the place
        self._place, self.done, self.tokens = state["place"], state["done"], state["tokens"]
        for row in state["rows"]:
            self._add(row)


@torch.no_grad()
def set_values(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy `values`, which are whole, into `parameters`, of which some may be shares."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(like(value, parameter))


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
