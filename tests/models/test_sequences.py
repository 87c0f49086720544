"""Layout and padding of prompt-response batches."""

from __future__ import annotations

import pytest
import torch

from bench.models.sequences import chunks_by_length, join, positions


def test_join_meets_in_one_column() -> None:
    """Prompts [1 2], [3]; responses [4], [5 6 7]; pad 0."""
    batch = join([[1, 2], [3]], [[4], [5, 6, 7]], pad_id=0)
    assert batch.ids.tolist() == [[1, 2, 4, 0, 0], [0, 3, 5, 6, 7]]
    assert batch.attention.tolist() == [[True] * 3 + [False] * 2, [False] + [True] * 4]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.prompt_width == 2
    assert batch.lengths.tolist() == [1, 3]
    assert batch.positions.tolist() == [[0, 1, 2, 2, 2], [0, 0, 1, 2, 3]]


def test_a_pad_token_inside_a_response_counts() -> None:
    """The pad id may be a real token: the mask, not the id, says what is padding."""
    batch = join([[1]], [[0, 0]], pad_id=0)
    assert batch.mask.tolist() == [[True, True]]
    assert batch.attention.all()


def test_rows_keep_what_counts() -> None:
    batch = join([[1, 2], [3], [8]], [[4], [5, 6, 7], [9, 9]], pad_id=0)
    part = batch.rows([2])
    assert part.ids.tolist() == [[8, 9, 9]]
    assert part.mask.tolist() == [[True, True]]
    both = batch.rows(torch.tensor([2, 0]))
    assert both.ids.tolist() == [[0, 8, 9, 9], [1, 2, 4, 0]]


@pytest.mark.parametrize(
    ("prompts", "responses"), [([[1]], []), ([], []), ([[]], [[1]]), ([[1]], [[]])]
)
def test_join_refuses_what_does_not_pair(
    prompts: list[list[int]], responses: list[list[int]]
) -> None:
    with pytest.raises(ValueError, match=r"token|pair"):
        join(prompts, responses, 0)


def test_positions_do_not_depend_on_the_padding_side() -> None:
    left = torch.tensor([[False, True, True]])
    right = torch.tensor([[True, True, False]])
    assert positions(left)[left].tolist() == positions(right)[right].tolist() == [0, 1]


def test_chunks_cover_every_row_once_in_order_of_length() -> None:
    chunks = chunks_by_length([5, 1, 3, 2], 3)
    assert chunks == [[1, 3, 2], [0]]
