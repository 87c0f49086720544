"""How often a paired seeds x instructions comparison finds a difference, and what it would need.

The test is that of `bench.stats.two_way`: Student's t with estimated degrees of freedom. It is
found by integration over the mean squares that may come out, for what happens at the expected ones
misleads: the non-central t at their degrees of freedom is off by up to 4 points at 5 seeds, and
by up to 33 at 2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bench.stats.crossed import (
    MeanSquares,
    complete_instructions,
    degrees_of_freedom,
    mean_squares,
    to_table,
)
from bench.stats.intervals import Floats

LARGEST = 2**20  # seeds or instructions beyond which none is looked for
_NODES = (96, 16, 16)  # of seed, instruction and residual: the first has the fewest degrees


@dataclass(frozen=True)
class VarianceComponents:
    """Where a paired difference spreads, as standard deviations in its unit.

    Attributes:
        seed: of the seed's effect, shared by all instructions.
        instruction: of the instruction's effect, shared by all seeds.
        residual: of the rest of one seed's one instruction.
    """

    seed: float
    instruction: float
    residual: float


def variance_components(differences: ArrayLike) -> VarianceComponents:
    """Method of moments from a seeds x instructions table; one estimated below 0 is 0.

    ``seed^2 = (MS_seed - MS_resid) / N``, ``instruction^2 = (MS_inst - MS_resid) / S``. Few seeds
    tell little of their own spread: what is planned from 5 is a guide.

    Args:
        differences: (S, N), as `two_way` takes them.

    Raises:
        ValueError: if the shape is not (S, N), it has one seed, or fewer than two instructions
            are complete.
    """
    table = to_table(differences)
    if len(table) < 2:
        raise ValueError("one seed does not show how far seeds differ: two or more are needed")
    _, squares = mean_squares(complete_instructions(table))
    seed = (squares.seed - squares.residual) / squares.instructions
    instruction = (squares.instruction - squares.residual) / squares.seeds
    found = (math.sqrt(max(0.0, float(x))) for x in (seed, instruction, squares.residual))
    return VarianceComponents(*found)


def power(
    difference: float,
    components: VarianceComponents,
    *,
    seeds: int,
    instructions: int,
    alpha: float = 0.05,
    comparisons: int = 1,
) -> float:
    """Probability that the two-sided test calls a true difference significant.

    ``E[P(|d + Z| > t_{1 - alpha/2}(df) se)]``, Z normal with the true standard error, over the
    distribution of the mean squares that give se and df. At d = 0 it is the size of the test.

    Args:
        difference: the true one, in the unit of the components.
        components: of the difference.
        seeds: S; with 1 the test is that of one run, and the difference that run's.
        instructions: N, at least 2.
        alpha: family-wise level.
        comparisons: size of the Holm family; its first step is assumed, alpha / comparisons.

    Raises:
        ValueError: if a number is out of its range.
    """
    if seeds < 1 or instructions < 2 or comparisons < 1 or not 0 < alpha < 1:
        raise ValueError(
            "power needs seeds >= 1, instructions >= 2, comparisons >= 1 and 0 < alpha < 1, not "
            f"{seeds}, {instructions}, {comparisons} and {alpha}"
        )
    if not math.isfinite(difference) or min(vars(components).values()) < 0:
        raise ValueError(f"the difference is {difference}, or one of {components} is negative")
    true, error, df = _errors(components, seeds, instructions)
    if true == 0:
        return float(difference != 0)
    critical = special.stdtrit(df, 1 - alpha / comparisons / 2) * error
    above = special.ndtr((difference - critical) / true)
    below = special.ndtr((-difference - critical) / true)
    return float((above + below).mean())


def _errors(c: VarianceComponents, seeds: int, instructions: int) -> tuple[float, Floats, Floats]:
    """The mean's true standard error, and a grid of equally likely estimates with their df."""
    if seeds == 1:
        true, df = math.hypot(c.instruction, c.residual) / math.sqrt(instructions), instructions - 1
        return true, true * np.sqrt(_chi_squares(df, 256)), np.full(256, float(df))
    seed = c.residual**2 + instructions * c.seed**2
    instruction = c.residual**2 + seeds * c.instruction**2
    degrees = degrees_of_freedom(seeds, instructions)
    grid = np.ix_(*(_chi_squares(df, n) for df, n in zip(degrees, _NODES, strict=True)))
    likely = MeanSquares(
        seed=seed * grid[0],
        instruction=instruction * grid[1],
        residual=c.residual**2 * grid[2],
        seeds=seeds,
        instructions=instructions,
    )
    variance = (seed + instruction - c.residual**2) / (seeds * instructions)
    return math.sqrt(variance), *likely.error()


def _chi_squares(df: int, nodes: int) -> Floats:
    """Equally likely values of chi^2_df / df."""
    return 2 * special.gammaincinv(df / 2, (np.arange(nodes) + 0.5) / nodes) / df


def needed_seeds(
    difference: float,
    components: VarianceComponents,
    *,
    instructions: int,
    target: float = 0.8,
    alpha: float = 0.05,
    comparisons: int = 1,
) -> int | None:
    """Fewest seeds, two or more, that find the difference with probability `target`.

    None where no number up to `LARGEST` does: with endless seeds the instructions' own spread
    remains.

    Args:
        difference: true, not 0.
        components: of the difference.
        instructions: N.
        target: the power wanted.
        alpha: as for `power`.
        comparisons: as for `power`.
    """
    test = partial(power, difference, components, alpha=alpha, comparisons=comparisons)
    return _fewest(lambda n: test(seeds=n, instructions=instructions), target)


def needed_instructions(
    difference: float,
    components: VarianceComponents,
    *,
    seeds: int,
    target: float = 0.8,
    alpha: float = 0.05,
    comparisons: int = 1,
) -> int | None:
    """Fewest instructions that find the difference with probability `target` at S seeds.

    None where no number up to `LARGEST` does: with endless instructions the seeds' own spread
    remains. At 2 seeds more instructions may even lower the power, for they show how far the two
    runs differ and leave t one degree of freedom.

    Args:
        difference: true, not 0.
        components: of the difference.
        seeds: S.
        target: the power wanted.
        alpha: as for `power`.
        comparisons: as for `power`.
    """
    test = partial(power, difference, components, alpha=alpha, comparisons=comparisons)
    return _fewest(lambda n: test(seeds=seeds, instructions=n), target)


def _fewest(reached: Callable[[int], float], target: float) -> int | None:
    """Smallest number from 2 whose power is the target: doubling, then halving."""
    high = 2
    while reached(high) < target:
        high *= 2
        if high > LARGEST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if reached(middle) < target:
            low = middle
        else:
            high = middle
    return high
