"""What a judge's verdicts depend on besides quality: position, length, ties and refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bench.judging.pairs import Pair
from bench.plugins.protocols import OrderVerdict, Verdict
from bench.preference import TIE, side
from bench.records.schema import Metric
from bench.stats import accuracy_interval

Judged = Sequence[tuple[Pair, Verdict]]


def diagnose(judged: Judged) -> dict[str, Any]:
    """Rates with Wilson intervals, an instruction's comparisons being one cluster.

    Returns:
        None, or a `Metric` as a dict, for each of:

        - flip_rate: items whose two orders contradict each other, of those with both;
        - first_position_rate: answers that chose what was shown first, of items with both orders
          (one alone may be a better text), ties left out;
        - longer_wins: items won by the output with more characters, ties and equals left out;
        - tie_rate: items without a preference, of those with a verdict;
        - refusal_rate: items of which an order was refused.
    """
    both = [
        (p.prompt, contradict(v.orders))
        for p, v in judged
        if len(v.orders) == 2 and v.preference is not None
    ]
    return {
        "flip_rate": rate(both),
        "first_position_rate": rate(
            (pair.prompt, side(order.preference) == shown_first)
            for pair, verdict in judged
            if len(verdict.orders) == 2 and verdict.preference is not None
            for order, shown_first in zip(verdict.orders, ("first", "second"), strict=True)
            if order.preference is not None and order.preference != TIE
        ),
        "longer_wins": rate(
            (p.prompt, (side(v.preference) == "second") == (len(p.output) > len(p.reference)))
            for p, v in judged
            if v.preference is not None
            if v.preference != TIE and len(p.output) != len(p.reference)
        ),
        "tie_rate": rate(
            (p.prompt, v.preference == TIE) for p, v in judged if v.preference is not None
        ),
        "refusal_rate": rate((p.prompt, _refused(v)) for p, v in judged),
    }


def refusals(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Refused answers by the API's category; "unnamed" where it gave none."""
    categories = Counter(
        order.category or "unnamed"
        for verdict in verdicts
        for order in verdict.orders
        if order.status == "refusal"
    )
    return dict(sorted(categories.items()))


def counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Verdicts by status."""
    return dict(sorted(Counter(verdict.status for verdict in verdicts).items()))


def contradict(orders: Sequence[OrderVerdict]) -> bool:
    """Whether different outputs were preferred in the two orders."""
    sides = {side(order.preference) for order in orders if order.preference is not None}
    return {"first", "second"} <= sides


def _refused(verdict: Verdict) -> bool:
    return "refusal" in (verdict.status, *(order.status for order in verdict.orders))


def rate(values: Iterable[tuple[str, bool]]) -> dict[str, Any] | None:
    """Share of True; each value comes with its instruction."""
    pairs = list(values)
    if not pairs:
        return None
    clusters, shares = zip(*pairs, strict=True)
    return Metric.of(accuracy_interval(shares, clusters)).model_dump(mode="json", exclude_none=True)
