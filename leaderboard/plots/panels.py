"""Plots of many labels: a panel for each curve, the others grey behind it; a line for each bar."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from leaderboard.plots.data import DAGGER, Plot, Point, bar_label
from leaderboard.plots.look import COLOURS, INK, WIDTH, Look, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 10  # labels that one frame can hold
COLUMNS = 4
ROW = 0.95  # inches of a row of panels
LINE = 0.17  # inches of a label in a list of dots
_WIDER = 1.4  # than a plot of few labels
_TITLE = 21  # letters of a label in a line above its panel
_BEHIND: dict[str, Any] = {"color": COLOURS[5][0], "alpha": 0.22, "linewidth": 0.6}


def size(plot: Plot) -> tuple[float, float]:
    """Width and height in inches."""
    count = len(plot.labels)
    if not plot.bars:
        return _WIDER * WIDTH, 0.8 + ROW * -(-count // COLUMNS)
    return _WIDER * WIDTH, len(plot.metrics) * (0.7 + LINE * count)


def curves(figure: Figure, plot: Plot, look: Look) -> None:
    """A panel for each label, all of one scale."""
    rows = -(-len(plot.labels) // COLUMNS)
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[len(plot.labels) :]:
        axes.set_axis_off()
    lines = {label: plot.of(label) for label in plot.labels}
    for axes, (label, own) in zip(panels, lines.items(), strict=False):
        for points in lines.values():
            if points is not own:
                axes.plot([p.x for p in points], [p.mean for p in points], **_BEHIND)
        _curve(axes, own, look.colours[label], path=plot.path)
        axes.set_title(textwrap.fill(plain(label), _TITLE), fontsize="x-small", loc="left")
        axes.tick_params(labelsize="x-small")
    for axes in panels[: len(plot.labels)][-COLUMNS:]:  # the lowest of their columns
        axes.tick_params(labelbottom=True)
    figure.supxlabel(plot.x_label, fontsize="small", color=INK[0])
    figure.supylabel(plot.y_label, fontsize="small", color=INK[0])


def _curve(axes: Axes, points: list[Point], colour: str, *, path: bool) -> None:
    x, means, low, high = zip(*((p.x, p.mean, p.low, p.high) for p in points), strict=True)
    axes.plot(x, means, color=colour, linewidth=1.4)
    interval(axes, x, low, high, colour, path=path)
    daggers(axes, points, colour)


def interval(axes: Axes, x: Any, low: Any, high: Any, colour: str, *, path: bool) -> None:
    """A band; of a path, whose x need not advance, upright lines."""
    if path:
        axes.vlines(x, low, high, color=colour, alpha=0.35)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def daggers(axes: Axes, points: list[Point], colour: str) -> None:
    """Mark the points that were not measured where they stand."""
    for point in points:
        if point.stretched:
            axes.annotate(
                DAGGER, (point.x, point.mean), (0, 4), textcoords="offset points",
                ha="center", fontsize="small", color=colour,
            )  # fmt: skip


def dots(figure: Figure, plot: Plot, look: Look) -> None:
    """A row of panels for each kind of metric, a panel a metric, in it a line for each label."""
    parts = plot.metrics
    for part, metrics in zip(
        figure.subfigures(len(parts), squeeze=False)[:, 0], parts, strict=True
    ):
        panels = part.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            _dots(axes, plot, metric, look)
        part.supxlabel(plot.y_label, fontsize="small", color=INK[0])


def _dots(axes: Axes, plot: Plot, metric: str, look: Look) -> None:
    labels = plot.labels
    for point in plot.points:
        if point.step == metric:
            axes.errorbar(
                [point.mean], [labels.index(point.label)],
                xerr=[[point.mean - point.low], [point.high - point.mean]],
                fmt=look.markers[point.label], color=look.colours[point.label],
                markersize=3.5, elinewidth=1,
            )  # fmt: skip
    axes.axvline(0.5, color=INK[0], linestyle="--", linewidth=0.8)
    axes.set_yticks(range(len(labels)), [plain(label) for label in labels], fontsize="x-small")
    axes.set(xlim=(0, 1.06), ylim=(len(labels) - 0.5, -0.5), xticks=(0, 0.5, 1))
    axes.set_title(bar_label(metric), fontsize="x-small")
    axes.tick_params(axis="x", labelsize="x-small")
