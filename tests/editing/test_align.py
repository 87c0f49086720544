"""Alignment of an edit to changed-token masks."""

from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.editing import align_edit

quick = settings(max_examples=100, deadline=None)
few_tokens = st.lists(st.integers(0, 3), max_size=12)  # a small alphabet: many ties
tokens = st.lists(st.integers(0, 50_000), max_size=12)


def lcs_length(a: list[int], b: list[int]) -> int:
    """Length of a longest common subsequence, by the textbook table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else longest
    return table[-1][-1]


def unchanged(ids: list[int], changed: list[bool]) -> list[int]:
    """The tokens that were kept."""
    return [token for token, new in zip(ids, changed, strict=True) if not new]


def test_golden() -> None:
    """By hand: kept tokens in brackets.

    Substitution: [1] 2 [3] -> [1] 9 [3]. Insertion: [1] [2] -> [1] 9 [2]; every later index
    shifts, yet only 9 is changed. Deletion: the mirror image.
    Both: [1] 2 [3] [4] -> [1] [3] 7 8 [4].
    """
    assert align_edit([1, 2, 3], [1, 9, 3]) == ([False, True, False], [False, True, False])
    assert align_edit([1, 2], [1, 9, 2]) == ([False, False], [False, True, False])
    assert align_edit([1, 9, 2], [1, 2]) == ([False, True, False], [False, False])
    assert align_edit([1, 2, 3, 4], [1, 3, 7, 8, 4]) == (
        [False, True, False, False],
        [False, False, True, True, False],
    )


def test_ends() -> None:
    assert align_edit([], []) == ([], [])
    assert align_edit([], [1]) == ([], [True])
    assert align_edit([1], []) == ([True], [])
    assert align_edit([1, 2], [1, 2]) == ([False, False], [False, False])
    assert align_edit([1, 2], [3, 4, 5]) == ([True, True], [True, True, True])


@quick
@given(st.one_of(st.tuples(few_tokens, few_tokens), st.tuples(tokens, tokens)))
def test_is_a_longest_common_subsequence(pair: tuple[list[int], list[int]]) -> None:
    """What is kept is the same sequence on both sides, and no longer one exists."""
    original, edited = pair
    original_changed, edited_changed = align_edit(original, edited)
    kept = unchanged(original, original_changed)
    assert kept == unchanged(edited, edited_changed)
    assert len(kept) == lcs_length(original, edited)
    assert align_edit(original, edited) == (original_changed, edited_changed)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(100, 200))
def test_long_responses(random: Random, length: int) -> None:
    """Beyond 64 tokens rapidfuzz takes another path."""
    original = [random.randrange(20) for _ in range(length)]
    edited = [random.randrange(20) for _ in range(length + 7)]
    original_changed, edited_changed = align_edit(original, edited)
    kept = unchanged(original, original_changed)
    assert kept == unchanged(edited, edited_changed)
    assert len(kept) == lcs_length(original, edited)


@quick
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=90))
def test_substitution_is_the_comparison_index_by_index(edit: list[tuple[int, bool]]) -> None:
    """The paper's rule, as long as the new tokens are new: also where tokens repeat."""
    original = [token for token, _ in edit]
    edited = [100 + i if replaced else token for i, (token, replaced) in enumerate(edit)]
    differs = [replaced for _, replaced in edit]
    assert align_edit(original, edited) == (differs, differs)


def test_moved_tokens_beat_the_index() -> None:
    """Equal lengths, all indices differ, and still 2 and 3 were kept: a true LCS, not the index."""
    assert align_edit([1, 2, 3], [2, 3, 4]) == ([True, False, False], [False, False, True])


def test_sides_are_independent_lists() -> None:
    original_changed, edited_changed = align_edit([1, 2], [1, 3])
    original_changed[0] = True
    assert edited_changed == [False, True]


def test_tensors_are_compared_by_value() -> None:
    """A tensor's elements hash by identity: unconverted, nothing would match."""
    result = align_edit(torch.tensor([1, 2, 3]), torch.tensor([1, 9, 3]))  # type: ignore[arg-type]
    assert result == ([False, True, False], [False, True, False])
