"""What was found, in sentences: from rank groups and paired differences, and from nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.stats import ONE_RUN
from leaderboard.analysis.compare import Comparison
from leaderboard.analysis.rows import Row, Table, interval, is_percent, number
from leaderboard.views.glossary import method_term, metric_term

NAMED = 5  # so many methods, or pairs, are named in a row
BEHIND = 2  # so many groups are named behind the first
PARITY = 0.5


@dataclass(frozen=True)
class Finding:
    """One sentence, and what must be read with it: what is not shown, and on what it stands."""

    headline: Markup
    more: list[Markup]


def find(table: Table, comparisons: Sequence[Comparison]) -> Finding:
    """What a table says.

    Args:
        table: with its rows in rank order.
        comparisons: of all its pairs (`leaderboard.analysis.compare.all_pairs`).
    """
    judged = [row for row in table.rows if table.metric in row.metrics]
    if not judged:
        return _without_verdicts(table)
    if len(judged) == 1:
        return Finding(_alone(table, judged[0]), _basis(judged))
    tiers = _tiers(judged)
    if not tiers:
        text = "{} were judged, but not on the same seeds and instructions: none is ranked."
        return Finding(Markup(text).format(_names(judged)), _basis(judged))
    more = [*_open(tiers, comparisons), _against_reference(table, judged)]
    if unranked := [row for row in judged if row.group is None]:
        more.append(Markup("Not ranked with them: {}.").format(_names(unranked)))
    return Finding(_headline(table, tiers, comparisons), [*more, *_basis(judged)])


def _tiers(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each rank group, the best first."""
    groups = sorted({row.group for row in rows if row.group is not None})
    return [[row for row in rows if row.group == group] for group in groups]


def _headline(table: Table, tiers: list[list[Row]], comparisons: Sequence[Comparison]) -> Markup:
    """The rank groups from the best to the last, in one sentence."""
    first, *others = tiers
    if len(first) == 1:
        parts = [_best(table, first[0], others, comparisons)]
    elif others:
        parts = [Markup("No difference is shown between {}, the best").format(_names(first))]
    else:
        parts = [Markup("No difference is shown between any two of {}").format(_names(first))]
    if others:
        behind = [_names(tier) for tier in others[:BEHIND]]
        if rest := sum(map(len, others[BEHIND:])):
            behind.append(Markup("{} more").format(rest))
        parts.append(Markup("behind come {}").format(Markup(", then ").join(behind)))
    if any(len(tier) > 1 for tier in others):
        parts.append(Markup("within a group no difference is shown"))
    return Markup("{}.").format(Markup("; ").join(parts))


def _best(
    table: Table, best: Row, others: list[list[Row]], comparisons: Sequence[Comparison]
) -> Markup:
    """Who is first and what that is, how often it is preferred, and by how much more."""
    meaning = method_term(best).meaning
    about = Markup(" ({})").format(meaning) if meaning else ""
    mean = number(table.metric, best.metrics[table.metric].mean)
    start = Markup("{}{} is best, preferred to the reference on {} %").format(
        _name(best), about, mean
    )
    if not others or (c := _pair(best, others[0][0], comparisons)) is None:
        return start
    by, ends = _signed(c, best)
    return Markup("{}, {} points above the next (95 % interval {})").format(start, by, ends)


def _pair(a: Row, b: Row, comparisons: Sequence[Comparison]) -> Comparison | None:
    wanted = {a.label, b.label}
    found = (c for c in comparisons if {c.label, c.base} == wanted and c.mean is not None)
    return next(found, None)


def _signed(c: Comparison, first: Row) -> tuple[str, str]:
    """The difference first minus other, and its interval, as text."""
    sign = 1.0 if c.label == first.label else -1.0
    low, high = sorted(sign * end for end in c.ci95 or (0.0, 0.0))
    ends = f"{number(c.metric, low)} to {number(c.metric, high)}" if c.ci95 else "not known"
    return number(c.metric, sign * (c.mean or 0.0)), ends


def _open(tiers: list[list[Row]], comparisons: Sequence[Comparison]) -> list[Markup]:
    """Methods of different groups whose own difference is not shown all the same."""
    place = {row.label: i for i, tier in enumerate(tiers) for row in tier}
    pairs = [
        Markup("{} and {}").format(*map(_strong, (c.label, c.base)))
        for c in comparisons
        if c.label in place and c.base in place and place[c.label] != place[c.base]
        and c.mean is not None and not c.significant
    ]  # fmt: skip
    if not pairs:
        return []
    return [
        Markup("Not shown either, though they stand in different groups: {}.").format(
            _listed(pairs, "; ", "; ")
        )
    ]


def _against_reference(table: Table, rows: Sequence[Row]) -> Markup:
    """Which intervals lie above one half, below it, or on it."""
    metric, sides = table.metric, dict[str, list[Row]]()
    for row in rows:
        low, high = row.metrics[metric].ci95 or (0.0, 1.0)
        side = "above" if low > PARITY else "below" if high < PARITY else "not told from it"
        sides.setdefault(side, []).append(row)
    if len(sides) == 1:
        side = next(iter(sides))
        return Markup("Against the reference's 50 %: each is {}.").format(side)
    parts = (Markup("{} {}").format(_names(own), side) for side, own in sides.items())
    return Markup("Against the reference's 50 %: {}.").format(Markup("; ").join(parts))


def _basis(rows: Sequence[Row]) -> list[Markup]:
    if any(row.basis == ONE_RUN for row in rows):
        text = "One training run a method: what another seed would give, no interval here says."
        return [Markup(text)]
    return []


def _alone(table: Table, row: Row) -> Markup:
    cell = row.metrics[table.metric]
    ends = f", 95 % interval {interval(table.metric, cell.ci95)}" if cell.ci95 else ""
    return Markup("{} is preferred on {} %{}; no other method was judged here.").format(
        _name(row), number(table.metric, cell.mean), ends
    )


def _without_verdicts(table: Table) -> Finding:
    """Runs that ended before the judge may have measured reward models."""
    metric = shown_metric(table)
    measured = [row for row in table.rows if metric in row.metrics]
    if not measured:
        return Finding(Markup("No run here has a result yet."), [])
    parts = []
    for row in sorted(measured, key=lambda row: -row.metrics[metric].mean):
        cell = row.metrics[metric]
        unit = " %" if is_percent(metric) else ""
        ends = f" {interval(metric, cell.ci95)}" if cell.ci95 else ""
        parts.append(Markup("{} {}{}{}").format(_name(row), number(metric, cell.mean), unit, ends))
    name = metric_term(metric).name
    headline = Markup("No policy was judged here, only reward models. {}: {}.").format(
        name, _listed(parts)
    )
    untested = [Markup("No test compares them: see their intervals.")]
    return Finding(headline, untested if len(parts) > 1 else [])


def shown_metric(table: Table) -> str:
    """What the chart on top is about: the ranked metric or, of runs without it, an accuracy."""
    names = dict.fromkeys(name for row in table.rows for name in row.metrics)
    if table.metric in names:
        return table.metric
    preferred = ("rm_accuracy.edited", "rm_accuracy.original")
    others = (name for name in names if name.startswith("rm_accuracy."))
    return next((name for name in (*preferred, *others) if name in names), table.metric)


def _names(rows: Sequence[Row]) -> Markup:
    return _listed([_name(row) for row in rows])


def _listed(parts: Sequence[Markup], comma: str = ", ", last: str = " and ") -> Markup:
    """Names in a row; of many the first few, and how many more."""
    if len(parts) > NAMED + 1:
        more = Markup("{} more").format(len(parts) - NAMED)
        return Markup(comma).join(parts[:NAMED]) + Markup(" and ") + more
    if len(parts) == 1:
        return parts[0]
    return Markup(comma).join(parts[:-1]) + Markup(last) + parts[-1]


def _name(row: Row) -> Markup:
    return _strong(row.label)


def _strong(label: str) -> Markup:
    return Markup("<strong>{}</strong>").format(label)
