"""Does what a run pays follow what the tokens were worth? Correlations, ceilings, means by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.stats.credit import Correlation, Mean, TokenCredit, Truth
    from bench.stats.intervals import Floats


FEW = 10  # instructions: a bootstrap over fewer is too narrow


@dataclass(frozen=True)
class Correlations:
    """Of one thing with the true advantage: Pearson's and Spearman's."""

    pearson: Correlation
    spearman: Correlation


@dataclass(frozen=True)
class Kind:
    """The tokens of one kind: what they were worth on average, and what they are paid."""

    tokens: int
    advantage: Mean | None
    share: Mean | None


@dataclass(frozen=True)
class CreditRow:
    """One run.

    Attributes:
        run, method: its id and its method's name.
        tokens, responses, instructions: on what it is measured.
        reliability: of the Monte-Carlo advantages, Pearson's.
        ceiling: what the true advantages would correlate with the Monte-Carlo ones.
        shares: of what the method pays; None: see `note`.
        advantages: of what it learns from; None: see `note`.
        errors, others: tokens within errors and all others; None: nobody knows which they are.
        note: what is missing and why.
    """

    run: str
    method: str
    tokens: int = 0
    responses: int = 0
    instructions: int = 0
    reliability: float | None = None
    ceiling: Correlations | None = None
    shares: Correlations | None = None
    advantages: Correlations | None = None
    errors: Kind | None = None
    others: Kind | None = None
    note: str = ""


@dataclass(frozen=True)
class Credit:
    """All runs, and at which states they were measured.

    Attributes:
        drawn_by: "sft": the SFT model that all runs have in common; "policy": each one's own.
        continuations: K.
        seed: of the draws.
        rows: one a run.
    """

    drawn_by: str
    continuations: int
    seed: int
    rows: list[CreditRow]


def credit_row(found: TokenCredit) -> CreditRow:
    """The correlations of one run."""
    truth, shares = found.truth, found.shares
    if truth is None or shares is None:
        return CreditRow(found.run, found.method, note=found.note)
    reliability = truth.reliability()
    return CreditRow(
        run=found.run,
        method=found.method,
        tokens=len(shares),
        responses=found.responses,
        instructions=len(set(truth.clusters)),
        reliability=None if np.isnan(reliability) else reliability,
        ceiling=Correlations(truth.ceiling(), truth.ceiling(ranks=True)),
        shares=_correlations(truth, shares),
        advantages=None if found.advantages is None else _correlations(truth, found.advantages),
        errors=None if found.wrong is None else _kind(truth, shares, found.wrong),
        others=None if found.wrong is None else _kind(truth, shares, ~found.wrong),
        note=found.note,
    )


def _correlations(truth: Truth, values: Floats) -> Correlations:
    return Correlations(truth.correlation(values), truth.correlation(values, ranks=True))


def _kind(truth: Truth, shares: Floats, where: NDArray[np.bool_]) -> Kind:
    return Kind(int(where.sum()), truth.mean(truth.advantages, where), truth.mean(shares, where))


def notes(rows: Sequence[CreditRow]) -> list[str]:
    """Why a number is missing or an interval says little, a line each."""
    lines = [f"{row.run}: {row.note}." for row in rows if row.note]
    for row in rows:
        parts = {"paid": row.shares, "advantage": row.advantages, "ceiling": row.ceiling}
        for name, part in parts.items():
            if part is not None and part.pearson.note:
                lines.append(f"{row.run}: {name}: {part.pearson.note}.")
    fewest = min((row.instructions for row in rows if row.ceiling), default=FEW)
    if fewest < FEW:
        lines.append(
            f"Too few instructions for an interval to be trusted: {fewest}, at least {FEW} are "
            "needed; ask for more --states, or fewer --positions."
        )
    return lines
