"""How much of a process's memory is weights, by one rule for every contender."""

from __future__ import annotations

import gc
import resource
import sys

import psutil
import torch
from torch import Tensor, nn

_MIB = 2**20


class WeightCount:
    """Counts copies of a base model: bytes of weights held by the process / bytes of the base.

    A weight is a distinct storage of an `nn.Parameter`, or of any tensor with the shape of one of
    the base's matrices (a copy put aside is one too). `forward` is counted when the first forward
    pass after `arm` starts: in PPO that is the prefill of the first rollout.

    Args:
        base: the causal model as it is before anything was added to it.
    """

    def __init__(self, base: nn.Module) -> None:
        weights = list(base.parameters())
        self.base_bytes = sum(w.untyped_storage().nbytes() for w in weights)
        self.shapes = {w.shape for w in weights if w.dim() == 2}
        self.forward = 0.0
        self._embedding = next(m for m in base.modules() if isinstance(m, nn.Embedding))

    def arm(self) -> None:
        """Count when the next forward pass starts."""
        self._hook = self._embedding.register_forward_pre_hook(self._first_forward)

    def _first_forward(self, module: nn.Module, args: object) -> None:
        self._hook.remove()
        self.forward = self.now()

    def now(self) -> float:
        """Copies of the base held at this moment."""
        gc.collect()
        tensors = (x for x in gc.get_objects() if issubclass(type(x), Tensor))
        storages = [x.untyped_storage() for x in tensors if self._is_weight(x)]
        held = {storage.data_ptr(): storage.nbytes() for storage in storages}
        return sum(held.values()) / self.base_bytes

    def _is_weight(self, tensor: Tensor) -> bool:
        if tensor.layout is not torch.strided or tensor.is_meta:
            return False
        return isinstance(tensor, nn.Parameter) or tensor.shape in self.shapes


def resident_mib() -> float:
    """Memory of this process in RAM now, MiB."""
    return float(psutil.Process().memory_info().rss) / _MIB


def peak_resident_mib() -> float:
    """The most memory of this process in RAM since it began, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MIB if sys.platform == "darwin" else peak / 1024
