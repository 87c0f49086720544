"""Batches without padding: all rows' tokens end to end, a prompt that several rows share once.

Norms, projections and MLPs then work on real tokens only; attention alone needs rows, and finds
them among the packed tokens::

    padded    . A B | c d .        packed    A B c d e f g      (N = 7 instead of 12)
              . A B | e f g        number    0 1 2 3 4 5 6

    Span 1    queries A B, keys A B              the prompts, each once
    Span 2    queries c d, keys A B c d          the responses, each behind its prompt
              queries e f g, keys A B e f g

Two spans, since a prompt that is shared must attend only once. Where no prompt is shared, rows lie
in one piece each, and one span of whole rows is enough. The numbers are those of the padded batch
(tests hold it, and `bench.models.layout` asks every model when it is loaded).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bench.models.fast.attention import NAME, Kernel, Span
from bench.models.sequences import Sequences

# What attends otherwise than to everything before it, where a short trial may not show it.
UNLIKE = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping", "alibi")


def may_pack(config: Any) -> bool:
    """Whether nothing in a configuration speaks against packing; a trial decides."""
    sdpa = config._attn_implementation in ("sdpa", NAME)
    return sdpa and not any(getattr(config, x, None) for x in UNLIKE)


@dataclass(frozen=True)
class Packed:
    """Where each token of a padded batch stands among N packed ones.

    Attributes:
        ids, positions: (1, N) token ids and position ids.
        numbers: (B, T + 1) index of the state before each response token and behind the last; any
            at padding.
        mask: (B, T) bool, True = a response token.
        read: (n,) indices of the tokens whose last states are needed.
        spans: who attends to whom.
        last: the same in the last layer. What that layer gives a token reaches no other token, so
            that only the states that are read attend there, and those between them.
    """

    ids: Tensor
    positions: Tensor
    numbers: Tensor
    mask: Tensor
    read: Tensor
    spans: tuple[Kernel, ...]
    last: tuple[Kernel, ...]

    @classmethod
    def of(cls, batch: Sequences, wanted: Tensor, kernel: type[Kernel]) -> Packed:
        """Pack a batch; equal prompts (`Sequences.prompt_of`) are kept once.

        Args:
            batch: B rows.
            wanted: (B, T + 1) True = a state that is read; none is at padding, whatever it says.
            kernel: computes the attention.
        """
        wanted = wanted & batch.has_state
        attention, width, owner = batch.attention, batch.prompt_width, batch.prompt_of
        device = attention.device
        # Number the tokens that are kept: all responses, and of equal prompts the first row's. The
        # other rows' prompts get that row's numbers: equal prompts stand in equal columns. What
        # padding gets does not matter, no query that is kept sees it.
        first = attention.int().argmax(dim=1, keepdim=True)  # (B, 1) column of the first token
        owners = owner == torch.arange(len(batch), device=device)  # (B,) their prompts are kept
        own = attention.clone()
        own[:, :width] &= owners.unsqueeze(1)
        number = (own.flatten().cumsum(0) - 1).view_as(own)  # (B, S) index among the packed
        number = torch.cat([number[owner, :width], number[:, width:]], dim=1).clamp(min=0)
        # Rows: each row's tokens from its first on, prompt and response.
        counts = attention.sum(dim=1)  # (B,) tokens of a row
        columns = torch.arange(int(counts.max()), device=device)
        rows = number.gather(1, (first + columns).clamp(max=own.shape[1] - 1))
        before = counts - batch.lengths  # (B,) tokens of its prompt
        # States: from the prompt's last token, in which the first response token is drawn, to the
        # last response token. State t has seen the prompt and t response tokens.
        states = number[:, width - 1 :]
        if bool(owners.all()):
            spans = [Span.whole(rows, counts)]
        else:
            # Prompts begin their rows, so they are the rows' first columns. A shorter one runs
            # into its response there, as far as the longest prompt reaches.
            prompts = rows[owners, : width - int(first.min())]
            spans = [
                Span.whole(prompts, before[owners]),
                Span(states[:, 1:], rows, batch.lengths, counts),
            ]
        # The states that are read, from the first to the last of each row.
        start = wanted.int().argmax(dim=1)
        some = wanted.any(dim=1)
        end = torch.where(some, wanted.shape[1] - wanted.flip(1).int().argmax(dim=1), start)
        lengths = end - start
        places = start.unsqueeze(1) + torch.arange(max(1, int(lengths.max())), device=device)
        last = Span(
            states.gather(1, places.clamp(max=states.shape[1] - 1)),
            rows,
            lengths,
            before + end - 1,
        )
        return cls(
            ids=batch.ids[own].unsqueeze(0),
            positions=batch.positions[own].unsqueeze(0),
            numbers=states,
            mask=batch.mask,
            read=states[wanted].unique(),
            spans=tuple(map(kernel, spans)),
            last=(kernel(last),),
        )

    @property
    def inputs(self) -> dict[str, Any]:
        """Ids and positions (1, N); a mask of four dimensions the library passes on untouched."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.ids.new_ones(1, 1, 1, 1, dtype=torch.bool),
            "position_ids": self.positions,
            "use_cache": False,
            "packed": self,
        }

    def states(self, last: Tensor) -> Tensor:
        """(B, T + 1, ...) by their numbers."""
        return last[0, self.numbers]

    def drawn(self, last: Tensor) -> Tensor:
        """(n, d) states one before each response token."""
        return last[0, self.numbers[:, :-1][self.mask]]

    @cached_property
    def _home(self) -> Tensor | None:
        return self._places(self.spans)

    @cached_property
    def _last_home(self) -> Tensor | None:
        return self._places(self.last)

    def _places(self, spans: tuple[Kernel, ...]) -> Tensor | None:
        """(N,) place of each token's result among those of the spans; None: they lie in order.

        Results of several spans lie end to end. Who is in none points behind them, at zeros.
        """
        tokens = torch.cat([span.tokens for span in spans])
        order = torch.arange(len(tokens), device=tokens.device)
        total = self.ids.shape[1]
        if len(tokens) == total and bool((tokens == order).all()):
            return None
        return tokens.new_full((total,), len(tokens)).scatter(0, tokens, order)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, *, last: bool
    ) -> Tensor:
        """(N, H * d) from (N, H, d); 0 where the layer is the `last` and the state is not read."""
        spans, home = (self.last, self._last_home) if last else (self.spans, self._home)
        parts = [span.attend(query, key, value, scale) for span in spans]
        if home is None:
            return parts[0] if len(parts) == 1 else torch.cat(parts)
        nothing = [parts[0].new_zeros(1, parts[0].shape[1])]
        return torch.cat([*parts, *nothing]).index_select(0, home)
