"""How plots look: one colour and one marker a label, readable on a light page and on a dark one."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from leaderboard.plots.data import DAGGER, Plot, bar_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# (light, dark) pairs: contrast with their page of at least 3:1, apart for colour-blind readers.
COLOURS = (
    ("#0072b2", "#56b4e9"), ("#d55e00", "#f4935a"), ("#00865f", "#3fcf9f"),
    ("#a3447f", "#e6a1cb"), ("#8a6d00", "#e3c341"), ("#4d4d4d", "#c9c9c9"),
    ("#3b2f9e", "#a79bf0"), ("#8c1c3c", "#f28aa3"), ("#3f7d20", "#9bd770"),
    ("#00707a", "#6cd3dc"),
)  # fmt: skip
MARKERS = "osD^vPX<>"
INK, GRID, PAPER = ("#262626", "#dfe3e6"), ("#d5d8db", "#3a4047"), ("#ffffff", "#14171a")
WIDTH, HEIGHT = 4.8, 3.3  # inches, without the legend: text stays readable on a phone
LONG_LABEL = 32
MARKED = 12  # a curve has about so many markers


@dataclass(frozen=True)
class Look:
    """The colour and the marker that a label has in every plot."""

    colours: dict[str, str]
    markers: dict[str, str]

    @classmethod
    def of(cls, labels: list[str]) -> "Look":
        """One for each label, in their order; ninety labels look different."""
        return cls(
            {label: COLOURS[i % len(COLOURS)][0] for i, label in enumerate(labels)},
            {label: MARKERS[i % len(MARKERS)] for i, label in enumerate(labels)},
        )


def save(plot: Plot, look: Look, stem: Path) -> list[Path]:
    """Write ``stem.svg`` (transparent) and ``stem.png``.

    Raises:
        UserError: if they cannot be written.
    """
    import matplotlib as mpl

    paths = [stem.with_name(stem.name + ".svg"), stem.with_name(stem.name + ".png")]
    with mpl.rc_context({"svg.hashsalt": "grainbench", "svg.fonttype": "none"}):
        figure = draw(plot, look)
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(paths[0], metadata={"Date": None}, transparent=True)
            figure.savefig(paths[1], dpi=160, metadata={"Software": None}, facecolor=PAPER[0])
        except OSError as error:
            raise UserError(
                f"{stem.parent}: cannot be written: {error.strerror or error}"
            ) from error
    return paths


def dark(svg: str) -> str:
    """The same drawing for a dark page: each colour of ours by its counterpart."""
    swaps = dict((*COLOURS, INK, GRID, PAPER))
    return re.sub("|".join(swaps), lambda found: swaps[found[0]], svg)


def draw(plot: Plot, look: Look) -> "Figure":
    """The plot, its legend below it."""
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = plot.labels
    columns = 1 if max(map(len, labels)) > LONG_LABEL else 2
    legend = 0.22 * -(-len(labels) // columns)
    height = HEIGHT + legend + (HEIGHT * 0.7 if plot.bars else 0)
    rc = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK[0])
    rc |= {"axes.edgecolor": GRID[0], "grid.color": GRID[0], "axes.facecolor": "none"}
    thin = {"grid.linewidth": 0.6, "axes.linewidth": 0.8}
    with sns.axes_style("whitegrid", rc), sns.plotting_context("paper", 1.1, rc=thin):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = _bars(figure, plot, look) if plot.bars else _curves(figure, plot, look)
        axes.set_title(plot.note, fontsize="small", loc="left")
        handles, names = axes.get_legend_handles_labels()
        plain = [name.replace("$", r"\$") for name in names]  # else matplotlib reads it as TeX
        figure.legend(
            handles, plain,
            fontsize="small", loc="outside lower left", ncols=columns, frameon=False,
        )  # fmt: skip
    return figure


def _curves(figure: "Figure", plot: Plot, look: Look) -> "Axes":
    import pandas as pd
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator

    axes: Axes = figure.subplots()
    every = max(1, round(len({point.step for point in plot.points}) / MARKED))
    sns.lineplot(
        pd.DataFrame(plot.points), x="x", y="mean", hue="label", style="label", ax=axes,
        palette=look.colours, markers=look.markers, dashes=False, markevery=every,
        errorbar=None, estimator=None, sort=False,
    )  # fmt: skip
    for label in plot.labels:
        x, low, high = zip(*((p.x, p.low, p.high) for p in plot.of(label)), strict=True)
        for point in plot.of(label):
            if point.stretched:
                axes.annotate(
                    DAGGER, (point.x, point.mean), (0, 4), textcoords="offset points",
                    ha="center", fontsize="small", color=look.colours[label],
                )  # fmt: skip
        if plot.path:
            axes.vlines(x, low, high, color=look.colours[label], alpha=0.35)
        else:
            axes.fill_between(x, low, high, color=look.colours[label], alpha=0.12, linewidth=0)
    if plot.x_label == "training step":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if (inside := axes.get_legend()) is not None:
        inside.remove()
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    return axes


def _bars(figure: "Figure", plot: Plot, look: Look) -> "Axes":
    """Held-out pairs above, planted errors below; a label's marker stands at the end of its bar."""
    places = {str(point.step): point.x for point in plot.points}
    metrics = sorted(places, key=lambda metric: places[metric])
    parts = [[m for m in metrics if m.startswith("probe.") is probe] for probe in (False, True)]
    parts = [part for part in parts if part]
    rows = figure.subplots(len(parts), squeeze=False)[:, 0]
    for axes, part in zip(rows, parts, strict=True):
        _bar_row(axes, plot, part, look)
    first: Axes = rows[0]
    return first


def _bar_row(axes: "Axes", plot: Plot, metrics: list[str], look: Look) -> None:
    labels = plot.labels
    width = 0.8 / len(labels)
    for i, label in enumerate(labels):
        own = [point for point in plot.of(label) if point.step in metrics]
        shift = (i - (len(labels) - 1) / 2) * width
        x = [metrics.index(str(point.step)) + shift for point in own]
        means = [point.mean for point in own]
        errors = [[p.mean - p.low for p in own], [p.high - p.mean for p in own]]
        axes.bar(x, means, 0.9 * width, color=look.colours[label], alpha=0.35, linewidth=0)
        axes.errorbar(
            x, means, yerr=errors, fmt=look.markers[label], color=look.colours[label],
            markersize=4, elinewidth=1, label=label,
        )  # fmt: skip
    axes.axhline(0.5, color=INK[0], linestyle="--", linewidth=0.8)
    axes.set_xticks(range(len(metrics)), [bar_label(m) for m in metrics], fontsize="small")
    axes.set(ylim=(0, 1.02), ylabel=plot.y_label)
    axes.grid(visible=False, axis="x")
