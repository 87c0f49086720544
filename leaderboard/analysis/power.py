"""How large an experiment must be: power and sizes, from runs or from given spreads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.stats import VarianceComponents
    from leaderboard.analysis.runs import Floats

TARGET = 0.8
SEEDS = (1, 3, 5, 10)
INSTRUCTIONS = (256, 805, 2000)
USUAL = (5, 805)  # seeds and instructions where no runs say otherwise; 805 is AlpacaFarm's number
ONE_SEED = "one seed shows none, taken as 0: this speaks of that run alone"
SPREADS = {
    "seed": "between seeds",
    "instruction": "between instructions, the same in every seed",
    "residual": "between instructions, new in every seed",
}


@dataclass(frozen=True)
class Design:
    """A paired comparison: its size, and the level of its test, `alpha / comparisons`."""

    seeds: int
    instructions: int
    alpha: float = 0.05
    comparisons: int = 1


@dataclass(frozen=True)
class Spread:
    """How a paired difference spreads.

    Attributes:
        what: of which difference this speaks, in words.
        components: in the unit of the metric.
        sources: component -> where its value comes from.
        size: seeds and instructions of the runs it was estimated from, else `USUAL`.
    """

    metric: str
    what: str
    components: "VarianceComponents"
    sources: dict[str, str]
    size: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """What a design finds, and what it would take.

    Attributes:
        difference: the true one that is to be found, in the metric's unit.
        power: (seeds, instructions) -> probability that it is found.
        needed_seeds: for 80 % power with the design's instructions; inf where none is enough,
            None where nothing is known of the spread between seeds.
        needed_instructions: likewise with the design's seeds.
    """

    spread: Spread
    difference: float
    design: Design
    power: dict[tuple[int, int], float]
    needed_seeds: float | None
    needed_instructions: float


def check_difference(difference: float | None, metric: str) -> None:
    """Refuse a true difference that no experiment could be planned for.

    Raises:
        UserError: it is not above 0, or is in percentage points.
    """
    from leaderboard.analysis.rows import is_percent

    if difference is None:
        return
    if not difference > 0:
        raise UserError(f"--difference {difference:g}: what is to be found must be above 0")
    if difference > 1 and is_percent(metric):
        points = f"{difference:g} points are {difference / 100:g}"
        raise UserError(f"--difference {difference:g}: {metric} is a fraction: {points}")


def components_of(differences: "Floats") -> "VarianceComponents":
    """Variance components of a (S, N) table of differences, NaN where missing.

    One seed does not show how far seeds differ: its instructions' whole spread is taken as theirs,
    and what follows speaks of that run alone.
    """
    import numpy as np

    from bench.stats import VarianceComponents, variance_components

    if len(differences) == 1:
        return VarianceComponents(0.0, float(np.nanstd(differences, ddof=1)), 0.0)
    return variance_components(differences)


def needed(
    difference: float, components: "VarianceComponents", design: Design
) -> tuple[float, float]:
    """Seeds, and instructions, for 80 % power with the other as designed; inf: none is enough."""
    from bench.stats import needed_instructions, needed_seeds

    alpha, comparisons = design.alpha, design.comparisons
    seeds = needed_seeds(
        difference, components, instructions=design.instructions,
        target=TARGET, alpha=alpha, comparisons=comparisons,
    )  # fmt: skip
    instructions = needed_instructions(
        difference, components, seeds=design.seeds,
        target=TARGET, alpha=alpha, comparisons=comparisons,
    )  # fmt: skip
    return seeds or math.inf, instructions or math.inf


def find_spread(
    results: Path,
    suite: str | None,
    labels: Sequence[str],
    metric: str,
    given: Mapping[str, float | None],
    problems: list[str],
) -> Spread:
    """The spread of a difference: estimated from the runs of two labels, given, or both.

    Args:
        results: folder of runs; read only where labels are named.
        suite: this suite only.
        labels: two, as the leaderboard writes them; or none.
        metric: a key of the items.
        given: component -> standard deviation, in place of the estimate; None = not given. Without
            labels seed and instruction must be given, and a residual that is not is 0: more seeds
            then do not help against the instructions' spread.
        problems: receives a line for each thing that is wrong with the runs.

    Raises:
        UserError: if there are no such labels, they cannot be compared, too little is given, or
            there is no spread at all.
    """
    from bench.stats import VarianceComponents

    own = {name: value for name, value in given.items() if value is not None}
    if labels:
        table = _differences(results, suite, labels, metric, problems)
        found, size = asdict(components_of(table)), (table.shape[0], table.shape[1])
        sources = dict.fromkeys(found, f"estimated from {size[0]} seeds x {size[1]} instructions")
        sources |= {name: f"{sources[name]}, which show none" for name in found if not found[name]}
        if size[0] == 1:
            sources["seed"] = ONE_SEED
    else:
        if missing := sorted({"seed", "instruction"} - own.keys()):
            options = " and ".join(f"--{name}-sd" for name in missing)
            raise UserError(f"name two labels whose runs show the spread, or give {options}")
        found, size = {"residual": 0.0}, USUAL
        sources = {"residual": "not given, taken as 0"}
    what = f"{metric} of {' minus '.join(labels)}" if labels else metric
    if not any((found | own).values()):
        # Any difference would be certain, on one instruction: what is missing is the spread.
        raise UserError(
            f"the runs show no spread of {what} at all, over {size[0]} seeds and {size[1]} "
            "instructions: no power can be told from them; give --seed-sd and --instruction-sd, or "
            "take more runs"
        )
    sources |= dict.fromkeys(own, "given")
    return Spread(metric, what, VarianceComponents(**(found | own)), sources, size)


def _differences(
    results: Path, suite: str | None, labels: Sequence[str], metric: str, problems: list[str]
) -> "Floats":
    """(S, N) differences of two labels, on the instructions that are complete."""
    import numpy as np

    from leaderboard.analysis.aggregate import differences
    from leaderboard.analysis.labels import table_with
    from leaderboard.analysis.runs import Instructions

    if len(labels) != 2:
        raise UserError(f"power takes two labels, but was given {len(labels)}: {', '.join(labels)}")
    groups = table_with(results, suite, labels, metric, problems)
    by_label = {group.label: group for group in groups}
    first, second = (by_label[label] for label in labels)
    table = differences(first, second, Instructions(groups), metric)
    if isinstance(table, str):
        raise UserError(f"{results}: {table}")
    complete = table[:, ~np.isnan(table).any(axis=0)]
    if complete.shape[1] < 2:
        raise UserError(f"{results}: {labels[0]} and {labels[1]} share fewer than 2 instructions")
    return complete


def make_plan(spread: Spread, difference: float, design: Design) -> Plan:
    """Power over a small grid of sizes, and what the design lacks; the difference is above 0."""
    from bench.stats import power

    seeds, instructions = needed(difference, spread.components, design)
    return Plan(
        spread=spread,
        difference=difference,
        design=design,
        power={
            (s, n): power(
                difference, spread.components, seeds=s, instructions=n,
                alpha=design.alpha, comparisons=design.comparisons,
            )
            for s in sorted({*SEEDS, design.seeds})
            for n in sorted({*INSTRUCTIONS, design.instructions})
        },
        needed_seeds=None if spread.sources["seed"] == ONE_SEED else seeds,
        needed_instructions=instructions,
    )  # fmt: skip
