"""Preferences and rankings as token ids, and what in them teaches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from operator import ne

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.data import Demonstration, Preference, Ranking
from bench.editing import align_edit
from bench.errors import UserError
from bench.models.sequences import Sequences, cut
from bench.models.tokens import Tokens

_Both = tuple[str, list[int]]  # a response's text and ids


@dataclass(frozen=True)
class Group:
    """Tokenised responses to one prompt, the best first.

    Attributes:
        ranks: of the responses, ascending; equal ones are tied.
        margin: how clear the preference is, 1 where nobody said.
        kinds: of the only response of an annotated group, the kinds of the errors that each token
            is in (`bench.training.annotations`).
    """

    prompt: list[int]
    responses: list[list[int]]
    ranks: list[int]
    margin: float = 1.0
    kinds: Sequence[frozenset[str]] = ()

    @property
    def length(self) -> int:
        """Tokens that the group costs a row."""
        return len(self.prompt) + max(map(len, self.responses))

    @property
    def pairs(self) -> int:
        """Pairs of responses of unlike rank."""
        return sum(a != b for a, b in combinations(self.ranks, 2))

    @cached_property
    def changed(self) -> tuple[list[bool], list[bool]]:
        """Of a pair: the tokens of chosen and of rejected that the other has not."""
        chosen, rejected = self.responses
        rejected_changed, chosen_changed = align_edit(rejected, chosen)
        return chosen_changed, rejected_changed

    @property
    def first_divergence(self) -> int:
        """Of a pair: the first position at which its responses differ."""
        chosen, rejected = self.responses
        same = (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
        return next(same, min(len(chosen), len(rejected)))


def tokenise(
    tokens: Tokens, rows: Sequence[Preference | Ranking | Demonstration], max_length: int
) -> tuple[list[Group], dict[str, int]]:
    """Tokenise, cut, and leave out what is the same on both sides.

    Args:
        tokens: tokenizer and template.
        rows: pairs, rankings, or single responses, each of which is a group of its own.
        max_length: tokens of prompt and response; a longer response is cut, to one token at least.

    Returns:
        The groups that have a preference in them or are one response, and counts: "pairs" of unlike
        rank that they hold, "identical" pairs that they do not (the annotator preferred one of two
        responses that are the same: as a text, whatever the ids that were drawn for it, or as ids,
        perhaps since they were cut), "truncated" responses.
    """
    counts = {"pairs": 0, "identical": 0, "truncated": 0}
    groups = []
    for row in rows:
        prompt = tokens.prompt(row.prompt)
        texts, drawn, ranks, margin = _parts(row)
        whole = [tokens.response(*one) for one in zip(texts, drawn, strict=True)]
        responses = [cut(prompt, response, max_length) for response in whole]
        both = list(zip(texts, responses, strict=True))
        tied = [min(_ranks_of(one, both, ranks)) for one in both]
        counts["pairs"] += sum(a != b for a, b in combinations(tied, 2))
        counts["identical"] += _contradictions(both, ranks)
        counts["truncated"] += sum(map(ne, whole, responses))
        if len(tied) == 1 or len(set(tied)) > 1:
            order = sorted(range(len(tied)), key=tied.__getitem__)
            groups.append(
                Group(prompt, [responses[i] for i in order], [tied[i] for i in order], margin)
            )
    return groups, counts


def check_sizes(groups: Sequence[Group], who: str, *, ranks: bool) -> None:
    """Refuse what nothing can be learned from, and rankings where only a pair can answer.

    Args:
        groups: what `tokenise` gave.
        who: learns from them, for the message.
        ranks: whether its loss takes more than two responses to a prompt.

    Raises:
        UserError: there are none, they are of several sizes, or of another size than the loss's.
    """
    sizes = {len(group.responses) for group in groups}
    if not sizes:
        raise UserError(f"no pair has two different responses: nothing to train {who} on")
    if len(sizes) > 1:
        raise UserError(f"rankings of {sorted(sizes)} responses: all must have as many")
    if sizes != {2} and not ranks:
        raise UserError(f"{who} compares pairs: set preferences.responses=2")


def joined(tokens: Tokens, groups: Sequence[Group]) -> Sequences:
    """All responses in one batch: the best of all groups first, then all second ones, and so on."""
    size = len(groups[0].responses)
    return tokens.join(
        [group.prompt for group in groups] * size,
        [group.responses[i] for i in range(size) for group in groups],
    )


def changed_tokens(pairs: Sequence[Group]) -> tuple[Tensor, Tensor]:
    """(B, T) each: the tokens of the chosen and of the rejected that the other has not.

    Both are as wide as the longest response of either side, as in `joined`.
    """
    flags = [torch.tensor(pair.changed[side]) for side in (0, 1) for pair in pairs]
    chosen, rejected = pad_sequence(flags, batch_first=True).chunk(2)
    return chosen, rejected


def share_in_order(scores: Tensor, groups: Sequence[Group]) -> Tensor:
    """() of the pairs of unlike rank, the share that (B, K) scores have in order."""
    ranks = torch.tensor([group.ranks for group in groups], device=scores.device)
    above = ranks.unsqueeze(2) < ranks.unsqueeze(1)
    return (scores.unsqueeze(2) > scores.unsqueeze(1))[above].float().mean()


def _parts(
    row: Preference | Ranking | Demonstration,
) -> tuple[list[str], Sequence[list[int] | None], list[int], float]:
    """Responses, the ids that they were drawn as, ranks and margin."""
    if isinstance(row, Ranking):
        return row.responses, row.response_ids or [None] * len(row.responses), row.ranks, 1.0
    if isinstance(row, Demonstration):
        return [row.response], [row.response_ids], [0], 1.0
    margin = 1.0 if row.margin is None else row.margin
    return [row.chosen, row.rejected], [row.chosen_ids, row.rejected_ids], [0, 1], margin


def _same(one: _Both, other: _Both) -> bool:
    """Whether two responses are one text or, as far as they are not cut, the same ids."""
    return one[0] == other[0] or one[1] == other[1]


def _ranks_of(one: _Both, all_of_them: list[_Both], ranks: list[int]) -> list[int]:
    """The ranks of a response and of its copies."""
    return [rank for other, rank in zip(all_of_them, ranks, strict=True) if _same(one, other)]


def _contradictions(all_of_them: list[_Both], ranks: list[int]) -> int:
    """Pairs of one response with itself, ranked apart."""
    pairs = combinations(zip(all_of_them, ranks, strict=True), 2)
    return sum(_same(a, b) and i != j for (a, i), (b, j) in pairs)
