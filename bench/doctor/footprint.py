"""What a pass of a model holds, found from its configuration: no weight is read, none computed.

The model stands on torch's device "meta", where tensors have shapes and no numbers, and goes
through the code of a run: its own forward, the LoRA product, the narrowed last layer, the head in
chunks, the checkpointed layers. A tracker adds up what is alive. So whatever a family of models
keeps for its backward is counted, and no formula has to know it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import sdpa_mask

from bench.models.adapters import adapter_parameters, attach
from bench.models.fast.cache import preallocated_cache
from bench.models.fast.checkpointing import recomputed
from bench.models.fast.logits import in_chunks, logits_of
from bench.models.fast.lora import fuse_lora
from bench.models.fast.narrowing import last_mlp_at
from bench.models.fast.packing import may_pack
from bench.rl import token_logprobs

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig

ADAPTER = "counted"
ATTENTION = "counted_sdpa"
DRAWING = 24  # bytes a logit while a token is drawn: float32 twice, float64 twice


class Held(TorchDispatchMode):
    """Adds up the bytes of the tensors that are made while this lasts, as long as they live.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {_storage(x)._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(_storage(tensor), given)
        self.peak = max(self.peak, self.now)
        return result

    def _add(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key = storage._cdata
        if key in given or key in self._sizes:  # a view, or written in place
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """SDPA with a fast kernel, which keeps no weights of attention; on "meta" torch takes the slow.

    Args:
        module: the layer.
        query: (B, H, S, d).
        key: (B, H or fewer, L, d).
        value: likewise.
        attention_mask: (B, 1, S, L) bool; a kernel has it in the precision of `query`.
        scaling: of the scores.
        **_: what the library passes on to kernels.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    bias = attention_mask.to(query.dtype)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    found, _weights = kernel(query, key, value, attn_mask=bias, scale=scaling)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class Footprint:
    """A model's passes by what they hold; bytes everywhere.

    Args:
        settings: the model's configuration (transformers).
        lora: shape of its adapters.
        dtype: of the base.
        recomputes: whether layers are computed again in the backward.

    Attributes:
        weights: how many the base has.
        base: bytes of them.
        adapter: how many weights an adapter has; they are float32.
        adapted: bytes of the base's weights that carry one, of which a merged rollout has a copy.
        vocabulary: V.
    """

    def __init__(
        self, settings: Any, lora: LoRAConfig, dtype: torch.dtype, *, recomputes: bool
    ) -> None:
        # A copy, for the library writes the attention and the precision that are chosen below into
        # it, and a live model whose configuration this is would go on with them.
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(deepcopy(settings), dtype=dtype)
        self.model = model.eval().requires_grad_(False)
        if may_pack(model.config):
            model.set_attn_implementation(ATTENTION)
        self.recomputes = recomputes
        self.weights = sum(p.numel() for p in model.parameters())
        self.base = float(sum(p.nbytes for p in model.parameters()))
        self.vocabulary: int = model.get_output_embeddings().weight.shape[0]
        self.peft = attach(model, ADAPTER, lora, outline=True)
        fuse_lora(self.peft)
        self.parameters = adapter_parameters(self.peft, ADAPTER)
        self.adapter = sum(p.numel() for p in self.parameters)
        layers = [m for m in self.peft.modules() if ADAPTER in getattr(m, "lora_A", ())]
        # Fused experts are parameters of one module; PEFT names each.
        carrying = [
            getattr(m.get_base_layer(), getattr(m, "parameter_name", "weight")) for m in layers
        ]
        self.adapted = float(sum(weight.nbytes for weight in carrying))

    @cache  # noqa: B019 - as long-lived as what it is about
    def update(self, rows: int, width: int, new: int, *, logits: bool, full: bool = False) -> float:
        """The most that forward and backward of a micro-batch add, gradients of weights left out.

        Args:
            rows: responses.
            width: tokens of each, prompt and response.
            new: tokens of each response.
            logits: whether log-probabilities are asked for, or hidden states alone.
            full: all weights are trained in float32, and no adapter.
        """
        with self._trained(full), Held() as held:
            found = self._pass(rows, width, new, logits=logits)
            found.float().sum().backward()
        return float(held.peak)

    @cache  # noqa: B019
    def scoring(self, rows: int, width: int, new: int, *, logits: bool) -> float:
        """The most that a forward without gradients adds; arguments as of `update`."""
        with torch.no_grad(), Held() as held:
            self._pass(rows, width, new, logits=logits)
        return float(held.peak)

    @cache  # noqa: B019
    def generation(self, rows: int, prompt: int, new: int) -> tuple[float, float]:
        """Bytes of the cache, and of the most that reading the prompts holds beside it.

        Args:
            rows: responses decoded together.
            prompt: tokens of the longest prompt.
            new: response tokens at most.
        """
        cache = preallocated_cache(self.model.config, prompt + new)
        ids = torch.zeros(rows, prompt, dtype=torch.long, device="meta")
        with torch.no_grad(), self._without(), Held() as held:
            self.model(
                input_ids=ids,
                attention_mask=_mask(ids),
                position_ids=_positions(ids),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        states = [x for layer in cache.layers for x in tree_leaves(list(vars(layer).values()))]
        kept = {_storage(x)._cdata: _storage(x).nbytes() for x in states if isinstance(x, Tensor)}
        return float(sum(kept.values())), float(held.peak - sum(kept.values()))

    def drawing(self, rows: int) -> float:
        """Bytes of a draw's distributions, cumulative in float64."""
        return float(DRAWING * rows * self.vocabulary)

    def _pass(self, rows: int, width: int, new: int, *, logits: bool) -> Tensor:
        """As `Backbone` makes it of a batch without padding."""
        ids = torch.zeros(rows, width, dtype=torch.long, device="meta")
        places = torch.zeros(rows * new, dtype=torch.long, device="meta")
        decoder = self.model.base_model
        narrow = partial(last_mlp_at, decoder, places, ids.shape)
        keep = recomputed(decoder, narrow) if self.recomputes else nullcontext()
        with narrow(), keep:
            output = decoder(
                input_ids=ids,
                attention_mask=_mask(ids),
                position_ids=_positions(ids),
                use_cache=False,
            )
        states = output.last_hidden_state[:, -new - 1 : -1].flatten(0, 1)
        if not logits:
            return states

        def logprobs_of(states: Tensor, tokens: Tensor) -> Tensor:
            found = logits_of(self.model, output, states)
            return token_logprobs((found.float() / 1.0)[None], tokens[None])[0]

        return in_chunks(logprobs_of, states, ids[:, -new:].flatten(), self.vocabulary)

    @contextmanager
    def _trained(self, full: bool) -> Iterator[None]:
        """What is trained takes its gradient, which is counted elsewhere and let go at once."""
        if not full:
            weights, rest = self.parameters, nullcontext()
        else:
            ours = {id(p) for p in self.parameters}
            weights = [p for p in self.model.parameters() if id(p) not in ours]
            rest = self._without()
        for weight in weights:
            weight.requires_grad_(True)
        hooks = [w.register_post_accumulate_grad_hook(_let_go) for w in weights]
        try:
            with rest:
                yield
        finally:
            for hook in hooks:
                hook.remove()
            for weight in weights:
                weight.requires_grad_(False)

    def _without(self) -> Any:
        return self.peft.disable_adapter()


def _let_go(weight: Tensor) -> None:
    weight.grad = None


def _mask(ids: Tensor) -> Tensor:
    """As the library makes it of a padded batch; one that is ready it does not look into."""
    rows, width = ids.shape
    return torch.ones(rows, 1, width, width, dtype=torch.bool, device="meta")


def _positions(ids: Tensor) -> Tensor:
    return torch.arange(ids.shape[1], device="meta").expand_as(ids)
