"""The page of stability: a table's rows at equal KL, in a sentence, in charts and in tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from bench.stats import Estimate
from leaderboard.analysis.lines import LENGTH, MASS, NOT_RECORDED, QUANTITIES, REPEATS, SCORE, Line
from leaderboard.analysis.rows import Row, interval, is_percent, number
from leaderboard.analysis.stability import Stability
from leaderboard.plots import Look
from leaderboard.plots.data import DAGGER, STRETCHED
from leaderboard.plots.matched import matched_plots, named
from leaderboard.site.charts import Chart, write_chart
from leaderboard.site.sheets import EMPTY, Column, Field, Sheet
from leaderboard.site.steady import steady_finding
from leaderboard.views.glossary import COLUMNS, METRICS, method_term

NOTHING_PAID = "nothing is paid"
HEADERS = {LENGTH: "Length", REPEATS: "Repeats %", MASS: "Reward mass"}


@dataclass(frozen=True)
class StabilityPage:
    """What the page shows.

    Attributes:
        missing: (title, why) of each chart that cannot be drawn, or lacks rows.
        sheets: at the KL that all rows reach, by row and by granularity; then each row's training.
    """

    finding: list[Markup]
    charts: list[Chart]
    missing: list[tuple[str, str]]
    sheets: list[Sheet]

    @property
    def terms(self) -> dict[str, str]:
        """What the columns mean, each once."""
        columns = [column for sheet in self.sheets for column in sheet.columns]
        return {column.header: column.meaning for column in columns if column.meaning}


def stability_page(
    found: Stability, rows: Sequence[Row], look: Look, out: Path, folder: str
) -> tuple[StabilityPage, list[Path]]:
    """The page, and the files of its charts, which are written below ``out/folder``.

    Args:
        found: of the table.
        rows: of the same table.
        look: of its labels.
        out: the site.
        folder: of its figures, from there.

    Raises:
        UserError: if a chart cannot be written.
    """
    written = [write_chart(plot, look, out, folder) for plot in matched_plots(found)]
    by_label = {row.label: row for row in rows}
    sheets = [_training(found, by_label)]
    if found.matched > 0:
        sheets = [_at_matched(found, by_label), *_by_granularity(found), *sheets]
    page = StabilityPage(
        finding=steady_finding(found),
        charts=[chart for chart, _ in written],
        missing=[(named(found, q)[1], why) for q in QUANTITIES if (why := _missing(found, q))],
        sheets=sheets,
    )
    return page, [path for _, paths in written for path in paths]


def _missing(found: Stability, quantity: str) -> str:
    """Which rows have no number of a quantity, and why; "" where all have."""
    reasons = {"Not recorded": found.lacking(quantity), "Nothing is paid": found.unpaid(quantity)}
    for reason, labels in reasons.items():
        if len(labels) == len(found.lines):
            return f"{reason} in any of these runs."
    return " ".join(f"{why}: {', '.join(labels)}." for why, labels in reasons.items() if labels)


def _at_matched(found: Stability, rows: dict[str, Row]) -> Sheet:
    lines = [
        [
            _head(line, rows),
            _paid_by(line),
            *(_at(found, line, quantity) for quantity in QUANTITIES),
        ]
        for line in found.lines
    ]
    columns = [_column("Method", numeric=False), _column("Paid by", numeric=False)]
    note = f"The largest KL that all compared rows reach; {found.limited_by} reaches no further."
    notes = [note, *_stretched(found.lines, found)]
    title = f"At a KL of {found.matched:g} nats a response"
    return Sheet(title, [*columns, *_quantities(found)], lines, notes)


def _by_granularity(found: Stability) -> list[Sheet]:
    """The mean of the rows of each granularity; none where there are not two to compare."""
    groups = found.groups
    if len(groups) < 2:
        return []
    lines = [
        [
            Field(f"by the {name}", ", ".join(line.label for line in own)),
            *(_mean(found, own, quantity) for quantity in QUANTITIES),
        ]
        for name, own in groups.items()
    ]
    columns = [replace(_column("Paid by"), numeric=False), *_quantities(found)]
    note = (
        "Means over the methods that are named, which differ in their reward models, too; a "
        "method's variants are averaged first."
    )
    notes = [note]
    if out := dict.fromkeys(label for own in groups.values() for label in found.left_out(own)):
        notes.append(f"Left out of a mean, for want of the others' seeds: {', '.join(out)}.")
    notes += _stretched([line for own in groups.values() for line in own], found)
    title = f"By how finely the reward is paid, at {found.matched:g} nats"
    return [Sheet(title, columns, lines, notes)]


def _mean(found: Stability, lines: Sequence[Line], quantity: str) -> Field:
    field = _estimated(found.metric(quantity), found.group_at(lines, quantity))
    straight = any(line.stretched(quantity, found.matched) for line in lines)
    return replace(field, text=f"{field.text}{DAGGER}") if straight else field


def _stretched(lines: Sequence[Line], found: Stability) -> list[str]:
    """What the dagger means, where one stands."""
    some = any(line.stretched(quantity, found.matched) for line in lines for quantity in QUANTITIES)
    return [f"{DAGGER}: {STRETCHED}."] if some else []


def _training(found: Stability, rows: dict[str, Row]) -> Sheet:
    lines = []
    for line in found.lines:
        chosen = rows[line.label].metrics.get("kl")
        ends = chosen.ci95 if chosen else None
        lines.append(
            [
                _head(line, rows),
                _paid_by(line),
                EMPTY if chosen is None
                else Field(number("kl", chosen.mean), interval("kl", ends) if ends else "",
                           key=chosen.mean),
                Field(f"{line.reach:.2f}", key=line.reach),
                EMPTY if line.spike is None else Field(f"{line.spike:.2f}", key=line.spike),
                _estimated(LENGTH, found.slope(line)),
                Field(f"{line.diverged} of {line.runs}", key=line.diverged / max(line.runs, 1)),
                _collapsed(line),
            ]
        )  # fmt: skip
    headers = (
        "Chosen KL", "Reaches KL", "Worst spike", "Length a nat", "Diverged", "Collapsed",
    )  # fmt: skip
    columns = [_column("Method", numeric=False), _column("Paid by", numeric=False)]
    notes = [f"Without a curve: {', '.join(found.without)}."] if found.without else []
    return Sheet("In training", [*columns, *map(_column, headers)], lines, notes)


def _collapsed(line: Line) -> Field:
    if line.collapsed is None:
        return Field(NOT_RECORDED)
    ended = line.runs - line.diverged
    return Field(f"{line.collapsed} of {ended}", key=line.collapsed / max(ended, 1))


def _quantities(found: Stability) -> list[Column]:
    score = (found.score or "validation score").capitalize()
    score += " %" if is_percent(found.metric(SCORE)) else ""
    meanings = {quantity: METRICS[quantity].meaning for quantity in HEADERS}
    names = {quantity: HEADERS.get(quantity, score) for quantity in QUANTITIES}
    return [Column(name, meaning=meanings.get(q, "")) for q, name in names.items()]


def _column(header: str, *, numeric: bool = True) -> Column:
    return Column(header, numeric=numeric, meaning=COLUMNS.get(header, ""))


def _head(line: Line, rows: dict[str, Row]) -> Field:
    return Field(line.label, meaning=method_term(rows[line.label]).meaning)


def _paid_by(line: Line) -> Field:
    return Field(line.granularity)


def _at(found: Stability, line: Line, quantity: str) -> Field:
    if quantity not in line.paths:
        is_unpaid = line.label in found.unpaid(quantity)
        return Field(NOTHING_PAID if is_unpaid else NOT_RECORDED)
    field = _estimated(found.metric(quantity), line.at(quantity, found.matched))
    straight, seeds = line.stretched(quantity, found.matched), len(line.paths[quantity])
    if not straight or field.key is None:
        return field
    note = f"{field.note}; {DAGGER} {straight} of {seeds} seeds"
    return replace(field, text=f"{field.text}{DAGGER}", note=note)


def _estimated(metric: str, estimate: Estimate | None) -> Field:
    """Mean and interval, which one seed has not."""
    if estimate is None:
        return EMPTY
    ends = interval(metric, estimate.ci95) if estimate.ci95 else "one seed"
    return Field(number(metric, estimate.mean), ends, key=estimate.mean)
