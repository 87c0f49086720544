"""Every small file there can be has a report: no exception, no NaN, and a reason for each null.

A report comes after the calls are paid. These tests try all combinations of few verdicts and
lengths; fewer resamples than usual, since it is not their number that is tried here.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Iterator
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.editing.report import Spread
from bench.errors import UserError
from bench.grid import to_rich
from bench.judging.agreement import agree
from bench.judging.alpaca_eval import Comparison, annotation_rows
from bench.judging.pairs import Pair, combine
from bench.judging.references import ReferenceSet
from bench.judging.report import Report, cross_check, make_report
from bench.judging.show import report_table
from bench.plugins.protocols import OrderVerdict, Verdict
from bench.stats import length_adjusted
from judges.replay import Replay, ReplayOptions
from tests.judges.test_agreement import annotations

LOST, WON, EVEN, REFUSED = (
    OrderVerdict(preference, status)
    for preference, status in ((1, "ok"), (2, "ok"), (1.5, "ok"), (None, "refusal"))
)
ORDERS = [(LOST, LOST), (LOST, WON), (WON, WON), (EVEN, WON), (REFUSED, LOST)]
VERDICTS = [*map(combine, ORDERS), Verdict(None, "api_error"), Verdict(1.5, "identical")]
TEXTS = [("", ""), ("", "ref"), ("ref", ""), ("one", "ref"), ("longer", "ref")]
Items = tuple[tuple[Verdict, tuple[str, str]], ...]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in ("intervals", "agreement"):
        monkeypatch.setattr(f"bench.stats.{module}.RESAMPLES", 99)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's, where a NaN comes from
        yield


def report(items: Items) -> Report:
    judged = [(Pair(f"q {i}", *texts[::-1]), v) for i, (v, texts) in enumerate(items)]
    return make_report(judged, Replay(None, ReplayOptions()), ReferenceSet("r", "0"), "o", None)


def small_files() -> Iterator[Items]:
    """All of one item; of more, with fewer kinds of verdicts and texts the more items there are."""
    for n, verdicts, texts in (
        (1, VERDICTS, TEXTS),
        (2, [VERDICTS[i] for i in (0, 1, 2, 4)], TEXTS[1:]),
        (3, [VERDICTS[i] for i in (0, 1, 4)], TEXTS[3:]),
        (4, [VERDICTS[i] for i in (0, 1)], TEXTS[3:]),
        (5, [VERDICTS[i] for i in (0, 2)], TEXTS[3:]),
    ):
        yield from combinations_with_replacement(list(product(verdicts, texts)), n)


def test_every_small_file_has_a_report() -> None:
    for items in small_files():
        made = report(items)
        assert json.dumps(made.as_dict(), allow_nan=False), items
        assert (made.length_adjusted is None) == bool(made.length_problem), items
        assert 0 <= made.bounds[0] <= made.bounds[1] <= 1, items


def test_small_reports_are_shown_and_confirmed() -> None:
    for items in product(product(VERDICTS, TEXTS[2:4]), repeat=1):
        made = report(items * 2)
        Console(file=io.StringIO()).print(to_rich(report_table(made)))
        rows = [Comparison(instruction=str(i), output_1="", output_2="x") for i in range(2)]
        cross_check(annotation_rows(rows, [items[0][0]] * 2, "judge"), made.win_rate)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_length_adjustment_is_sound_or_says_why_not(n: int) -> None:
    """All verdicts and differences of length, with a missing verdict where there is time for it."""
    preferences: list[float | None] = [1, 1.5, 2] if n > 3 else [1, 1.5, 2, None]
    differences = [0, 1] if n > 4 else [-1, 0, 1]
    found = 0
    for items in combinations_with_replacement(list(product(preferences, differences)), n):
        verdicts, longer = zip(*items, strict=True)
        try:
            made = length_adjusted(verdicts, [4 + x for x in longer], [4] * n)
        except ValueError:
            continue
        found += 1
        low, high = made.ci95
        assert 0 <= low <= made.mean <= high <= 1, items
        assert made.standard_error > 1e-6, items
        assert 0 < made.length_effect_error < math.inf, items
    assert found


def agreements() -> Iterator[tuple[tuple[Any, Any], ...]]:
    """All of one item and of two; of three those without a tie and without a missing one."""
    for n, sides in ((1, (1, 1.5, 2, None)), (2, (1, 1.5, 2, None)), (3, (1, 2))):
        yield from combinations_with_replacement(list(product(sides, repeat=2)), n)


def test_any_two_small_files_agree_somehow(tmp_path: Path) -> None:
    for pairs in agreements():
        paths = [
            annotations(tmp_path / f"{k}.json", {str(i): pair[k] for i, pair in enumerate(pairs)})
            for k in (0, 1)
        ]
        if all(None in pair for pair in pairs):
            with pytest.raises(UserError, match="no instruction has a verdict in both"):
                agree(*paths)
            continue
        made = agree(*paths)
        assert json.dumps(made.as_dict(), allow_nan=False), pairs
        assert (made.kappa is None) == bool(made.kappa_problem), pairs


def test_any_few_edits_have_a_spread() -> None:
    for n in (1, 2, 3):
        for values in combinations_with_replacement([-1.0, 0.0, 0.5], n):
            made = Spread.of(values)
            assert made is not None
            assert json.dumps(vars(made), allow_nan=False), values
            assert (made.standard_error is None) == (n == 1), values
