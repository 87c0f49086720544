"""A base of which every process holds a share (FSDP2), for one that does not fit on one GPU.

torch's `fully_shard` gathers a layer's weights before its forward and its backward, and lets go of
them behind it. Embedding, head and adapters stay whole in every process: adapters are small, and
theirs are the only gradients.

Gathering takes all processes at once: each has to go through the layers as often as the others
(`bench.models.processes.in_step`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.models import processes
from bench.models.fast.checkpointing import layers_of


def load_shared(load: Callable[[], Any], device: torch.device) -> Any:
    """Load a model and keep this process's share of its layers.

    One process after the other: each has the whole model in its machine's memory for a moment.

    Args:
        load: reads the model to the CPU.
        device: where the share lives.
    """
    model = None
    for turn in range(processes.count()):
        if processes.rank() == turn:
            model = shared(load(), device)
        processes.from_first(lambda: None)  # nobody goes on before the turn is over
    processes.keep_in_step()
    return model


def shared(model: Any, device: torch.device) -> Any:
    """Keep this process's share of a model's layers, frozen."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model.requires_grad_(False)
    mesh = init_device_mesh(device.type, (processes.count(),))
    for layer in layers_of(model.base_model):
        fully_shard(layer, mesh=mesh)
    return model
