"""The plots on the page: a light and a dark drawing, their data in words and as a table."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leaderboard.plots import Look, Plot, dark, save
from leaderboard.plots.data import DAGGER, STRETCHED, Point, bar_label
from leaderboard.plots.look import COLOURS
from leaderboard.site.sheets import EMPTY, Column, Field, Sheet

STEPS = 5  # so many of a curve's steps are in its table
KNOT = 4  # lines: with more, each gets a panel of its own at first
DIGITS = 6  # of the numbers in a curve: rounded once more, they are those of the tables


@dataclass(frozen=True)
class Chart:
    """A plot as the page shows it; the addresses are relative to the site.

    Attributes:
        data: the curves as JSON, which the page's script draws in the place of the image; "" for
            bars.
    """

    name: str
    title: str
    caption: str
    svg: str
    dark: str
    png: str
    width: int
    height: int
    alt: str
    numbers: Sheet
    data: str


def write_chart(plot: Plot, look: Look, out: Path, folder: str) -> tuple[Chart, list[Path]]:
    """Draw a plot below ``out/folder`` and describe it.

    Raises:
        UserError: if it cannot be written.
    """
    light, png = save(plot, look, out / folder / plot.name)
    text = light.read_text(encoding="utf-8")
    night = light.with_name(f"{plot.name}-dark.svg")
    night.write_text(dark(text), encoding="utf-8")
    width, height = _size(text)
    chart = Chart(
        name=plot.name,
        title=plot.title,
        caption=f"{plot.y_label}; {plot.note}",
        svg=f"{folder}/{light.name}",
        dark=f"{folder}/{night.name}",
        png=f"{folder}/{png.name}",
        width=width,
        height=height,
        alt=describe(plot),
        numbers=numbers(plot),
        data="" if plot.bars else curve_data(plot, look),
    )
    return chart, [light, night, png]


def _size(svg: str) -> tuple[int, int]:
    """Width and height in points, so that the page keeps the room before the image is there."""
    box = svg.split('viewBox="', 1)[1].split('"', 1)[0].split()
    return round(float(box[2])), round(float(box[3]))


def describe(plot: Plot) -> str:
    """The plot's data in a sentence: where each curve ends, or how far the bars reach."""
    text = _formatter(plot)
    if plot.bars:
        ranges = []
        for metric in _steps(plot):
            bars = sorted((p for p in plot.points if p.step == metric), key=lambda p: p.mean)
            low, high = (f"{text(p.mean)} ({p.label})" for p in (bars[0], bars[-1]))
            ranges.append(f"{_name(metric)} {low} to {high}")
        return f"{plot.title}, lowest to highest method: {'; '.join(ranges)}."
    last = [plot.of(label)[-1] for label in plot.labels]
    ends = [f"{p.label} {text(p.mean)} {_interval(p, text)}".rstrip() for p in last]
    if plot.by != "step":  # each line ends at its own
        ends = [f"{end} at {plot.by} {p.x:g}" for end, p in zip(ends, last, strict=True)]
        return f"{plot.title}; at the end of each line, {plot.note}: {'; '.join(ends)}."
    return f"{plot.title}; at the last step, {plot.note}: {'; '.join(ends)}."


def numbers(plot: Plot) -> Sheet:
    """A row a label, a column a metric or one of a few steps: mean, interval and place."""
    text, steps = _formatter(plot), _steps(plot)
    if len(steps) > STEPS:
        steps = [steps[round(i * (len(steps) - 1) / (STEPS - 1))] for i in range(STEPS)]
    rows = []
    for label in plot.labels:
        at = {point.step: point for point in plot.of(label)}
        cells = [_cell(at[step], text) if step in at else EMPTY for step in steps]
        rows.append([Field(label), *cells])
    columns = [Column("Method", numeric=False), *(Column(_name(step, plot.by)) for step in steps)]
    placed = any(p.x != p.step for p in plot.points) and not plot.bars
    notes = [f"@: {plot.x_label}, mean over seeds."] if placed else []
    notes += [f"{DAGGER}: {STRETCHED}."] if any(p.stretched for p in plot.points) else []
    return Sheet(f"Numbers: {plot.title}", columns, rows, notes)


def curve_data(plot: Plot, look: Look) -> str:
    """Each line's (step, x, mean, low, high), with the place of its colour among `COLOURS`.

    A sixth number where a point is marked: of how many seeds.
    """
    places = [light for light, _ in COLOURS]
    lines = [
        {
            "label": label,
            "colour": places.index(look.colours[label]),
            "points": [
                [
                    p.step,
                    *(float(f"{v:.{DIGITS}g}") for v in (p.x, p.mean, p.low, p.high)),
                    *([p.stretched] if p.stretched else []),
                ]
                for p in plot.of(label)
            ],
        }
        for label in plot.labels
    ]
    curves = {
        "x": plot.x_label, "y": plot.y_label, "path": plot.path, "by": plot.by,
        "read": plot.first_read, "panels": len(lines) > KNOT, "lines": lines,
    }  # fmt: skip
    return json.dumps(curves, separators=(",", ":"))


def _cell(point: Point, text: Callable[[float], str]) -> Field:
    is_place = isinstance(point.step, str) or point.x == point.step
    place = "" if is_place else f" @ {point.x:.2f}"
    note = f"{_interval(point, text)}{place}".strip()
    if not point.stretched:
        return Field(text(point.mean), note, key=point.mean)
    seeds = f"{DAGGER} {point.stretched} of {point.seeds} seeds"
    return Field(f"{text(point.mean)}{DAGGER}", f"{note} {seeds}".strip(), key=point.mean)


def _interval(point: Point, text: Callable[[float], str]) -> str:
    """In brackets; "" where one seed has none."""
    known = point.seeds > 1 or point.low < point.high
    return f"[{text(point.low)}, {text(point.high)}]" if known else ""


def _steps(plot: Plot) -> list[float | str]:
    """In the order of the axis; a metric's is its place."""
    order = {point.step: point.x if plot.bars else point.step for point in plot.points}
    return sorted(order, key=lambda step: float(order[step]))


def _name(step: float | str, by: str = "step") -> str:
    return bar_label(step).replace("\n", " ") if isinstance(step, str) else f"{by} {step:g}"


def _formatter(plot: Plot) -> Callable[[float], str]:
    """Two decimals, one where values reach 10."""
    digits = 1 if max(abs(point.mean) for point in plot.points) >= 10 else 2
    return lambda value: f"{value:z.{digits}f}"
