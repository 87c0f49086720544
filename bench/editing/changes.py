"""What an edit changed in a text: where, on both sides, and how much of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.editing.align import align_edit

Span = tuple[int, int]

# What counts as one word or mark of a text, wherever texts are compared or marked.
# Thai, kana and Han are written without spaces: each of their letters is a token of its own.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|\n|[^\w\s]")


@dataclass(frozen=True)
class Change:
    """A piece of the original that another piece took the place of; one of them may be empty.

    Attributes:
        original: its first character and the one after its last, in the original.
        edited: likewise in the edited text. An empty span says where the other piece is missing.
    """

    original: Span
    edited: Span


@dataclass(frozen=True)
class TextChanges:
    """All that an edit changed.

    Attributes:
        changes: in the order of the text.
        fraction: changed tokens of the longer side, of all its tokens: (L - LCS) / L, where L is
            the larger number of tokens and LCS that of the kept ones; 0 where there are none.
        tokens: L - LCS, the changed tokens themselves.
        removed: tokens of the original that were not kept, of all of its tokens.
        added: tokens of the edited text that are new, of all of its tokens.
        growth: the same number of new tokens, of the original's: 2 where it is three times as long.
    """

    changes: tuple[Change, ...]
    fraction: float
    tokens: int
    removed: float
    added: float
    growth: float

    @property
    def replaced(self) -> float:
        """The smaller of `removed` and `added`: 0 of what is only cut, or only added to."""
        return min(self.removed, self.added)


def text_changes(original: str, edited: str) -> TextChanges:
    """Align two texts by a longest common subsequence (LCS) of their tokens.

    A token is a run of letters, digits and underscores, a line break, or any other character that
    is not a space. Spaces are none, so a text that differs in them alone has not changed.

    Args:
        original: the response.
        edited: its edit.

    References:
        arXiv:2406.02756, Section 2.1; `align_edit` does the same for a model's tokens.
    """
    before, after = list(TOKEN.finditer(original)), list(TOKEN.finditer(edited))
    ids: dict[str, int] = {}
    before_ids, after_ids = (
        [ids.setdefault(token[0], len(ids)) for token in side] for side in (before, after)
    )
    before_changed, after_changed = align_edit(before_ids, after_ids)
    changes = []
    i = j = 0
    while i < len(before) or j < len(after):
        i_end, j_end = _end_of_run(before_changed, i), _end_of_run(after_changed, j)
        if (i, j) == (i_end, j_end):  # a kept token, the same on both sides
            i, j = i + 1, j + 1
        else:
            changes.append(Change(_span(before, i, i_end), _span(after, j, j_end)))
            i, j = i_end, j_end
    longer = max(before_changed, after_changed, key=len)
    new = sum(after_changed)
    return TextChanges(
        tuple(changes),
        fraction=_share(sum(longer), longer),
        tokens=sum(longer),
        removed=_share(sum(before_changed), before_changed),
        added=_share(new, after_changed),
        growth=_share(new, before_changed),
    )


def _share(n: int, side: list[bool]) -> float:
    """`n` of a side's tokens; 0 of none."""
    return n / len(side) if side else 0.0


def _end_of_run(changed: list[bool], start: int) -> int:
    """Where the run of changed tokens ends that begins at `start`, if one does."""
    end = start
    while end < len(changed) and changed[end]:
        end += 1
    return end


def _span(tokens: list[re.Match[str]], start: int, end: int) -> Span:
    """Characters of the tokens from `start` to `end`; of none, the place after the one before."""
    if start < end:
        return tokens[start].start(), tokens[end - 1].end()
    place = tokens[start - 1].end() if start else 0
    return place, place
