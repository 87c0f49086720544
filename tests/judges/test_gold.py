"""The gold judge."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from bench.errors import UserError
from bench.suites.testbed.probes import clean_response
from bench.suites.testbed.suite import Testbed
from judges.gold import Gold


def test_higher_wins_equal_ties() -> None:
    suite = Testbed()
    prompt = suite.prompts("test", 1, 0)[0]
    clean = clean_response(prompt, random.Random(0))
    judge = Gold(suite)
    won, lost, tied = judge.compare([prompt] * 3, [clean, "", clean], ["", clean, clean])
    assert (won.preference, lost.preference, tied.preference) == (2.0, 1.0, 1.5)
    assert (won.status, tied.status) == ("ok", "tie")
    assert won.score == 1.0
    assert won.reference_score == suite.score(prompt, "")


def test_needs_a_suite_with_gold() -> None:
    suite = SimpleNamespace(name="words")
    with pytest.raises(UserError, match="the gold judge needs gold scores, which the suite words"):
        Gold(suite)  # type: ignore[arg-type]
