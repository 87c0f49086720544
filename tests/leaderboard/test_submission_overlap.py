"""Evaluation prompts in training: letter by letter, in other spelling, and 13 words in a row."""

import pytest

from leaderboard.submission.overlap import overlap, words

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


@pytest.mark.parametrize(
    ("training", "evaluation", "exact", "normalised", "ngrams"),
    [
        (["Who is it?"], ["Who is it?"], 1, 1, 0),
        (["who  is\nIT"], ["Who is it?"], 0, 1, 0),
        (["Who was it?"], ["Who is it?"], 0, 0, 0),
        (["ＷＨＯ is it?"], ["Who is it?"], 0, 1, 0),  # full-width letters
        ([f"Zero {LONG} fourteen"], [f"Other words {LONG.upper()}!"], 0, 0, 1),
        ([LONG.removesuffix("thirteen")], [LONG], 0, 0, 0),  # 12 of 13 words
        (["say: a b c d e f g h, please"], ["A b c d e f g h."], 0, 0, 1),  # as a whole, 8 words
        (["say: a b c d e f g, please"], ["A b c d e f g."], 0, 0, 0),  # 7 are too few
        ([], ["Who?"], 0, 0, 0),
        (["Who?"], [], 0, 0, 0),
    ],
)
def test_overlap(training, evaluation, exact: int, normalised: int, ngrams: int) -> None:
    found = overlap(training, evaluation)
    assert (found.exact, found.normalised, found.ngrams) == (exact, normalised, ngrams)


def test_a_prompt_counts_once() -> None:
    found = overlap(["a", "a", "b"], ["a", "a", "c"])
    assert (found.training, found.evaluation, found.exact) == (2, 2, 1)


def test_every_script_has_words() -> None:
    assert words("¿Qué es “esto”?") == ("qué", "es", "esto")
    assert words("什么 是") == ("什么", "是")
