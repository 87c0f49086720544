"""The report of three edits, worked out by hand."""

import datetime
import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.editing.acceptance import EditResult, Limits, assess
from bench.editing.report import EditReport, Spread
from bench.editing.show import edit_tables
from bench.grid import to_rich
from bench.llm import Answer, Tally
from bench.llm.money.prices import Prices
from bench.llm.templates import Template

PRICES = Prices(date=datetime.date(2026, 10, 7), source="the list", models={})
TEMPLATE = Template("minimal_edit", "{instruction} {response} {nonce}")
LIMITS = Limits(max_changed=0.5, max_removed=0.5, max_added=1.0, always_allowed=0)

GOLDEN = """\
edits
editor claude:m:abc
rows 6
left out: tie 1
ok 3 (60.0%)
refusal 1 (20.0%)
rejected_changed_too_much 1 (20.0%)
limits 50.0% replaced, 50.0% taken out, 100.0% added, or 0 words
calls 2 new, 1 stored
price $0.75 (prices of 2026-10-07)
models claude-x (3)
answered 2026-10-01T00:00:00+00:00 to 2026-10-03T00:00:00+00:00
prompt minimal_edit 56fa17a2
sizes of the 3 accepted edits
mean standard error 5% 25% 50% 75% 95%
changed words, % 33.3 8.3 25.0 25.0 25.0 37.5 47.5
words added -0.7 0.7 -1.8 -1.0 0.0 0.0 0.0
characters added -0.7 1.8 -3.6 -2.0 0.0 1.0 1.8
"""


def shown(made: EditReport) -> str:
    """What the terminal shows, without lines and columns."""
    stream = io.StringIO()
    Console(file=stream, width=120).print(*map(to_rich, edit_tables(made)))
    lines = (" ".join(line.replace("─", "").split()) for line in stream.getvalue().splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def results() -> list[EditResult]:
    """Fractions 1/4, 1/4 and 1/2; words added 0, 0 and -2; characters added 0, 2 and -4."""
    texts = [
        ("a b c d", "a b c e"),
        ("a b c d", "a b c def"),
        ("a b c d", "a b"),
        ("a b c d", "e f g h"),
    ]
    edits = [assess("p", *text, "", LIMITS) for text in texts]
    return [*edits, EditResult("p", "a", "refusal", "bio")]


def tally() -> Tally:
    made = Tally()
    for day, cost, new in ((2, 0.25, True), (1, 0.25, True), (3, 0.25, False)):
        at = f"2026-10-0{day}T00:00:00+00:00"
        key = f"{day:064x}"
        answer = Answer(key=key, outcome="answered", model="claude-x", at=at, cost_usd=cost)
        made.add(answer, new=new)
    return made


def report() -> EditReport:
    return EditReport.of(
        results(),
        tally(),
        prices=PRICES,
        source="claude:m:abc",
        template=TEMPLATE,
        limits=LIMITS,
        left_out={"tie": 1},
    )


def test_counts() -> None:
    made = report()
    assert made.rows == 6 == sum(made.outcomes.values()) + sum(made.left_out.values())
    assert list(made.outcomes.items()) == [
        ("ok", 3),
        ("refusal", 1),
        ("rejected_changed_too_much", 1),
    ]
    assert (made.calls, made.stored, made.cost_usd) == (2, 1, 0.75)
    assert (made.first_at, made.last_at) == (
        "2026-10-01T00:00:00+00:00",
        "2026-10-03T00:00:00+00:00",
    )


def test_sizes_are_those_of_the_accepted() -> None:
    """1/4, 1/4, 1/2: mean 1/3, sd sqrt(1/48), so its standard error is 1/12.

    Quantiles by hand: position q (n - 1) = 0.1, 0.5, 1, 1.5, 1.9 in the sorted values.
    """
    made = report()
    assert made.changed_fraction is not None
    assert made.changed_fraction.mean == pytest.approx(1 / 3)
    assert made.changed_fraction.standard_error == pytest.approx(1 / 12)
    assert made.changed_fraction.quantiles == pytest.approx((0.25, 0.25, 0.25, 0.375, 0.475))
    assert made.words_added is not None
    assert made.words_added.quantiles == pytest.approx((-1.8, -1.0, 0.0, 0.0, 0.0))
    assert made.characters_added is not None
    assert made.characters_added.mean == pytest.approx(-2 / 3)


def test_no_edit_and_one() -> None:
    assert Spread.of([]) is None
    assert Spread.of([0.25]) == Spread(1, 0.25, None, None, (0.25,) * 5)


def test_golden() -> None:
    assert shown(report()) == GOLDEN


def test_what_may_be_billed_beside_the_price() -> None:
    made = report()
    assert made.as_dict()["possibly_billed_usd"] == 0.0
    assert "may be billed beside, at most $0.50\n" in shown(replace(made, possibly_billed_usd=0.5))
    assert "at most unknown" in shown(replace(made, possibly_billed_usd=None))


def test_nothing_at_all_can_be_shown() -> None:
    empty = EditReport.of(
        [],
        Tally(cost_usd=None),
        prices=PRICES,
        source="s",
        template=TEMPLATE,
        limits=LIMITS,
        left_out={},
    )
    assert "price unknown" in shown(empty)
    assert "words added - - - - - - -" in shown(empty)
    assert empty.as_dict()["changed_fraction"] is None
