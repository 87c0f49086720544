"""The two-way table of seeds x instructions: its mean squares, and what they say of its mean."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bench.stats.intervals import Floats, to_floats

_SHOWS = 0.6  # quantile of F from which a mean square counts as having a spread of its own


def degrees_of_freedom(seeds: int, instructions: int) -> tuple[int, int, int]:
    """Of the mean squares of seed, instruction and residual."""
    return seeds - 1, instructions - 1, (seeds - 1) * (instructions - 1)


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of one table, or of many at once: then arrays of one shape.

    Attributes:
        seed: N times the variance of the rows' means.
        instruction: S times the variance of the columns' means.
        residual: what neither explains.
        seeds: S, at least 2.
        instructions: N, at least 2.
    """

    seed: Floats
    instruction: Floats
    residual: Floats
    seeds: int
    instructions: int

    def error(self) -> tuple[Floats, Floats]:
        """Standard error of the table's mean, and the degrees of freedom of its t.

        ``d_si = mu + seed_s + instruction_i + e_si``, a component estimated below 0 taken as 0:

            S N Var(mean) = V = MS_resid + max(0, MS_seed - MS_resid) + max(0, MS_inst - MS_resid)
            df = V^2 / sum_k MS_k^2 / df_k,   k: residual, and each of seed and instruction whose
                                              MS_k / MS_resid is above the 60 % quantile of its F

        A mean square below that quantile shows no spread of its own. To count it would cost almost
        all degrees of freedom where seeds do not differ: a 95 % interval then covers 98.2 % at 5
        seeds. To leave out every one below MS_resid would be bold where few seeds agree by chance:
        87 % at 2, against 89 % (normal effects, 805 instructions, no instruction spread).

        References:
            F. E. Satterthwaite (1946), Biometrics Bulletin 2(6), 110-114.
        """
        degrees = degrees_of_freedom(self.seeds, self.instructions)
        variance = residual = self.residual
        spread = residual**2 / degrees[2]
        for square, df in zip((self.seed, self.instruction), degrees[:2], strict=True):
            variance = variance + np.maximum(0.0, square - residual)
            shows = square > special.fdtri(df, degrees[2], _SHOWS) * residual
            spread = spread + shows * square**2 / df
        freedom = np.divide(variance**2, spread, out=np.zeros_like(spread), where=spread > 0)
        freedom = np.clip(freedom, min(degrees), max(degrees))
        return np.sqrt(variance / (self.seeds * self.instructions)), freedom


def mean_squares(tables: Floats) -> tuple[Floats, MeanSquares]:
    """Means (...,) and mean squares of complete tables (..., S, N), S and N at least 2."""
    seeds, n = tables.shape[-2:]
    mean = tables.mean(axis=(-2, -1))
    by_seed = tables.mean(axis=-1) - mean[..., None]
    by_instruction = tables.mean(axis=-2) - mean[..., None]
    residual = tables - mean[..., None, None] - by_seed[..., :, None] - by_instruction[..., None, :]
    degrees = degrees_of_freedom(seeds, n)
    return mean, MeanSquares(
        seed=n * (by_seed**2).sum(axis=-1) / degrees[0],
        instruction=seeds * (by_instruction**2).sum(axis=-1) / degrees[1],
        residual=(residual**2).sum(axis=(-2, -1)) / degrees[2],
        seeds=seeds,
        instructions=n,
    )


def to_table(values: ArrayLike) -> Floats:
    """(S, N) as float64, None as NaN.

    Raises:
        ValueError: if the shape is another, or nothing is in it.
    """
    table = to_floats(values)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"differences must be (seeds, instructions), have shape {table.shape}")
    return table


def complete_instructions(table: Floats) -> Floats:
    """The instructions that are there in every seed.

    Raises:
        ValueError: if they are fewer than two.
    """
    complete = table[:, ~np.isnan(table).any(axis=0)]
    if complete.shape[1] < 2:
        raise ValueError(f"only {complete.shape[1]} instructions are there in every seed")
    return complete
