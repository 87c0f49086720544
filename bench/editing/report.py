"""What editing came to: how many edits there are, why there are not more, how large they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.editing.acceptance import EditResult, Limits
from bench.llm import Tally
from bench.llm.money.prices import Prices
from bench.llm.templates import Template
from bench.stats import mean_interval

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Spread:
    """How a number is distributed over the accepted edits.

    Attributes:
        standard_error, ci95: of the mean (Student's t); None where n = 1.
        quantiles: at `QUANTILES`, linear between two values.
    """

    n: int
    mean: float
    standard_error: float | None
    ci95: tuple[float, float] | None
    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        """Of the values; None where there are none."""
        if not values:
            return None
        mean = mean_interval(values, bootstrap=False)
        quantiles = tuple(map(float, np.quantile(np.array(values, dtype=float), QUANTILES)))
        return cls(mean.n, mean.mean, mean.standard_error, mean.ci95, quantiles)


@dataclass(frozen=True)
class EditReport:
    """All rows are accounted for: `rows` is the sum of `outcomes` and of `left_out`.

    Attributes:
        source: who edited.
        template, template_sha: name and SHA-256 of the prompt.
        limits: of acceptance.
        rows: read.
        left_out: rows without a response to edit, by reason.
        outcomes: responses by status, "ok" first.
        changed_fraction, words_added, characters_added: of the accepted edits.
        calls, stored: answers that are new, and that were there before.
        cost_usd: of all of them; None where a price is not known.
        possibly_billed_usd: most that lost and unreadable answers may have cost beside that.
        prices: date and source of the table that it comes from.
        models: names that the API returned, and how often.
        first_at, last_at: when the oldest and the newest answer came.
    """

    source: str
    template: str
    template_sha: str
    limits: Limits
    rows: int
    left_out: dict[str, int]
    outcomes: dict[str, int]
    changed_fraction: Spread | None
    words_added: Spread | None
    characters_added: Spread | None
    calls: int
    stored: int
    cost_usd: float | None
    possibly_billed_usd: float | None
    prices: dict[str, Any]
    models: dict[str, int]
    first_at: str | None
    last_at: str | None

    @classmethod
    def of(
        cls,
        results: Sequence[EditResult],
        tally: Tally,
        *,
        prices: Prices,
        source: str,
        template: Template,
        limits: Limits,
        left_out: Mapping[str, int],
    ) -> EditReport:
        """Count results and measure the accepted ones."""
        accepted = [result for result in results if result.status == "ok"]
        outcomes = Counter(result.status for result in results)
        return cls(
            source=source,
            template=template.name,
            template_sha=template.sha,
            limits=limits,
            rows=len(results) + sum(left_out.values()),
            left_out=dict(left_out),
            outcomes={"ok": 0, **dict(sorted(outcomes.items()))},
            changed_fraction=Spread.of([result.changed_fraction for result in accepted]),
            words_added=Spread.of([result.words_added for result in accepted]),
            characters_added=Spread.of([result.characters_added for result in accepted]),
            calls=tally.calls,
            stored=tally.stored,
            cost_usd=tally.cost_usd,
            possibly_billed_usd=tally.possibly_billed_usd,
            prices=prices.about(),
            models=dict(tally.models),
            first_at=tally.first_at,
            last_at=tally.last_at,
        )

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file or a record."""
        return asdict(self) | {"quantiles": list(QUANTILES)}
