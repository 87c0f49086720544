"""Rows of `bench credit`: what is said where a number is missing."""

from __future__ import annotations

import json

import numpy as np

from bench.grid import DASH
from bench.stats.credit import TokenCredit, Truth
from leaderboard.analysis.credit import Credit, CreditRow, credit_row, notes
from leaderboard.views.credit import credit_grids, to_json

RNG = np.random.default_rng(0)
AFTER = RNG.normal(size=(40, 1)) + 0.1 * RNG.normal(size=(40, 4))
TRUTH = Truth(np.zeros((40, 4)), AFTER, [i // 4 for i in range(40)])


def grids(*rows: CreditRow) -> list[list[list[str]]]:
    return [list(map(list, grid.rows)) for grid in credit_grids(Credit("sft", 4, 0, list(rows)))]


def test_a_row_is_measured_against_its_truth() -> None:
    wrong = np.arange(40) < 8
    found = TokenCredit("a-s0", "a", "a", 0, TRUTH, TRUTH.advantages, -TRUTH.advantages, wrong, 10)
    row = credit_row(found)
    assert (row.tokens, row.responses, row.instructions) == (40, 10, 10)
    assert row.shares is not None
    assert row.advantages is not None
    assert row.shares.pearson.value == row.shares.spearman.value == 1.0
    assert row.advantages.pearson.value == -1.0
    assert row.errors is not None
    assert row.others is not None
    assert (row.errors.tokens, row.others.tokens) == (8, 32)
    assert row.errors.share == row.errors.advantage
    (cells,), (kinds,) = grids(row)
    assert cells[:2] == ["a-s0", "1.00 [1.00, 1.00]"]
    assert cells[4].startswith("-1.00 ")
    assert kinds[3] == "8"


def test_few_instructions_are_said() -> None:
    few = Truth(TRUTH.before, TRUTH.after, [i // 5 for i in range(40)])
    rows = [
        credit_row(TokenCredit("a", "a", "a", 0, one, TRUTH.advantages)) for one in (TRUTH, few)
    ]
    assert notes(rows[:1]) == []
    (line,) = notes(rows)
    assert line.startswith("Too few instructions for an interval to be trusted: 8, at least 10")


def test_what_is_constant_or_missing_is_none_with_its_reason() -> None:
    flat = TokenCredit("b-s0", "b", "b", 0, TRUTH, np.zeros(40), None, None, 10, "no advantages")
    unpaid = TokenCredit("sft-s0", "sft", "sft", 0, note="pays no token")
    rows = [credit_row(flat), credit_row(unpaid)]
    assert notes(rows) == [
        "b-s0: no advantages.",
        "sft-s0: pays no token.",
        "b-s0: paid: 0 at each of 40 tokens.",
    ]
    ((first, second),) = grids(*rows)  # no kinds: nobody knows where the errors are
    assert first[1:7] == ["none", "none", DASH, "none", "none", "none"]
    assert second == ["sft-s0", *["none"] * 6, DASH, DASH]
    (grid,) = credit_grids(Credit("policy", 4, 0, rows))
    assert grid.title.endswith("40 tokens of 10 responses of each run's own policy, K = 4")


def test_several_seeds_of_a_label_are_a_row_with_their_mean() -> None:
    """The second seed is paid the opposite of the truth: r = 1 and -1, mean 0."""
    rows = [
        credit_row(TokenCredit(f"a-s{seed}", "a", "a x=1", seed, TRUTH, sign * TRUTH.advantages))
        for seed, sign in ((0, 1), (1, -1))
    ]
    rows.append(credit_row(TokenCredit("b-s0", "b", "b", 0, TRUTH, np.zeros(40))))
    rows.append(credit_row(TokenCredit("sft-s0", "sft", "sft", 0, note="pays no token")))
    found = Credit("sft", 4, 0, rows)
    first, second = found.labels
    assert (first.label, first.seeds) == ("a x=1", (0, 1))
    assert first.shares is not None
    assert first.shares.mean == 0.0
    assert first.shares.standard_error == 1.0
    assert first.advantages is None
    assert (second.label, second.shares) == ("b", None)
    _, grid = credit_grids(found)
    assert grid.title == "Over seeds"
    assert list(grid.rows[0])[:4] == ["a x=1", "2", "0.00 [-12.71, 12.71]", "none"]
    assert json.loads(to_json(found))["data"]["labels"][0]["shares"]["mean"] == 0.0


def test_one_seed_of_each_label_is_no_table_over_seeds() -> None:
    one = credit_row(TokenCredit("a-s0", "a", "a", 0, TRUTH, TRUTH.advantages))
    assert Credit("sft", 4, 0, [one]).labels == []
