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

`--again DIR`: do other seeds say the same? DIR has rows of the table once more, from other seeds. A
row is compared with itself (A/A): the two sets of seeds, which must tie, and 1000 ways to part its
seeds in halves, which the paired test of the table must tell apart in one of twenty, no more.
Rows are compared with each other by the new seeds alone, beside what the table says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import special, stats

from bench.errors import UserError
from bench.grid import DASH
from bench.stats import two_way
from bench.stats.crossed import mean_squares
from benchmarks.report import table
from leaderboard.analysis.rows import interval, number
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


def told_apart(verdicts: np.ndarray, alpha: float = 0.05, draws: int = 1000) -> float:
    """The share of ways to part a row's seeds in halves that the paired test tells apart.

    Seeds of the halves are paired at random, too: of one pairing alone a row of ten seeds may have
    twice the share by chance.

    Args:
        verdicts: (S, N) of one row, S at least 4; of an odd S one seed is left out each time.
        alpha: of the test.
        draws: ways that are looked at.
    """
    rng, half = np.random.default_rng(0), len(verdicts) // 2
    found = []
    for _ in range(draws):
        order = rng.permutation(len(verdicts))
        first, second = verdicts[order[:half]], verdicts[order[half : 2 * half]]
        found.append(two_way(first - second, bootstrap=False).p_value)
    return float(np.mean(np.array(found) <= alpha))


def again(table: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> list[list[str]]:
    """Lines about the rows of `new`, by other seeds, beside the same rows of `table`.

    Args:
        table: (S, N) verdicts by label.
        new: the same of other seeds, and of the same N instructions.

    Raises:
        UserError: a row of `new` is not in the table.
    """
    if unknown := sorted(new.keys() - table.keys()):
        raise UserError(f"not in the table: {', '.join(unknown)}")
    lines = []
    for label, verdicts in new.items():
        first, second = (of.mean(axis=1) for of in (table[label], verdicts))
        test = stats.ttest_ind(second, first, equal_var=False)
        low, high = test.confidence_interval()
        both = np.concatenate([table[label], verdicts])
        lines.append(
            [
                label,
                number(METRIC, first.mean()),
                number(METRIC, second.mean()),
                _points(second.mean() - first.mean(), (low, high)),
                f"{100 * told_apart(both):.0f} %",
            ]
        )
    for a, b in combinations(new, 2):
        then, now = (two_way(of[a] - of[b], bootstrap=False) for of in (table, new))
        shown = [_points(found.mean, found.ci95) for found in (then, now)]
        lines.append([f"{a} minus {b}", *shown, DASH, DASH])
    return lines


def _points(mean: float, ci95: tuple[float, float] | None) -> str:
    return f"{number(METRIC, mean)} {interval(METRIC, ci95)}"


def win_rates(results: Path) -> dict[str, np.ndarray]:
    """By label: (S, N), its seeds' verdicts on the instructions that all labels share.

    Raises:
        UserError: no run there was judged.
    """
    tables, _ = load(results, None)
    groups = next(iter(tables.values()), [])  # the largest table
    if not any(group.seeds_with(METRIC) for group in groups):
        raise UserError(f"{results}: no run with a {METRIC}")
    instructions = Instructions(groups)
    return {one.label: instructions.values(one, METRIC, one.seeds_with(METRIC)) for one in groups}


def main(
    results: Annotated[Path, typer.Option(help="Rows that all have the same seeds.")] = Path(
        "results/testbed"
    ),
    apart: Annotated[list[str] | None, typer.Option(metavar="NAME=DIR")] = None,
    again_in: Annotated[
        Path | None, typer.Option("--again", help="The same rows from other seeds.")
    ] = None,
) -> None:
    """Print the tables."""
    by_label = win_rates(results)
    verdicts = np.stack(list(by_label.values()))
    shared, own = components(verdicts.mean(axis=2))
    _, squares = mean_squares(verdicts)
    drawn = math.sqrt(float(squares.residual.mean()) / squares.instructions)
    lines = [("shared by the rows of a seed", shared), ("a row's own", own)]
    for one in apart or ():
        name, _, folder = one.partition("=")
        rates = np.concatenate([row.mean(axis=1) for row in win_rates(Path(folder)).values()])
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
    if again_in is not None:
        heads = ["win %", "table", "other seeds", "difference", "halves told apart"]
        typer.echo("\n" + table(heads, again(by_label, win_rates(again_in))))


if __name__ == "__main__":
    typer.run(main)
