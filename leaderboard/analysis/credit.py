"""Does what a run pays follow what the tokens were worth? Correlations, ceilings, means by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.stats import over_seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.stats.credit import Correlation, Mean, TokenCredit, Truth
    from bench.stats.intervals import Estimate, Floats


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
        run, method, label, seed: its id, its method's name, that with its options, its seed.
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
    label: str
    seed: int
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
class LabelCredit:
    """One label: means over its seeds, each measured at tokens of its own.

    Attributes:
        label: method with its options.
        seeds: that were measured.
        shares, advantages, ceiling: of Pearson's r; None: a seed has none.
        errors, others: of the mean that such tokens are paid, likewise.
    """

    label: str
    seeds: tuple[int, ...]
    shares: Estimate | None
    advantages: Estimate | None
    ceiling: Estimate | None
    errors: Estimate | None
    others: Estimate | None


@dataclass(frozen=True)
class Credit:
    """All runs, and at which states they were measured.

    Attributes:
        drawn_by: "sft": the SFT model that a seed's runs have in common; "policy": each one's own.
        continuations: K.
        seed: of the draws.
        rows: one a run.
    """

    drawn_by: str
    continuations: int
    seed: int
    rows: list[CreditRow]

    @property
    def labels(self) -> list[LabelCredit]:
        """A row a label, in the order of the runs; none where no label has several seeds."""
        of_label: dict[str, list[CreditRow]] = {}
        for row in self.rows:
            if row.ceiling is not None:
                of_label.setdefault(row.label, []).append(row)
        if all(len(rows) == 1 for rows in of_label.values()):
            return []
        return [_over_seeds(label, rows) for label, rows in of_label.items()]


def _over_seeds(label: str, rows: Sequence[CreditRow]) -> LabelCredit:
    def mean(values: list[float | None]) -> Estimate | None:
        known = [value for value in values if value is not None]
        return over_seeds(known) if len(known) == len(rows) else None

    def pearson(parts: list[Correlations | None]) -> Estimate | None:
        return mean([None if part is None else part.pearson.value for part in parts])

    def paid(kinds: list[Kind | None]) -> Estimate | None:
        shares = [None if kind is None else kind.share for kind in kinds]
        return mean([None if share is None else share.mean for share in shares])

    return LabelCredit(
        label=label,
        seeds=tuple(row.seed for row in rows),
        shares=pearson([row.shares for row in rows]),
        advantages=pearson([row.advantages for row in rows]),
        ceiling=pearson([row.ceiling for row in rows]),
        errors=paid([row.errors for row in rows]),
        others=paid([row.others for row in rows]),
    )


def credit_row(found: TokenCredit) -> CreditRow:
    """The correlations of one run."""
    truth, shares = found.truth, found.shares
    if truth is None or shares is None:
        return CreditRow(found.run, found.method, found.label, found.seed, note=found.note)
    reliability = truth.reliability()
    return CreditRow(
        run=found.run,
        method=found.method,
        label=found.label,
        seed=found.seed,
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
