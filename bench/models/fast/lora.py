"""A LoRA layer's forward and backward without the passes that PEFT's own takes over memory.

PEFT computes `W x + scaling * B(A(x))` as three products, a scaling and a sum, each a tensor of the
output's size, and autograd repeats them backwards. Here the low-rank product is added to the
frozen one in place, and the gradients are written down. The layers, their weights and their files
stay PEFT's; a layer that this does not cover keeps PEFT's forward.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor
from torch.autograd.function import once_differentiable


class LoRAProduct(torch.autograd.Function):
    """y = x W^T + b + scaling (x A^T) B^T with W and b frozen (arXiv:2106.09685, Eq. 3).

    Shapes: x (N, d_in), W (d_out, d_in), b (d_out) or None, A (r, d_in), B (d_out, r). The products
    with r rows are kept as (r, N): a CPU multiplies those several times as fast as (N, r).

    All products are in the precision of x and W. A and B may be float32 beside a bfloat16 base: the
    masters that the optimiser moves by less than bfloat16 can tell apart. They are cast here, where
    PEFT casts x instead and keeps it, and every product, in float32 until the backward. Their
    gradients come out in their own precision.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, a_: Tensor, b_: Tensor, scaling: float
    ) -> Tensor:
        """(N, d_out)."""
        low = a_.to(x.dtype) @ x.T  # (r, N)
        y = torch.nn.functional.linear(x, w, b)
        y.addmm_(low.T, b_.to(x.dtype).T, alpha=scaling)
        ctx.save_for_backward(x, low, w, a_, b_)
        ctx.scaling = scaling
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, A and B."""
        (dy,) = gradients
        x, low, w, a_, b_ = ctx.saved_tensors
        d_low = (b_.to(dy.dtype).T @ dy.T).mul_(ctx.scaling)  # (r, N)
        dx = (dy @ w).addmm_(d_low.T, a_.to(dy.dtype)) if ctx.needs_input_grad[0] else None
        d_b = (low @ dy).mul_(ctx.scaling).T
        return dx, None, None, (d_low @ x).to(a_.dtype), d_b.to(b_.dtype), None


def fuse_lora(model: torch.nn.Module) -> None:
    """Give the LoRA layers of a PEFT model the forward of this module, once each."""
    for layer in model.modules():
        if type(layer) is PeftLinear and "forward" not in vars(layer):
            layer.forward = MethodType(_forward(layer.forward), layer)


def _forward(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if layer.disable_adapters and not layer.merged:
            return layer.base_layer(x)
        name = _sole_adapter(layer, x, args, kwargs)
        if name is None:
            return plain(x, *args, **kwargs)
        base = layer.base_layer
        y: Tensor = LoRAProduct.apply(
            x.reshape(-1, x.shape[-1]),
            base.weight,
            base.bias,
            layer.lora_A[name].weight,
            layer.lora_B[name].weight,
            layer.scaling[name],
        )
        return y.view(*x.shape[:-1], -1)

    return forward


def _sole_adapter(layer: Any, x: Tensor, args: Any, kwargs: Any) -> str | None:
    """The one active adapter where it is LoRA as published, else None.

    In the base's precision or, as PEFT keeps it beside a half-precision base, in float32.
    """
    names = layer.active_adapters
    if len(names) != 1 or layer.merged or args or kwargs or names[0] in layer.lora_variant:
        return None
    name = names[0]
    if name not in layer.lora_A or layer.lora_bias[name]:
        return None
    if not isinstance(layer.lora_dropout[name], torch.nn.Identity) or layer.fan_in_fan_out:
        return None
    weight, master = layer.base_layer.weight, layer.lora_A[name].weight
    fits = weight.dtype == x.dtype and master.dtype in (x.dtype, torch.float32)
    # On "meta", where memory is counted, there is no autocast to ask about.
    cast = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    return str(name) if fits and not weight.requires_grad and not cast else None
