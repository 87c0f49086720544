"""Labels against each other: paired by seed and instruction, Holm-corrected."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderboard.analysis.flips import Flips
    from leaderboard.analysis.runs import Group, Instructions

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """One label minus the base.

    Attributes:
        df: degrees of freedom of its t.
        p_holm: p after Holm over all comparisons.
        detectable: smallest true difference found with 80 % power at Holm's first step.
        planned: the true difference, without its sign, of which the next two speak.
        needed_seeds: for 80 % power at Holm's first step, with as many instructions as here; inf
            where none is enough, None where there is one seed, which shows no spread.
        needed_instructions: likewise, with as many seeds as here.
        basis: what the interval speaks of: `bench.stats.CROSSED` or `ONE_RUN`.
        note: why there are no numbers, "" where there are.
        flips: the instructions that differ, where examples were asked for.
    """

    label: str
    base: str
    metric: str
    mean: float | None = None
    standard_error: float | None = None
    df: float | None = None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    p_holm: float | None = None
    seeds: int = 0
    instructions: int = 0
    detectable: float | None = None
    planned: float | None = None
    needed_seeds: float | None = None
    needed_instructions: float | None = None
    basis: str = ""
    note: str = ""
    flips: "Flips | None" = None

    @property
    def significant(self) -> bool:
        """At 5 %, after Holm."""
        return self.p_holm is not None and self.p_holm <= ALPHA


def compare(
    results: Path,
    suite: str | None,
    labels: Sequence[str],
    metric: str = "win_rate",
    problems: list[str] | None = None,
    *,
    planned: float | None = None,
    examples: int = 0,
) -> list[Comparison]:
    """Paired differences: of all pairs of `labels`, or of every label to the only one given.

    Only what shares suite, reference, judge and judge prompt is compared. What cannot be compared
    is in the list too, with a note and without numbers. Against one label the largest comes first.

    Args:
        results: folder of runs.
        suite: this suite only; None = the first (largest) table that holds the labels.
        labels: as the leaderboard writes them, such as "sft".
        metric: a key of the items: win_rate, gold_score, length, ...
        problems: receives a line for each thing that is wrong with the runs.
        planned: the true difference that a later experiment shall find; None = each pair's own.
        examples: so many of the instructions that differ most, of each pair.

    Raises:
        UserError: as `leaderboard.analysis.labels.table_with`, or nothing can be planned for
            `planned`.
    """
    from leaderboard.analysis.flips import find_flips
    from leaderboard.analysis.labels import table_with
    from leaderboard.analysis.power import check_difference
    from leaderboard.analysis.runs import Instructions

    check_difference(planned, metric)
    wrong: list[str] = [] if problems is None else problems
    groups = table_with(results, suite, labels, metric, wrong)
    by_label = {group.label: group for group in groups}
    instructions = Instructions(groups)
    if len(labels) == 1:
        pairs = [(group, by_label[labels[0]]) for group in groups if group.label != labels[0]]
    else:
        pairs = [(by_label[a], by_label[b]) for a, b in combinations(labels, 2)]
    found = _with_holm([_compared(pair, instructions, metric) for pair in pairs])
    family = sum(c.p_value is not None for c in found)
    for i, pair in enumerate(pairs):
        found[i] = _planned(found[i], pair, instructions, planned, family)
        if examples and found[i].mean is not None:
            flips = find_flips(pair, instructions, metric, examples, wrong)
            found[i] = replace(found[i], flips=flips)
    if len(labels) == 1:
        found.sort(key=lambda c: (c.mean is None, -(c.mean or 0.0), c.label))
    return found


def all_pairs(groups: "Sequence[Group]", metric: str) -> list[Comparison]:
    """Every label minus each that comes after it, Holm over all of them.

    Intervals are Student's t, as the p-values are: a bootstrap of each pair would take minutes.

    Args:
        groups: of one table; those without items are left out.
        metric: a key of the items.
    """
    from leaderboard.analysis.runs import Instructions

    instructions = Instructions(list(groups))
    pairs = combinations([group for group in groups if group.items], 2)
    return _with_holm([_compared(pair, instructions, metric, bootstrap=False) for pair in pairs])


def _compared(
    pair: "tuple[Group, Group]",
    instructions: "Instructions",
    metric: str,
    *,
    bootstrap: bool = True,
) -> Comparison:
    from leaderboard.analysis.aggregate import difference

    label, base = (group.label for group in pair)
    found = difference(*pair, instructions, metric, bootstrap=bootstrap)
    if isinstance(found, str):
        return Comparison(label, base, metric, note=found)
    return Comparison(
        label=label,
        base=base,
        metric=metric,
        mean=found.mean,
        standard_error=found.standard_error,
        df=found.df,
        ci95=found.ci95,
        p_value=found.p_value,
        seeds=found.seeds,
        instructions=found.n,
        basis=found.basis,
    )


def _with_holm(found: list[Comparison]) -> list[Comparison]:
    from bench.stats import holm

    adjusted = iter(holm([c.p_value for c in found if c.p_value is not None]))
    return [c if c.p_value is None else replace(c, p_holm=next(adjusted)) for c in found]


def _planned(
    found: Comparison,
    pair: "tuple[Group, Group]",
    instructions: "Instructions",
    planned: float | None,
    family: int,
) -> Comparison:
    """What the comparison could have seen, and what a true difference would need."""
    from bench.stats import minimum_detectable_effect
    from leaderboard.analysis.aggregate import differences
    from leaderboard.analysis.power import Design, components_of, needed

    table = differences(*pair, instructions, found.metric)
    if found.mean is None or found.standard_error is None or isinstance(table, str):
        return found
    design = Design(found.seeds, found.instructions, ALPHA, family)
    wanted = abs(found.mean) if planned is None else planned
    seeds, items = needed(wanted, components_of(table), design)
    return replace(
        found,
        detectable=minimum_detectable_effect(
            found.standard_error, df=found.df or math.inf, alpha=ALPHA / family
        ),
        planned=wanted,
        needed_seeds=None if found.seeds == 1 else seeds,
        needed_instructions=items,
    )
