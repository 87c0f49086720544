"""A plot as files: a frame for few labels, a panel each for many."""

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from leaderboard.plots import panels
from leaderboard.plots.data import Plot, bar_label
from leaderboard.plots.look import GRID, HEIGHT, INK, PAPER, WIDTH, Look, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONG_LABEL = 24  # letters; two longer ones do not fit beside each other
MARKED = 12  # a curve has about so many markers


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


def draw(plot: Plot, look: Look) -> "Figure":
    """The plot: of few labels with a legend below it, of many in panels that name them."""
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    many = len(plot.labels) > panels.MANY
    rc = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK[0])
    rc |= {"axes.edgecolor": GRID[0], "grid.color": GRID[0], "axes.facecolor": "none"}
    thin = {"grid.linewidth": 0.6, "axes.linewidth": 0.8}
    with sns.axes_style("whitegrid", rc), sns.plotting_context("paper", 1.1, rc=thin):
        size = panels.size(plot) if many else _size(plot)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        if many:
            figure.suptitle(plot.note, fontsize="small", x=0.01, ha="left")
            (panels.dots if plot.bars else panels.curves)(figure, plot, look)
            return figure
        axes = (_bars if plot.bars else _curves)(figure, plot, look)
        axes.set_title(plot.note, fontsize="small", loc="left")
        handles, names = axes.get_legend_handles_labels()
        figure.legend(
            handles, list(map(plain, names)),
            fontsize="small", loc="outside lower left", ncols=_columns(plot), frameon=False,
        )  # fmt: skip
    return figure


def _columns(plot: Plot) -> int:
    """Of the legend."""
    return 1 if max(map(len, plot.labels)) > LONG_LABEL else 2


def _size(plot: Plot) -> tuple[float, float]:
    legend = 0.22 * -(-len(plot.labels) // _columns(plot))
    return WIDTH, HEIGHT + legend + (HEIGHT * 0.7 if plot.bars else 0)


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
        panels.daggers(axes, plot.of(label), look.colours[label])
        panels.interval(axes, x, low, high, look.colours[label], path=plot.path)
    if plot.x_label == "training step":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if (inside := axes.get_legend()) is not None:
        inside.remove()
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    return axes


def _bars(figure: "Figure", plot: Plot, look: Look) -> "Axes":
    """Held-out pairs above, planted errors below; a label's marker stands at the end of its bar."""
    parts = plot.metrics
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
