"""Decoding with fixed shapes and addresses, so that a token is one CUDA graph.

A model of 7 billion weights launches some two thousand kernels a token, and on a GPU launching them
takes longer than running them. A graph is recorded once and then replayed with one call. It repeats
what it recorded at the same addresses, so that everything a step reads and writes stands in place:
the cache of keys and values has its full length from the start, and the step's number, positions
and mask are tensors that the step itself moves on. Nothing goes to the CPU but, every few tokens,
whether a row is still running. Where half of the rows are done they leave, and a graph of the
smaller batch is recorded.

The numbers are those of the plain loop but for rounding (`bench.models.rollout`, a test holds it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import StaticCache
from transformers.cache_utils import StaticLayer

CHECK_EVERY = 16  # tokens between two looks at who is still running
ALIGNED = 64  # attention with a mask is fastest where its keys are a multiple of this
LEAVE_BELOW = 0.5  # rows still running / rows in the batch at which the others leave

Choose = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
Step = Callable[[], None]


def has_fixed_cache(config: Any) -> bool:
    """Whether all layers keep keys and values of everything before, none a window or a state."""
    return all(type(layer) is StaticLayer for layer in StaticCache(config, 1).layers)


def recorded(step: Step) -> Step:
    """Take one step, then record the next as a CUDA graph; returns what replays it.

    The step that is taken first makes what may not be made while a graph is recorded (cuBLAS's
    workspaces), on a stream of its own, as torch.cuda.graph wants it.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()  # recorded, not taken
    return graph.replay


def taken(step: Step) -> Step:
    """The same without a graph, for devices that have none."""
    step()
    return step


class FixedDecoding:
    """One batch of rows, all of which draw their next token in the same column.

    Args:
        model: the policy, its adapter active or merged.
        ids, attention, position: (B, P) the prompts, padded on the left.
        numbers: (B, T) what decides each row's every draw.
        ends: (n,) ids that end a response.
        choose: (B, V) logits and (B,) numbers to tokens and what is measured of them, all (B,).
        value: gives the (B,) values of the states that the newest pass ended in; None: none.
        record: `recorded`, or `taken`.

    Attributes:
        columns: (B, T) tokens and what was measured of them; what stands at and behind `lengths`
            means nothing.
        lengths: (B,) tokens of each response, the one that ends it included.
    """

    def __init__(
        self,
        model: Any,
        ids: Tensor,
        attention: Tensor,
        position: Tensor,
        numbers: Tensor,
        ends: Tensor,
        choose: Choose,
        value: Callable[[], Tensor] | None,
        record: Callable[[Step], Step] = recorded,
    ) -> None:
        self.model, self.choose, self.value, self.record = model, choose, value, record
        device = ids.device
        rows, width = ids.shape
        most = numbers.shape[1]
        self.ends, self.numbers = ends, numbers.to(device)
        room = -(-(width + most) // ALIGNED) * ALIGNED
        self.cache = StaticCache(model.config, room)
        self.running = torch.ones(rows, dtype=torch.bool, device=device)
        self.rows = torch.arange(rows, device=device)  # who is still in the batch
        # Which keys a query may see, in four dimensions, which the library passes on untouched.
        self.mask = torch.zeros(rows, 1, 1, room, dtype=torch.bool, device=device)
        self.mask[:, 0, 0, :width] = attention
        self.column = torch.tensor([0], device=device)  # of the next token, among the responses'
        self.width = width
        self.position = position[:, -1:].clone()
        self.tokens = ids.new_zeros(rows, 1)
        self.lengths = ids.new_zeros(rows)
        self.own_lengths = self.lengths.clone()
        self.columns: list[Tensor] = []
        self.own: list[Tensor] = []  # the same of the rows that are still in the batch
        logits = self._forward(
            input_ids=ids, attention_mask=attention.long(), position_ids=position
        )
        self._draw(logits)

    def run(self) -> None:
        """Decode until no row is running, or all columns are full."""
        step: Step | None = None
        done, most = 1, self.numbers.shape[1]
        while done < most:
            if step is None:
                step = self.record(self._step)
            else:
                step()
            done += 1
            if done % CHECK_EVERY == 0 or done == most:
                kept = self.running.nonzero().flatten()
                if not len(kept):
                    break
                if len(kept) <= LEAVE_BELOW * len(self.running):
                    self._keep(kept)
                    step = None
        self._put()

    def _step(self) -> None:
        """Read the tokens that were drawn last, and draw the next ones."""
        # The token that is read now was drawn in the column before the next one.
        self.position.add_(1)
        self.mask.index_fill_(3, self.column + (self.width - 1), True)
        self._draw(
            self._forward(
                input_ids=self.tokens, attention_mask=self.mask, position_ids=self.position
            )
        )

    def _forward(self, **inputs: Tensor) -> Tensor:
        output = self.model(**inputs, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1]

    def _draw(self, logits: Tensor) -> None:
        numbers = self.numbers.index_select(1, self.column).squeeze(1)
        found = list(self.choose(logits, numbers))
        if self.value is not None:
            found.append(self.value())
        if not self.own:
            shape = self.numbers.shape
            self.own = [x.new_zeros(shape) for x in found]
            self.columns = [x.new_zeros(shape) for x in found]
        for own, x in zip(self.own, found, strict=True):
            own.index_copy_(1, self.column, x.unsqueeze(1))
        self.tokens.copy_(found[0].unsqueeze(1))
        self.own_lengths.add_(self.running)  # the token that ends a response is one of it
        self.running.logical_and_((self.tokens != self.ends).all(dim=1))
        self.column.add_(1)

    def _keep(self, kept: Tensor) -> None:
        """The other rows leave."""
        self._put()
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[kept], layer.values[kept]
        self.own = [own[kept] for own in self.own]
        for name in ("numbers", "running", "rows", "mask", "position", "tokens", "own_lengths"):
            setattr(self, name, getattr(self, name)[kept])

    def _put(self) -> None:
        """Write what the batch's rows have so far to where all rows' results stand."""
        for column, own in zip(self.columns, self.own, strict=True):
            column[self.rows] = own
        self.lengths[self.rows] = self.own_lengths
