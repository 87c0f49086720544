"""`python -m benchmarks.variance`: where do the seeds of the published table differ?

All rows of a seed share its SFT model, sampled pairs, labels and edits; reward model, PPO and the
outputs are a row's own. So in the table of M rows x S seeds

    win_ms = mu + row_m + shared_s + own_ms

the mean squares of seed and residual give both variances:

    own^2 = MS_own                        shared^2 = (MS_seed - MS_own) / M

Rows that share a reward model are taken as if they did not, so that `own` is a little too small. A
part of it is no training at all: other draws of the same policy win on other instructions. The
residual mean square of a row's table of seeds x N instructions, over N, is that part.
`--apart NAME=DIR` adds the spread of runs that differ in less: those in DIR, all of one method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import special

from bench.errors import UserError
from bench.grid import DASH
from bench.stats.crossed import mean_squares
from benchmarks.report import table
from leaderboard.analysis.runs import Instructions, load

METRIC = "win_rate"


@dataclass(frozen=True)
class Spread:
    """A standard deviation between runs.

    Attributes:
        sd: of win rates, as a fraction.
        ci95: its 95 % interval, for normal effects.
        runs: that it was measured on.
    """

    sd: float
    ci95: tuple[float, float]
    runs: int


def spread(rates: Sequence[float]) -> Spread:
    """Standard deviation of some runs, with chi-squared bounds.

    Raises:
        UserError: fewer than two runs.
    """
    if len(rates) < 2:
        raise UserError(f"a spread takes two runs or more, got {len(rates)}")
    variance, df = float(np.var(rates, ddof=1)), len(rates) - 1
    return Spread(math.sqrt(variance), _chi_bounds(variance, df), len(rates))


def components(rates: np.ndarray) -> tuple[Spread, Spread]:
    """What the rows of a seed share, and what is a row's own, from a table (M rows, S seeds).

    The interval of the shared part is exact for normal effects but for the other mean square, which
    is taken as known: it has M - 1 times as many degrees of freedom.
    """
    rows, seeds = rates.shape
    _, squares = mean_squares(rates.T)  # rows are to seeds what instructions are elsewhere
    own, own_df = float(squares.residual), (rows - 1) * (seeds - 1)
    square = float(squares.seed)
    low, high = (bound**2 for bound in _chi_bounds(square, seeds - 1))

    def shared(mean_square: float) -> float:
        return math.sqrt(max(0.0, mean_square - own) / rows)

    return (
        Spread(shared(square), (shared(low), shared(high)), rates.size),
        Spread(math.sqrt(own), _chi_bounds(own, own_df), rates.size),
    )


def _chi_bounds(variance: float, df: int) -> tuple[float, float]:
    """Of a standard deviation."""
    low, high = (special.chdtri(df, tail) for tail in (0.025, 0.975))
    return math.sqrt(variance * df / low), math.sqrt(variance * df / high)


def win_rates(results: Path) -> list[np.ndarray]:
    """Of each label: (S, N), its seeds' verdicts on the instructions that all labels share.

    Raises:
        UserError: no run there was judged.
    """
    tables, _ = load(results, None)
    groups = next(iter(tables.values()), [])  # the largest table
    if not any(group.seeds_with(METRIC) for group in groups):
        raise UserError(f"{results}: no run with a {METRIC}")
    instructions = Instructions(groups)
    return [instructions.values(one, METRIC, one.seeds_with(METRIC)) for one in groups]


def main(
    results: Annotated[Path, typer.Option(help="Rows that all have the same seeds.")] = Path(
        "results/testbed"
    ),
    apart: Annotated[list[str] | None, typer.Option(metavar="NAME=DIR")] = None,
) -> None:
    """Print the table."""
    verdicts = np.stack(win_rates(results))
    shared, own = components(verdicts.mean(axis=2))
    _, squares = mean_squares(verdicts)
    drawn = math.sqrt(float(squares.residual.mean()) / squares.instructions)
    lines = [("shared by the rows of a seed", shared), ("a row's own", own)]
    for one in apart or ():
        name, _, folder = one.partition("=")
        rates = np.concatenate([row.mean(axis=1) for row in win_rates(Path(folder))])
        lines.append((name, spread(rates.tolist())))
    cells = [
        [
            what,
            f"{100 * s.sd:.1f}",
            "{:.1f} to {:.1f}".format(*(100 * x for x in s.ci95)),
            f"{s.runs}",
        ]
        for what, s in lines
    ]
    cells.insert(
        2, ["of it, draws and instructions", f"{100 * drawn:.1f}", DASH, f"{verdicts[..., 0].size}"]
    )
    typer.echo(table(["what differs", "SD, points", "95 % interval", "runs"], cells))


if __name__ == "__main__":
    typer.run(main)
