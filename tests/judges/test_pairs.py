"""One verdict from two orders."""

from __future__ import annotations

from bench.judging.pairs import combine
from bench.plugins.protocols import OrderVerdict


def test_the_first_missing_order_names_the_status() -> None:
    ok, cut, refused = (
        OrderVerdict(p, s) for p, s in ((2, "ok"), (None, "truncated"), (None, "refusal"))
    )
    assert combine([ok, cut]).status == "truncated"
    assert combine([refused, cut]).status == "refusal"
    assert combine([refused, ok]).preference is None


def test_the_mean_of_both() -> None:
    verdict = combine([OrderVerdict(2, "ok"), OrderVerdict(1.5, "ok")])
    assert (verdict.preference, verdict.status) == (1.75, "ok")
    assert combine([OrderVerdict(2, "ok"), OrderVerdict(1, "ok")]).status == "tie"
