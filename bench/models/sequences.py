"""Prompts and responses as padded tensors. Padding is tracked by mask, never by token id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models import processes


@dataclass(frozen=True)
class Sequences:
    """A batch: prompts padded on the left, responses on the right, so that they meet in a column.

    Attributes:
        ids: (B, S) token ids, S = P + T with P the longest prompt of the batch.
        attention: (B, S) bool, True = a token, False = padding.
        mask: (B, T) bool, True = a response token (EOS included).
        prompt_of: (B,) the first row with the same prompt; a packed pass computes it once.
    """

    ids: Tensor
    attention: Tensor
    mask: Tensor
    prompt_of: Tensor

    @property
    def prompt_width(self) -> int:
        """P: the column in which every response starts."""
        return self.ids.shape[1] - self.mask.shape[1]

    @property
    def responses(self) -> Tensor:
        """(B, T) ids of the responses."""
        return self.ids[:, self.prompt_width :]

    @property
    def response_ids(self) -> list[list[int]]:
        """The ids of each response, without padding."""
        rows = zip(self.responses.tolist(), self.lengths.tolist(), strict=True)
        return [row[:length] for row, length in rows]

    @property
    def positions(self) -> Tensor:
        """(B, S) position ids: padding on the left does not shift a row."""
        return positions(self.attention)

    @property
    def lengths(self) -> Tensor:
        """(B,) response tokens."""
        return self.mask.sum(dim=1)

    @property
    def has_state(self) -> Tensor:
        """(B, T + 1) bool: the state before the response and behind each of its tokens."""
        return torch.nn.functional.pad(self.mask, (1, 0), value=True)

    def __len__(self) -> int:
        return self.ids.shape[0]

    def to(self, device: torch.device) -> Sequences:
        """The batch on `device`."""
        parts = (self.ids, self.attention, self.mask, self.prompt_of)
        return Sequences(*(part.to(device) for part in parts))

    def rows(self, index: Sequence[int] | Tensor) -> Sequences:
        """The rows in `index`, cut to the columns that they need."""
        index = torch.as_tensor(index, device=self.ids.device)
        ids, attention, mask = self.ids[index], self.attention[index], self.mask[index]
        first = int(attention.int().argmax(dim=1).min())
        unused = mask.shape[1] - int(mask.any(dim=0).sum())
        last = ids.shape[1] - unused
        return Sequences(
            ids[:, first:last],
            attention[:, first:last],
            mask[:, : mask.shape[1] - unused],
            _first_equal(self.prompt_of[index]),
        )


def repeat_share(ids: Sequence[int], n: int = 4) -> float:
    """How much a response repeats itself: 1 - |different n-grams| / |n-grams|, of token ids.

    0: none comes twice; 0 too where the response has no n-gram at all.

    Args:
        ids: of the response.
        n: tokens of an n-gram.

    References:
        arXiv:1908.04319, Section 6: seq-rep-n.
    """
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _first_equal(labels: Tensor) -> Tensor:
    """(B,) index of the first row with the same label."""
    return (labels.unsqueeze(0) == labels.unsqueeze(1)).int().argmax(dim=1)


def positions(attention: Tensor) -> Tensor:
    """(B, S) position ids for left- or right-padded rows; padding has position 0."""
    return (attention.long().cumsum(dim=1) - 1).clamp(min=0)


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Pad rows of ids on the left: (B, P) ids and (B, P) bool attention."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        if row:
            ids[i, width - len(row) :] = torch.tensor(row)
            attention[i, width - len(row) :] = True
    return ids, attention


def join(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int
) -> Sequences:
    """Build a batch from token ids.

    Raises:
        ValueError: if the numbers of prompts and responses differ or a row has no token.
    """
    if len(prompts) != len(responses) or not prompts:
        raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses do not pair up")
    if any(len(row) == 0 for row in (*prompts, *responses)):
        raise ValueError("a prompt or a response has no token")
    left, left_attention = pad_left(prompts, pad_id)
    flipped, mask = pad_left([row[::-1] for row in responses], pad_id)
    right, mask = flipped.flip(1), mask.flip(1)
    firsts: dict[tuple[int, ...], int] = {}
    owners = [firsts.setdefault(tuple(row), i) for i, row in enumerate(prompts)]
    return Sequences(
        torch.cat([left, right], dim=1),
        torch.cat([left_attention, mask], dim=1),
        mask,
        torch.tensor(owners),
    )


def cut(prompt: Sequence[int], response: list[int], most: int) -> list[int]:
    """The head of a response that has room in `most` tokens beside its prompt; one at least.

    What is cut has not ended, as what generation cut off.
    """
    return response[: max(1, most - len(prompt))]


def chunks_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices in chunks of like length, so that little of a chunk is padding."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[i : i + size] for i in range(0, len(order), size)]


def microbatches(lengths: Sequence[int], size: int | None) -> list[list[int]]:
    """Indices of a batch's rows in forward passes of `size`; all in one, in order, if they fit.

    Where several processes share them out they are small enough that each has one.
    """
    share = -(-len(lengths) // processes.count())
    size = min(size or share, share)
    if size >= len(lengths):
        return [list(range(len(lengths)))]
    return chunks_by_length(lengths, size)
