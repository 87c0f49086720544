"""`python -m benchmarks.edits DIR...`: what does an edit buy, by pairs and by dollars?

The same methods with other numbers of pairs (`preferences.pairs=N`), over the seeds that all of
them have. Equal pairs are not equal cost: who learns from original pairs pays one comparison each,
who learns from edits that comparison and the edit of the response that lost it.

    python -m benchmarks.edits results/testbed DIR --figure docs/figures/edits.png

The prices are those of `bench judge` (one of its two orders) and `bench edit`, asked with
`--dry-run` for the testbed's pairs; people's go in by `--comparison` and `--edit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError
from bench.stats import two_way
from benchmarks.report import table
from leaderboard.analysis.aggregate import by_seed
from leaderboard.analysis.rows import Cell, with_error
from leaderboard.analysis.runs import Group, Instructions, load

METHODS = {"ppo_rlhf": False, "fine_grained_ppo": True, "token_ppo": True}  # do they need edits?
ACCURACY = "rm_accuracy.original_clean"
_TICKS = (1, 2, 5, 10, 20, 50, 100)  # dollars


@dataclass(frozen=True)
class Point:
    """A method with so many pairs.

    Attributes:
        dollars: of all comparisons and edits.
        win_rate: over seeds and instructions.
        accuracy: of the reward model on held-out pairs with clean labels; over seeds.
    """

    method: str
    pairs: int
    dollars: float
    win_rate: Cell
    accuracy: Cell


def points(folders: Sequence[Path], comparison: float, edit: float) -> list[Point]:
    """Of each method and number of pairs, in this order; over the seeds that all have.

    Args:
        folders: of records; the rows of all must be comparable.
        comparison: dollars for 1000.
        edit: dollars for 1000.

    Raises:
        UserError: there are no such rows, they are not comparable, or they have no seed in common.
    """
    sized = [(g, n) for g in _largest_tables(folders) if (n := _pairs(g)) is not None]
    groups = [group for group, _ in sized]
    if not groups:
        raise UserError(f"{', '.join(map(str, folders))}: no row of {', '.join(METHODS)}")
    seeds = sorted(set.intersection(*(set(group.seeds_with("win_rate")) for group in groups)))
    if not seeds:
        raise UserError("the rows have no seed in common")
    instructions = Instructions(groups)
    found = []
    for group, n in sized:
        method = group.runs[0].record.method
        wins = two_way(instructions.values(group, "win_rate", seeds), rate=True)
        accuracies = [group.ok[seed].record.metrics[ACCURACY] for seed in seeds]
        found.append(
            Point(
                method=method,
                pairs=n,
                dollars=n / 1000 * (comparison + METHODS[method] * edit),
                win_rate=Cell(wins.mean, wins.standard_error),
                accuracy=by_seed(ACCURACY, accuracies),
            )
        )
    return sorted(found, key=lambda one: (list(METHODS).index(one.method), one.pairs))


def _largest_tables(folders: Sequence[Path]) -> list[Group]:
    groups: list[Group] = []
    keys = set()
    for folder in folders:
        tables, _ = load(folder, None)
        for key, own in list(tables.items())[:1]:
            keys.add(key)
            groups += own
    if len(keys) > 1:
        raise UserError(f"{', '.join(map(str, folders))}: judged differently, not comparable")
    return groups


def _pairs(group: Group) -> int | None:
    """How many pairs a row learned from; None: it is another method, or differs in more."""
    record = group.runs[0].record
    n: int = record.config["preferences"]["pairs"]
    alike = group.label in (record.method, f"{record.method} preferences.pairs={n}")
    return n if record.method in METHODS and alike else None


def draw(found: Sequence[Point], path: Path) -> None:
    """Win rate and accuracy, ± one standard error, against dollars; at each point its pairs."""
    from matplotlib.figure import Figure

    from leaderboard.plots.look import HEIGHT, WIDTH, Look

    look = Look.of(list(METHODS))
    figure = Figure(figsize=(2 * WIDTH, HEIGHT), layout="constrained")
    for axes, what, name in zip(
        figure.subplots(1, 2),
        ("win %", "reward model: % of clean pairs"),
        ("win_rate", "accuracy"),
        strict=True,
    ):
        for method in METHODS:
            own = [one for one in found if one.method == method]
            cells: list[Cell] = [getattr(one, name) for one in own]
            axes.errorbar(
                [one.dollars for one in own],
                [100 * cell.mean for cell in cells],
                yerr=[100 * (cell.standard_error or 0) for cell in cells],
                color=look.colours[method],
                marker=look.markers[method],
                label=method,
                capsize=3,
            )
            for one, cell in zip(own, cells, strict=True):
                axes.annotate(
                    f"{one.pairs:,}",
                    (one.dollars, 100 * cell.mean),
                    xytext=(-5, 5) if method == "token_ppo" else (5, -10),
                    textcoords="offset points",
                    ha="right" if method == "token_ppo" else "left",
                    fontsize=7,
                    color=look.colours[method],
                )
        axes.set_xscale("log")
        axes.set_xticks(_TICKS, [rf"\${tick}" for tick in _TICKS])
        axes.minorticks_off()
        axes.margins(x=0.1)
        axes.set(xlabel="cost of the comparisons and edits", ylabel=what)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(
    folders: list[Path],
    comparison: Annotated[float, typer.Option(help="Dollars for 1000 comparisons.")] = 5.12,
    edit: Annotated[float, typer.Option(help="Dollars for 1000 edits.")] = 5.70,
    figure: Annotated[Path | None, typer.Option(help="Draw it here.")] = None,
) -> None:
    """Print the table."""
    found = points(folders, comparison, edit)
    rows = [
        [
            one.method,
            f"{one.pairs:,}",
            f"{one.dollars:.1f}",
            with_error("win_rate", one.win_rate),
            with_error(ACCURACY, one.accuracy),
        ]
        for one in found
    ]
    typer.echo(table(["method", "pairs", "$", "win %", "accuracy %"], rows))
    if figure is not None:
        draw(found, figure)


if __name__ == "__main__":
    typer.run(main)
