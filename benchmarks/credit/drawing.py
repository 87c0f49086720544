"""The figure: on the left by how often is paid, on the right by method."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

from leaderboard.plots.look import COLOURS, GRID, INK, MARKERS, PAPER


def draw(result: dict[str, Any], path: Path) -> None:
    """Write the figure as a PNG; `result` as `benchmarks.credit` writes it."""
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rc = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK[0])
    rc |= {"axes.edgecolor": GRID[0], "grid.color": GRID[0]}
    with sns.axes_style("whitegrid", rc), sns.plotting_context("paper", 1.1):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained", facecolor=PAPER[0])
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _by_density(left, result)
        _by_method(right, result)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=140, metadata={"Software": None})


def _by_density(axes: Any, result: dict[str, Any]) -> None:
    tokens = result["settings"]["tokens"]
    for i, (name, rows) in enumerate(result["density"].items()):
        x = [1 / row["every"] for row in rows]
        # Apart on the axis, lest one interval hides the other.
        x = [place * (1.03 if i else 0.97) for place in x]
        _intervals(axes, x, rows, i, name)
    ticks = [1 / row["every"] for row in next(iter(result["density"].values()))]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"1/{round(1 / x)}" if x < 1 else "1" for x in ticks])
    axes.set_xlabel(f"density: share of {tokens} tokens at which is paid")
    axes.set_ylabel("steps to solve")
    axes.set_ylim(0, result["settings"]["steps"] + 2)
    axes.set_title("The same reward, paid every n tokens", loc="left", fontsize="small")
    axes.legend(frameon=False, fontsize="small")


def _by_method(axes: Any, result: dict[str, Any]) -> None:
    rows = sorted(result["methods"], key=lambda row: -row["mean"])
    for y, row in enumerate(rows):
        colour = COLOURS[0][0]
        axes.hlines(y, row["low"], row["high"], color=colour, linewidth=1.5)
        axes.plot(row["mean"], y, MARKERS[0], color=colour)
        if row["unsolved"]:
            axes.annotate(
                f"{row['unsolved']} unsolved", (row["high"], y), (4, -3),
                textcoords="offset points", fontsize="x-small",
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), [fill(row["label"], 28) for row in rows])
    axes.tick_params(axis="y", labelsize="small")
    axes.set_xlim(0, max(result["settings"]["steps"], *(row["high"] for row in rows)) + 2)
    axes.set_xlabel("steps to solve")
    axes.set_title("The first token decides: by method", loc="left", fontsize="small")


def _intervals(axes: Any, x: list[float], rows: list[dict[str, Any]], i: int, name: str) -> None:
    means = [row["mean"] for row in rows]
    below = [row["mean"] - row["low"] for row in rows]
    above = [row["high"] - row["mean"] for row in rows]
    axes.errorbar(
        x, means, yerr=(below, above), color=COLOURS[i][0], marker=MARKERS[i], capsize=3, label=name
    )
