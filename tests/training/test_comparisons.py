"""Tokenised comparisons: what differs, what is cut, and what teaches nothing."""

from __future__ import annotations

from bench.data import Preference, Ranking
from bench.models.tokens import Tokens
from bench.training.comparisons import Group, tokenise
from tests.tiny import tiny_backbone

NO_LIMIT = 512


def tokens() -> Tokens:
    return tiny_backbone().tokens


def test_a_pair_is_chosen_before_rejected() -> None:
    words = tokens()
    pair = Preference(prompt="Go.", chosen="red", rejected="blue", margin=0.25)
    (group,), counts = tokenise(words, [pair], NO_LIMIT)
    assert group.prompt == words.prompt("Go.")
    assert group.responses == [words.response("red"), words.response("blue")]
    assert (group.ranks, group.margin) == ([0, 1], 0.25)
    assert counts == {"pairs": 1, "identical": 0, "truncated": 0}


def test_a_pair_without_a_margin_counts_as_one() -> None:
    (group,), _ = tokenise(tokens(), [Preference(prompt="a", chosen="b", rejected="c")], NO_LIMIT)
    assert group.margin == 1.0


def test_changed_masks_mark_the_difference_on_both_sides() -> None:
    pair = Preference(prompt="Go.", chosen="red blue", rejected="red lemon blue")
    (group,), _ = tokenise(tokens(), [pair], NO_LIMIT)
    chosen, rejected = group.changed
    assert sum(chosen) == 0
    assert sum(rejected) == len(group.responses[1]) - len(group.responses[0])


def test_divergence_is_the_first_difference_or_the_shorter_end() -> None:
    assert Group([1], [[5, 6, 7], [5, 8, 7]], [0, 1]).first_divergence == 1
    assert Group([1], [[5, 6], [5, 6, 7]], [0, 1]).first_divergence == 2
    assert Group([1], [[4], [5]], [0, 1]).first_divergence == 0


def test_the_length_is_that_of_the_longest_row() -> None:
    assert Group([1, 2], [[5, 6, 7], [5]], [0, 1]).length == 5


def test_what_does_not_fit_is_cut_and_counted_and_dropped_if_it_is_the_same_then() -> None:
    """Room for two tokens of the response: "red blue" and "red green" lose what differs."""
    words = tokens()
    head = words.response("red")[:2]
    assert words.response("red blue")[:2] == words.response("red green")[:2] == head
    rows = [
        Preference(prompt="Go.", chosen="red blue", rejected="red green"),
        Preference(prompt="Go.", chosen="red blue", rejected="old"),
    ]
    limit = len(words.prompt("Go.")) + 2
    groups, counts = tokenise(words, rows, limit)
    assert [group.responses for group in groups] == [[head, words.response("old")[:2]]]
    assert counts == {"pairs": 1, "identical": 1, "truncated": 3}
    assert all(group.length <= limit for group in groups)


def test_a_response_keeps_a_token_however_long_the_prompt() -> None:
    row = Preference(prompt="Go. " * 9, chosen="red", rejected="blue")
    (group,), _ = tokenise(tokens(), [row], 8)
    assert [len(response) for response in group.responses] == [1, 1]


def test_a_ranking_is_put_in_order() -> None:
    words = tokens()
    row = Ranking(prompt="Go.", responses=["red", "blue", "old"], ranks=[2, 0, 0])
    (group,), counts = tokenise(words, [row], NO_LIMIT)
    assert group.responses == [words.response(text) for text in ("blue", "old", "red")]
    assert group.ranks == [0, 0, 2]
    assert counts["pairs"] == 2


def test_copies_in_a_ranking_are_tied_at_the_better_rank_and_counted() -> None:
    """red 0, blue 1, red 2: red against itself teaches nothing, red against blue twice the same."""
    row = Ranking(prompt="Go.", responses=["red", "blue", "red"], ranks=[0, 1, 2])
    (group,), counts = tokenise(tokens(), [row], NO_LIMIT)
    assert group.ranks == [0, 0, 1]
    assert counts == {"pairs": 2, "identical": 1, "truncated": 0}


def test_a_ranking_without_an_order_is_left_out() -> None:
    rows = [
        Ranking(prompt="Go.", responses=["red", "red", "red"], ranks=[0, 1, 2]),
        Ranking(prompt="Go.", responses=["red", "blue", "old"], ranks=[0, 0, 0]),
    ]
    groups, counts = tokenise(tokens(), rows, NO_LIMIT)
    assert groups == []
    assert counts == {"pairs": 0, "identical": 3, "truncated": 0}
