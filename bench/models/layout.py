"""How a batch of rows becomes one call of the decoder, and where its states are found afterwards.

`Padded` is the plain way, right for every model. `bench.models.fast.packing.Packed` leaves the
padding out. Which of them a model takes is asked once, when it is loaded, by `choose`; whoever uses
a layout does not know which one it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.models.fast.attention import HALF, NAME, kernels
from bench.models.fast.packing import Packed, may_pack
from bench.models.sequences import Sequences

# The packed states may be off by so much of the largest state.
SAME, SAME_IN_HALF = 1e-4, 2e-2
# What a model may raise that cannot be asked so.
UNTRIED = (TypeError, ValueError, RuntimeError, AttributeError, IndexError)


class Layout(Protocol):
    """One batch of B rows, laid out for the decoder."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What the decoder is called with; "input_ids" has the layout's rows and columns."""

    @property
    def read(self) -> Tensor:
        """(n,) places whose last states are needed, in the flattened "input_ids"; each once."""

    def states(self, last: Tensor) -> Tensor:
        """(B, T + 1, d) states around each response token, of the decoder's last hidden states.

        Column t is the state that token t is drawn in, column t + 1 the one that has seen it.
        Where no token is, or the state was not to be read, it means nothing.
        """

    def drawn(self, last: Tensor) -> Tensor:
        """(n, d) the states in which the response tokens are drawn, row by row, none of padding."""


LayOut = Callable[[Sequences, Tensor], Layout]
"""Lays out a batch of which the states in (B, T + 1) are read, True = this one."""


@dataclass(frozen=True)
class Padded:
    """The batch as it is: prompts padded on the left, responses on the right."""

    batch: Sequences
    wanted: Tensor

    @property
    def inputs(self) -> dict[str, Any]:
        """Ids, mask and positions (B, S)."""
        return {
            "input_ids": self.batch.ids,
            "attention_mask": self.batch.attention.long(),
            "position_ids": self.batch.positions,
            "use_cache": False,
        }

    @property
    def read(self) -> Tensor:
        """(n,) places in the flattened (B, S)."""
        places = torch.arange(self.batch.ids.numel(), device=self.batch.ids.device)
        return self.states(places.view_as(self.batch.ids))[self.wanted]

    def states(self, last: Tensor) -> Tensor:
        """(B, T + 1, ...) columns from the prompts' last token on."""
        return last[:, self.batch.prompt_width - 1 :]

    def drawn(self, last: Tensor) -> Tensor:
        """(n, d) states one before each response token."""
        return self.states(last)[:, :-1][self.batch.mask]


@torch.no_grad()
def choose(model: Any) -> LayOut:
    """The fastest layout that gives a bare model's own numbers on a trial batch.

    A sliding window, a capped score or a bias of positions would be lost in a packed batch; a
    kernel may not know the device, the precision or the width of the heads. Asking the model is
    surer than a list of architectures: whatever attends otherwise, or drops an option on its way to
    the attention, gives other numbers or an error, and then the next layout is tried.

    The layout is right for the precision that the model has now.
    """
    if not may_pack(model.config):
        return Padded
    before, kept = model.config._attn_implementation, False
    try:
        trials = [_trial(model, owner) for owner in ([0, 0, 2], [0, 1, 2])]
        for kernel in kernels(model.device, model.dtype):
            lay_out = partial(Packed.of, kernel=kernel)
            if kept := all(_gives(model, lay_out, *trial) for trial in trials):
                return lay_out
    except UNTRIED:  # as a model that has fewer positions than the trial, or wants other inputs
        return Padded
    finally:
        if not kept and model.config._attn_implementation != before:
            model.set_attn_implementation(before)
    return Padded


def _trial(model: Any, owner: list[int]) -> tuple[Sequences, Tensor, Tensor]:
    """Three rows of unlike lengths, two with the same prompt: a batch, what is read, the states.

    Where the prompts are shared nothing of the last row is read, and not all of the others.
    """
    ids = (torch.arange(3 * 12).view(3, 12) * 7 + 3) % model.config.vocab_size
    ids[1, :5] = ids[0, :5]
    attention = torch.ones(3, 12, dtype=torch.bool)
    attention[:2, :2] = False
    attention[1, 9:] = attention[2, 10:] = False
    batch = Sequences(ids, attention, attention[:, 5:], torch.tensor(owner)).to(model.device)
    wanted = batch.has_state
    if owner[1] == 0:
        wanted[2] = False
        wanted[0, 3:] = wanted[1, :1] = False
    return batch, wanted, _states(model, Padded, batch, wanted)


def _gives(model: Any, lay_out: LayOut, batch: Sequences, wanted: Tensor, expected: Tensor) -> bool:
    """Whether a layout gives these states, with the attention that it needs."""
    try:
        model.set_attn_implementation(NAME)
        found = _states(model, lay_out, batch, wanted)
    except UNTRIED:
        return False
    limit = (SAME_IN_HALF if expected.dtype in HALF else SAME) * expected.abs().max()
    return bool((found - expected).abs().max() <= limit)


def _states(model: Any, lay_out: LayOut, batch: Sequences, wanted: Tensor) -> Tensor:
    """(n, d) the states that are read."""
    layout = lay_out(batch, wanted)
    return layout.states(model.base_model(**layout.inputs).last_hidden_state)[wanted]
