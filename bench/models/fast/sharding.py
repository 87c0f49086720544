"""A base of which every process holds a share (FSDP2), for one that does not fit on one GPU.

torch's `fully_shard` gathers a layer's weights before its forward and its backward, and lets go of
them behind it. Embedding, head and adapters stay whole in every process.

Where the base itself is trained (full SFT), each process has the gradients, moments and new values
of its share alone, and torch adds up all processes' gradients while it hands the shares out.

Gathering takes all processes at once: each has to go through the layers as often as the others
(`bench.models.processes.in_step`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.models import processes
from bench.models.fast.checkpointing import layers_of


def load_shared(load: Callable[[], Any], device: torch.device, *, trains: bool = False) -> Any:
    """Load a model and keep this process's share of its layers.

    One process after the other: each has the whole model in its machine's memory for a moment.

    Args:
        load: reads the model to the CPU.
        device: where the share lives.
        trains: whether the base itself is trained.
    """
    model = None
    for turn in range(processes.count()):
        if processes.rank() == turn:
            model = shared(load(), device, trains=trains)
        processes.from_first(lambda: None)  # nobody goes on before the turn is over
    processes.keep_in_step()
    return model


def shared(model: Any, device: torch.device, *, trains: bool = False) -> Any:
    """Keep this process's share of a model's layers, frozen or to be trained."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model.requires_grad_(trains)  # before the first forward, after which FSDP2 asks no more
    mesh = init_device_mesh(device.type, (processes.count(),))
    layers: list[Any] = layers_of(model.base_model)
    for layer in layers:
        # Said, since a layer that is sharded by itself would else keep what it has gathered.
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        # Losses are parts of the whole batch's already: their gradients add up, where FSDP2 would
        # take the mean over processes.
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)  # gloo knows no sum that is scaled
    return model


def is_share(x: Any) -> bool:
    """Whether a process has a part of this tensor alone."""
    if processes.count() == 1:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(x, DTensor)


def local(x: Tensor) -> Tensor:
    """This process's part of a tensor, in place; the tensor itself where it is whole."""
    here: Any = x
    mine: Tensor = here.to_local() if is_share(x) else x
    return mine


def whole(x: Any) -> Any:
    """All of a tensor of which every process has a share; anything else as it is.

    Every process must ask at once.
    """
    return x.full_tensor() if is_share(x) else x


def like(x: Tensor, other: Tensor) -> Tensor:
    """A whole tensor as `other` is: a share where that is one."""
    if not is_share(other):
        return x
    from torch.distributed.tensor import distribute_tensor

    shared_out: Any = other
    return distribute_tensor(x.to(other.device), shared_out.device_mesh, shared_out.placements)


def gathered(model: torch.nn.Module) -> dict[str, Tensor]:
    """A model's weights by name, whole and on the CPU, for process 0; the others get none."""
    found = {}
    for name, parameter in model.named_parameters():  # one at a time: all do not fit
        weight = whole(parameter.detach())
        if processes.is_first():
            found[name] = weight.cpu()
    return found
