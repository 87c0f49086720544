"""Several processes that train one model together, as `accelerate launch -m bench run ...` starts.

Each holds the whole model and goes through the same steps in the same order, with the same random
numbers, as if it were alone. What takes time is shared out: responses to decode, rows to score,
micro-batches of an update. What comes out is put together again before anything is decided with it:
results are gathered, gradients are summed. So whitening, the KL and its controller, early stopping
and every mean are over the whole batch without a word of their own, and a run has the same numbers
however many processes take part, but for the order in which sums are added.

torch's `DistributedDataParallel` would not do: it wraps one forward of one module, and here one
base is read in several ways, with another adapter each time.

Process 0 alone writes to the store, asks judges and prints (`bench.pipeline.stage`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
R = TypeVar("R")

# A process may wait for hours while another asks a judge. One that died is noticed otherwise: its
# connections close, and who started the processes (torch's elastic agent) ends the others.
_PATIENCE = timedelta(days=7)
_TOLD = "_told_by_the_first_process"


@dataclass
class _Here:
    """This process among all."""

    rank: int = 0
    count: int = 1
    world: int = 1  # how many there are, whether or not only one of them is at it
    in_step: bool = False
    real: int = 0  # of the items that `share_out` gave last, those that are no filling


_here = _Here()


def join() -> None:
    """Become one of the processes that the environment speaks of; nothing where there is one.

    The variables are those that torchrun and `accelerate launch` set (RANK, WORLD_SIZE, ...).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    _here.rank, _here.count = state.process_index, state.num_processes
    _here.world = _here.count


def leave() -> None:
    """Undo `join` before the process ends; nothing where there was none.

    Left to the end of the interpreter, the threads of its connections sometimes abort the process.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """How many processes share the work; 1 while only one of them is at it."""
    return _here.count


def world() -> int:
    """How many processes make the run, or will (`expect`)."""
    return _here.world


def expect(processes: int) -> None:
    """Say how many will make the run, for who counts its memory before they are started."""
    _here.world = processes


def rank() -> int:
    """The number of this process, from 0."""
    return _here.rank


def is_first() -> bool:
    """Whether this is process 0, which writes and prints."""
    return _here.rank == 0


@contextmanager
def alone() -> Iterator[None]:
    """While this lasts this process shares nothing: the others do something else, or wait."""
    shared, _here.count = _here.count, 1
    try:
        yield
    finally:
        _here.count = shared


def keep_in_step() -> None:
    """From now on every process goes through the model as often as the others.

    As a model needs of which each has a share (`bench.models.fast.sharding`). Where a process has
    less to do, `share_out` fills up with what it has done already.
    """
    _here.in_step = True


def in_step() -> bool:
    """Whether every process has to go through the model as often as the others."""
    return _here.in_step and count() > 1


def anywhere(flag: bool) -> bool:
    """`flag`; where processes keep in step, whether any of them has it."""
    return any(_exchanged(flag)) if in_step() else flag


def weighed(items: Sequence[T]) -> Iterator[tuple[T, float]]:
    """The items that `share_out` gave a function, with the factor on their losses.

    1; 0 where an item is there for another process to have company, and is another's to count.
    """
    for i, item in enumerate(items):
        yield item, float(i < _here.real)


def share_out(items: Sequence[T], function: Callable[[list[T]], list[R]]) -> list[R]:
    """Every process does a share of `items`; all of them get all results.

    Args:
        items: the same in every process, those that cost alike side by side.
        function: a result for each item that it is given; picklable, tensors `portable`. It
            must not share work out itself.

    Returns:
        The results in the order of `items`.

    Raises:
        Exception: what `function` raised in the first process in which it did; in all of them, so
            that none waits for another (but where they keep in step: there in this one alone).
    """
    if count() == 1:
        _here.real = len(items)
        return function(list(items))
    own = list(items[rank() :: count()])
    _here.real = len(own)
    if in_step():
        most = -(-len(items) // count())
        own += [items[0]] * (most - len(own))
    mine: list[R] = []
    problem: Exception | None = None
    try:
        mine = function(own)[: _here.real]
    except Exception as error:
        if in_step():  # the others wait inside the model: it ends here, and they are ended
            raise
        problem = error  # raised again below, by every process
    results: list[Any] = [None] * len(items)
    for first, (theirs, theirs_problem) in enumerate(_exchanged((mine, problem))):
        if theirs_problem is not None:
            raise _told(theirs_problem)
        results[first :: count()] = theirs
    return results


def from_first(function: Callable[[], R]) -> R:
    """What process 0 gets of `function`, at all; the others wait for it and do not call it.

    Raises:
        BaseException: what `function` raised, in all processes.
    """
    if count() == 1:
        return function()
    answer: tuple[Any, BaseException | None] = None, None
    if is_first():
        try:
            with alone():
                answer = function(), None
        except BaseException as error:  # noqa: BLE001 - raised again below, by every process
            answer = None, error
    result, problem = _exchanged(answer)[0]
    if problem is not None:
        raise _told(problem)
    return result


def portable(result: Tensor) -> Tensor:
    """A tensor as another process can have it: on the CPU; alone, as it is."""
    return result if count() == 1 else result.cpu()


def after_first(function: Callable[[], R]) -> R:
    """What `function` gives in each process, which call it once the first one is through.

    So that what it writes, the others find, and what it raises is said once.
    """
    if count() == 1:
        return function()
    found: list[R] = []
    from_first(lambda: found.append(function()))
    return found[0] if is_first() else function()


def is_told(error: BaseException) -> bool:
    """Whether the first process has the same error, or what it comes from, and says it."""
    return any(getattr(e, _TOLD, False) for e in (error, error.__cause__))


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every process the sum of all processes' gradients of weights that each has whole."""
    if count() == 1 or not parameters:
        return
    import torch

    # One message for all: adapters are many small tensors.
    grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in parameters]
    flat = summed(torch.cat([grad.flatten() for grad in grads]))
    parts: Sequence[Tensor] = flat.split([grad.numel() for grad in grads])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def summed(x: Tensor) -> Tensor:
    """The sum of what all processes have, in each of them; written over `x`."""
    if count() == 1:
        return x
    import torch

    with _together():
        torch.distributed.all_reduce(x)
    return x


def _told(problem: BaseException) -> BaseException:
    setattr(problem, _TOLD, not is_first())
    return problem


def _exchanged(mine: R) -> list[R]:
    """What every process gave, by rank."""
    import torch

    found: list[Any] = [None] * count()
    with _together():
        torch.distributed.all_gather_object(found, mine)
    return found


@contextmanager
def _together() -> Iterator[None]:
    """Turn the library's word for a connection that closed into one for people."""
    import torch

    try:
        yield
    except torch.distributed.DistError as error:
        raise _gone() from error
    except RuntimeError as error:  # gloo has no error of its own
        if "closed by peer" in str(error).lower() or "connection" in str(error).lower():
            raise _gone() from error
        raise


def _gone() -> UserError:
    return UserError(
        "another process of this run has ended; what is finished is kept, run the same command "
        "again to go on",
        exit_code=1,
    )
