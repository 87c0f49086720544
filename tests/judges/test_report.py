"""The report's numbers, by hand, and what is said about them."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from bench.grid import to_rich
from bench.judging.pairs import Pair, combine
from bench.judging.references import ReferenceSet
from bench.judging.report import MAX_MISSING, Report, cross_check, make_report
from bench.judging.show import report_table
from bench.plugins.protocols import OrderVerdict, Verdict
from judges.replay import Replay, ReplayOptions

REFERENCE = ReferenceSet("theirs", "ab" * 32)


def report(*verdicts: Verdict, model: str | None = None, editor: str | None = None) -> Report:
    judged = [(Pair(f"q {i}", "ref", "output"[: i + 1]), v) for i, v in enumerate(verdicts)]
    judge = Replay(None, ReplayOptions())
    judge.model = model
    return make_report(judged, judge, REFERENCE, "ours", editor)


def ok(preference: float) -> Verdict:
    return Verdict(preference, "ok")


def text(shown: Report) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(to_rich(report_table(shown)))
    return capture.get()


def test_numbers_by_hand() -> None:
    """Scores 1, 0, .75 of 4: mean 7/12, variance ((5/12)^2 + (7/12)^2 + (2/12)^2) / 2."""
    made = report(ok(2), ok(1), Verdict(None, "refusal"), ok(1.75))
    rate = made.win_rate
    assert rate.mean == pytest.approx(7 / 12)
    assert rate.standard_error == pytest.approx(math.sqrt((25 + 49 + 4) / 144 / 2 / 3))
    assert (rate.wins, rate.losses, rate.ties) == (2, 1, 0)
    assert (made.n, made.scored, made.missing) == (4, 3, 1)
    assert made.bounds == (pytest.approx(1.75 / 4), pytest.approx(2.75 / 4))
    assert made.counts == {"ok": 3, "refusal": 1}
    assert made.invalid


@pytest.mark.parametrize(("missing", "invalid"), [(0, False), (2, False), (3, True)])
def test_more_than_two_per_cent_missing_is_not_valid(missing: int, invalid: bool) -> None:
    verdicts = [Verdict(None, "expired")] * missing + [ok(2)] * (100 - missing)
    assert MAX_MISSING == 0.02
    assert report(*verdicts).invalid == invalid


def test_no_verdict_at_all() -> None:
    made = report(Verdict(None, "skipped_budget"), Verdict(None, "api_error"))
    assert made.win_rate is None
    assert made.bounds == (0.0, 1.0)
    assert made.invalid
    assert json.loads(json.dumps(made.as_dict()))["win_rate"] is None
    assert "none: no instruction has a verdict" in text(made)
    cross_check([{"preference": None}], None)


def test_as_dict_is_json() -> None:
    made = report(*[ok(p) for p in (1, 2, 1, 2, 2)])
    read = json.loads(json.dumps(made.as_dict(), allow_nan=False))
    assert read["reference"] == {"name": "theirs", "sha": "ab" * 32}
    assert read["win_rate"]["mean"] == 0.6
    assert (read["scored"], read["missing"], read["invalid"]) == (5, 0, False)
    assert read["length_adjusted"]["method"] == "ours, not AlpacaEval's"
    assert read["details"] == {"cost_usd": 0.0, "models": {}}


def test_a_length_adjustment_that_cannot_be_says_why() -> None:
    made = report(ok(2), ok(1))
    assert made.length_adjusted is None
    assert "three items" in made.length_problem
    assert made.length_problem in text(made)


@pytest.mark.parametrize(
    ("model", "editor", "family"),
    [
        ("claude-sonnet-5-5", "claude:claude-haiku-5-5:abcd", "claude"),
        ("claude-sonnet-5-5", "gold", None),
        ("gpt-4o", "claude", None),
        ("claude-sonnet-5-5", None, None),
        (None, None, None),
    ],
)
def test_judge_and_editor_of_one_family(
    model: str | None, editor: str | None, family: str | None
) -> None:
    made = report(ok(2), model=model, editor=editor)
    assert made.shared_family == family
    assert ("SAME FAMILY" in text(made)) == (family is not None)


def test_what_people_read() -> None:
    refused = OrderVerdict(None, "refusal", category="bio")
    shown = text(report(*[ok(2)] * 3, *[ok(1)] * 6, combine([refused, refused])))
    for line in (
        "NOT VALID: 1 of 10 instructions have no verdict, more than 2%",
        "ours against theirs [abababab], judged by replay",
        "33.3% ± 16.7 (one standard error), 95 % interval [",
        "3, 6, 0",
        "10: 9 scored, 1 missing (9 ok, 1 refusal)",
        "30.0%, 40.0%",
        "bio 2",
        "(ours, not AlpacaEval's)",
        "$0.00",
    ):
        assert line in shown


def test_what_may_be_billed_beside_the_cost() -> None:
    made = report(ok(2))
    assert "may be billed" not in text(made)
    lost = replace(made, details={"cost_usd": 1.0, "possibly_billed_usd": 0.25})
    assert "may be billed beside, at most" in text(lost)
    assert "$0.25" in text(lost)


def test_cross_check_sees_a_difference() -> None:
    rows = [{"preference": p} for p in (1, 2, 1.5, None, 1.75)]
    made = report(ok(1), ok(2), ok(1.5), Verdict(None, "refusal"), ok(1.75))
    cross_check(rows, made.win_rate)
    with pytest.raises(RuntimeError, match=r"win_rate is 56\.25 by us, but 81\.25 by alpaca"):
        cross_check([*rows[1:2], *rows[1:]], made.win_rate)
    cross_check([{"preference": 2}], report(ok(2)).win_rate)  # one item has no standard error


def test_alpaca_eval_leaves_the_root_logger_alone() -> None:
    """In a new process, where it is not imported yet."""
    code = (
        "import logging; from bench.judging.quiet import quiet_import; "
        "quiet_import('alpaca_eval.metrics'); "
        "print(logging.getLogger().level, logging.getLogger().handlers)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{logging.WARNING} []"
    assert done.stderr == ""
