"""What a pairwise judge compares, and how its verdicts in two orders become one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from bench.plugins.protocols import OrderVerdict, Verdict
from bench.preference import TIE


class Pair(NamedTuple):
    """A model's output beside the reference's, for one instruction.

    `adapted` is the text of a template's {reference}, for judges that make one (RevisEval).
    """

    prompt: str
    reference: str
    output: str
    adapted: str = ""


def pairs_of(prompts: list[str], outputs: list[str], references: list[str]) -> list[Pair]:
    """One an instruction."""
    return [Pair(*texts) for texts in zip(prompts, references, outputs, strict=True)]


def combine(orders: Sequence[OrderVerdict]) -> Verdict:
    """The mean of all orders; without one of them there is no verdict, and its status says why."""
    known = [order.preference for order in orders if order.preference is not None]
    if len(known) < len(orders):
        status = next(order.status for order in orders if order.preference is None)
        return Verdict(None, status, orders=tuple(orders))
    preference = fmean(known)
    return Verdict(preference, "tie" if preference == TIE else "ok", orders=tuple(orders))
