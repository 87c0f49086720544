"""Responses whose errors somebody marked, as token ids with the kinds of error of each token."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.data import Annotation, Span
from bench.errors import UserError
from bench.models.sequences import cut
from bench.models.tokens import Tokens
from bench.training.comparisons import Group


def token_kinds(offsets: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[frozenset[str]]:
    """The kinds of the errors that each token, whose character span is given, overlaps."""
    return [
        frozenset(span.kind for span in spans if start < span.end and span.start < end)
        for start, end in offsets
    ]


def annotated(
    tokens: Tokens, rows: Sequence[Annotation], max_length: int
) -> tuple[list[Group], dict[str, int]]:
    """Tokenise, cut, and leave out what nobody looked at.

    Args:
        tokens: tokenizer and template.
        rows: responses with their errors.
        max_length: as of `bench.training.comparisons.tokenise`.

    Returns:
        A group of one response each, and the counts of `tokenise`; "pairs" is the number of
        responses, one of each pair.
    """
    groups, truncated = [], 0
    for row in rows:
        if row.spans is None:
            continue
        prompt = tokens.prompt(row.prompt)
        whole = tokens.response(row.response, row.response_ids)
        response = cut(prompt, whole, max_length)
        truncated += whole != response
        kinds = token_kinds(tokens.offsets(row.response, row.response_ids), row.spans)
        padded = [*kinds, *[frozenset[str]()] * (len(whole) - len(kinds))]  # EOS is in no error
        groups.append(Group(prompt, [response], [0], kinds=padded[: len(response)]))
    return groups, {"pairs": len(groups), "identical": 0, "truncated": truncated}


def check_kinds(groups: Sequence[Group], kinds: Collection[str]) -> None:
    """Refuse to learn an error that no response has.

    Args:
        groups: what `annotated` gave.
        kinds: of the errors that are to be found; none: all kinds.

    Raises:
        UserError: naming those that there are.
    """
    found = {kind for group in groups for own in group.kinds for kind in own}
    if not found.intersection(kinds or found):
        there = ", ".join(sorted(found)) or "no error at all"
        raise UserError(
            f"no annotated response has an error of the kinds {', '.join(kinds) or 'wanted'}: "
            f"nothing to learn them from; there is {there}"
        )


def tokens_of_kinds(groups: Sequence[Group], kinds: Collection[str], width: int) -> Tensor:
    """(B, `width`) True = a token in an error of these kinds; none: of any kind."""
    flags = [
        torch.tensor([bool(own.intersection(kinds) if kinds else own) for own in group.kinds])
        for group in groups
    ]
    found = pad_sequence(flags, batch_first=True)
    return torch.nn.functional.pad(found, (0, width - found.shape[1]))
