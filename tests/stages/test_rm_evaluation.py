"""What is measured of a reward model on held-out pairs, and of preferring the longer response."""

from __future__ import annotations

from bench.data import Preference
from bench.stages.rm_evaluation import _by_kind, longer_wins
from tests.tiny import tiny_backbone

PAIRS = [
    Preference(prompt="a", chosen="one two three", rejected="one"),
    Preference(prompt="b", chosen="one", rejected="one two three"),
    Preference(prompt="c", chosen="", rejected="", chosen_ids=[5, 6], rejected_ids=[6, 5]),
    Preference(prompt="d", chosen="", rejected="one", chosen_ids=[5, 6, 7], rejected_ids=[5]),
]


class Suite:
    def pair_kind(self, pair: Preference) -> str | None:
        return {"a": "odd", "b": None}.get(pair.prompt, "even")


def test_the_longer_response_is_right_wrong_or_neither_by_the_tokens_that_were_drawn() -> None:
    assert longer_wins(tiny_backbone().tokens, PAIRS) == [1.0, 0.0, 0.5, 1.0]


def test_pairs_are_sorted_by_kind_and_those_of_none_are_left_out() -> None:
    assert _by_kind(Suite(), PAIRS) == {"odd": PAIRS[:1], "even": PAIRS[2:]}
