"""How equal two runs of one configuration are: their metrics, items and curves, and what changed.

Two numbers are equal to the bit, within a tolerance, or different. The default tolerance is below
the smallest thing that one other token can do to a rate (half a verdict of 512 is 1e-3) and above
what sums in another order do to a float32: within it, the runs sampled the same texts.

What only the repetition has, a new metric say, is a note: code that learned to measure more repeats
what it measured before.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from bench.config.run import flatten
from bench.records.files import (
    CURVES,
    ITEMS,
    CurvePoint,
    Item,
    Metric,
    Run,
    read_curves,
    read_items,
)
from leaderboard.regression.environment import Change, causes, changes, environment, explanation

TOLERANCE = 1e-4
EXIT_DIFFERENT = 3
_NAMED = 6  # so many differences fit into a line
_CLOCK = ("seconds",)  # of a curve: no result

Values = Mapping[str, float | None]
Rows = Mapping[Hashable, Values]


class Equality(IntEnum):
    """How equal; of several the largest is that of all."""

    BITWISE = 0
    WITHIN = 1
    DIFFERENT = 2

    def __str__(self) -> str:
        return ("bitwise", "within tolerance", "different")[self]


@dataclass(frozen=True)
class Compared:
    """One quantity of two runs.

    Attributes:
        what: "metric", "items" or "curve".
        name: of the metric or the curve.
        old, new: means, of a metric alone.
        mean: of new - old, over items or steps.
        mean_absolute, max_absolute: of |new - old|.
        first: step from which the curves differ by more than the tolerance.
        equality: the worst of all its numbers.
    """

    what: str
    name: str
    equality: Equality
    old: float | None = None
    new: float | None = None
    mean: float | None = None
    mean_absolute: float | None = None
    max_absolute: float | None = None
    first: Hashable = None


@dataclass(frozen=True)
class RerunReport:
    """What a rerun found; `notes` explain, `problems` are differences that are no number."""

    run: str
    tolerance: float
    compared: list[Compared]
    changed: list[Change]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def equality(self) -> Equality:
        """The worst of all; different where nothing could be compared."""
        if self.problems or not self.compared:
            return Equality.DIFFERENT
        return max(one.equality for one in self.compared)

    @property
    def exit_code(self) -> int:
        """0, or `EXIT_DIFFERENT`."""
        return EXIT_DIFFERENT if self.equality is Equality.DIFFERENT else 0

    @property
    def why(self) -> str | None:
        """What most likely made it differ; None: it does not, or that cannot be told."""
        reconfigured = [c for c in self.changed if c.name.startswith("config.")]
        # A field that the record lacks has the value of its day.
        if self.equality is Equality.BITWISE or any(c.old is not None for c in reconfigured):
            return None
        why = explanation(self.changed)
        return why and f"It does not repeat to the bit; likeliest cause: {why}."

    @property
    def summary(self) -> str:
        """What differs, in a line."""
        found = [f"{c.what} {c.name}" for c in self.compared if c.equality is Equality.DIFFERENT]
        nothing = [] if self.compared else ["nothing to compare"]
        names = self.problems + nothing + found
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"{self.equality}" + (f": {', '.join(names[:_NAMED])}{more}" if names else "")


def compare_runs(
    old: Run, new: Run, tolerance: float = TOLERANCE, notes: Sequence[str] = ()
) -> RerunReport:
    """Compare a run with its repetition.

    Args:
        old: as it was recorded.
        new: the repetition.
        tolerance: ``|a - b| <= tolerance * max(1, |a|, |b|)`` counts as equal.
        notes: lines for the report's reader.

    Raises:
        RecordError: items or a curve cannot be read.
    """
    one, other = old.record, new.record
    problems, notes = [], list(notes)
    if one.status != other.status:
        reason = f" ({other.error})" if other.error else ""
        problems.append(f"status: {one.status} -> {other.status}{reason}")
    compared = list(_metrics(one.metrics, other.metrics, tolerance))
    added = _added_metrics(one.metrics, other.metrics)
    for what, (name, read) in _FILES.items():
        if not (old.folder / name).is_file():
            notes.append(f"{name}: not beside the record, so not compared")
        elif not (new.folder / name).is_file():
            problems.append(f"{name}: the rerun has none")
        else:
            before, after = read(old.folder), read(new.folder)
            compared += _rows(what, before, after, tolerance)
            added += [f"{what} {name}" for name in sorted(_names(after) - _names(before))]
    if added:
        notes.append(f"only in the rerun, so not compared: {', '.join(added)}")
    around = changes(environment(one), environment(other))
    changed = [change for own in causes(around).values() for change in own]
    changed += [change for change in around if change not in changed]
    config = changes(flatten(one.config), flatten(other.config))
    changed += [Change(f"config.{c.name}", c.old, c.new) for c in config]
    return RerunReport(one.run_id, tolerance, compared, changed, problems, notes)


def by_instruction(items: Sequence[Item]) -> Rows:
    """Values by instruction: its index and prompt."""
    return {(item.index, item.prompt_sha): item.values for item in items}


def _by_step(points: Sequence[CurvePoint]) -> Rows:
    """Values by step, without times."""
    return {
        point.step: {name: x for name, x in point.values.items() if name not in _CLOCK}
        for point in points
    }


_FILES: dict[str, tuple[str, Callable[[Path], Rows]]] = {
    "items": (ITEMS, lambda folder: by_instruction(read_items(folder))),
    "curve": (CURVES, lambda folder: _by_step(read_curves(folder))),
}


def paired(old: Rows, new: Rows, name: str) -> tuple[list[float], list[float]]:
    """The values of `name` that both have, key by key; infinite ones and NaN left out."""
    pairs = [(old[key].get(name), new[key].get(name)) for key in old if key in new]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    finite = [(a, b) for a, b in known if math.isfinite(a) and math.isfinite(b)]
    return [a for a, _ in finite], [b for _, b in finite]


def _equality(a: float | None, b: float | None, tolerance: float) -> Equality:
    if a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b)):
        return Equality.BITWISE
    if a is None or b is None or not abs(a - b) <= tolerance * max(1.0, abs(a), abs(b)):
        return Equality.DIFFERENT
    return Equality.WITHIN


def _metrics(
    old: Mapping[str, Metric], new: Mapping[str, Metric], tolerance: float
) -> Iterator[Compared]:
    for name, a in sorted(old.items()):
        if name not in new:
            yield Compared("metric", name, Equality.DIFFERENT, a.mean)
            continue
        b = new[name]
        numbers = _numbers(b)
        equality = max(_equality(x, numbers.get(key), tolerance) for key, x in _numbers(a).items())
        yield Compared("metric", name, equality, a.mean, b.mean, b.mean - a.mean)


def _numbers(metric: Metric) -> dict[str, float]:
    """All that is known of a metric, counts and interval too."""
    low, high = metric.ci95 or (None, None)
    fields = {"low": low, "high": high, **metric.model_dump(exclude={"ci95"})}
    return {name: value for name, value in fields.items() if value is not None}


def _added_metrics(old: Mapping[str, Metric], new: Mapping[str, Metric]) -> list[str]:
    """The metrics, and fields of metrics, that only the new run has."""
    added = []
    for name, metric in sorted(new.items()):
        if name not in old:
            added.append(f"metric {name}")
        else:
            fields = _numbers(metric).keys() - _numbers(old[name]).keys()
            added += [f"metric {name}.{field}" for field in sorted(fields)]
    return added


def _names(rows: Rows) -> set[str]:
    return {name for row in rows.values() for name in row}


def _rows(what: str, old: Rows, new: Rows, tolerance: float) -> Iterator[Compared]:
    from bench.stats import residual

    keys = list(dict.fromkeys([*old, *new]))
    for name in sorted(_names(old)):
        found = [
            _equality(old.get(key, {}).get(name), new.get(key, {}).get(name), tolerance)
            for key in keys
        ]
        first = dict(zip(reversed(found), reversed(keys), strict=True)).get(Equality.DIFFERENT)
        before, after = paired(old, new, name)
        apart = residual(after, before) if before else None
        yield Compared(
            what=what,
            name=name,
            equality=max(found),
            mean=apart.mean if apart else None,
            mean_absolute=apart.mean_absolute if apart else None,
            max_absolute=apart.max_absolute if apart else None,
            first=first,
        )
