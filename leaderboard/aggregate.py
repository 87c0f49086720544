"""Records and items -> one row per label, with rank groups."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np

from bench.record import Metric, Run
from bench.stats import Estimate, TwoWay, over_seeds, rank_groups, two_way
from leaderboard.rows import Cell, Row, Table
from leaderboard.runs import Comparability, Group, Instructions, load

RANKED = "win_rate"
NO_SPREAD = 1e-12


def tables(results: Path, suite: str | None = None) -> tuple[list[Table], list[str]]:
    """One table for all that may be compared, the largest first, and what was wrong.

    Raises:
        UserError: if there is no such folder or suite.
    """
    grouped, problems = load(results, suite)
    out: list[Table] = []
    first: Comparability | None = None
    for key, groups in grouped.items():
        reason = key.difference(first) if first is not None else ""
        first = first or key
        record = groups[0].runs[0].record
        rows = _rows(groups, problems)
        out.append(Table(key.suite, record.reference.name, *key[1:], RANKED, rows, reason))
    return out, problems


def difference(
    a: Group, b: Group, instructions: Instructions, metric: str, *, bootstrap: bool = True
) -> TwoWay | str:
    """The difference a - b, paired by seed and instruction; or why there is none."""
    seeds = sorted(set(a.items) & set(b.items))
    if not seeds:
        return f"{a.label} and {b.label} have no seed in common"
    first, second = (instructions.values(group, metric, seeds) for group in (a, b))
    if first is None or second is None:
        label = a.label if first is None else b.label
        return f"{label} has no {metric} in its items"
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    if both.sum() < 2:
        return f"{a.label} and {b.label} were judged on different instructions"
    try:
        return two_way((first - second)[:, both], bootstrap=bootstrap)
    except ValueError as error:
        return f"{a.label} against {b.label}: {error}"


def _rows(groups: list[Group], problems: list[str]) -> list[Row]:
    instructions = Instructions(groups)
    headline: dict[str, TwoWay] = {}
    for group in groups:
        seeds = sorted(group.items)
        values = instructions.own(group, RANKED, seeds)
        if values is not None:
            try:
                headline[group.label] = two_way(values)
            except ValueError as error:
                problems.append(f"{group.label}: {RANKED}: {error}")
        elif group.ok:
            problems.append(f"{group.label}: not ranked, for its items hold no {RANKED}")
    ranks = _ranks(groups, instructions, headline, problems)
    rows = [_row(group, instructions, headline.get(group.label), ranks) for group in groups]
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[bool, int, float, str]:
    cell = row.metrics.get(RANKED)
    return (cell is None, row.group or 10**6, -(cell.mean if cell else 0.0), row.label)


def _ranks(
    groups: list[Group],
    instructions: Instructions,
    headline: dict[str, TwoWay],
    problems: list[str],
) -> dict[str, int]:
    p_values: dict[tuple[str, str], float] = {}
    for a, b in combinations([g for g in groups if g.label in headline], 2):
        found = difference(a, b, instructions, RANKED, bootstrap=False)
        if isinstance(found, str):
            problems.append(f"not compared: {found}")
        else:
            p_values[a.label, b.label] = found.p_value
    return rank_groups({label: estimate.mean for label, estimate in headline.items()}, p_values)


def _row(
    group: Group, instructions: Instructions, headline: TwoWay | None, ranks: dict[str, int]
) -> Row:
    ok = list(group.ok.values())
    record = group.runs[0].record
    metrics = _metrics(group, instructions)
    if headline is not None:
        metrics[RANKED] = _cell(headline)
    costs = [c for run in group.runs if (c := run.record.judge.cost_usd) is not None]
    peaks = [p for run in ok for s in run.record.stages if (p := s.peak_memory_gib) is not None]
    return Row(
        label=group.label,
        method=record.method,
        paper=record.paper,
        preset=record.preset,
        status=_status(group.runs),
        group=ranks.get(group.label),
        seeds=tuple(sorted(group.ok)),
        instructions=headline.n if headline else None,
        missing=headline.missing if headline else None,
        basis=headline.basis if headline else None,
        metrics=metrics,
        stage_seconds=_stage_seconds(ok),
        steps_to_90=_convergence(ok, "steps_to_90"),
        seconds_to_90=_convergence(ok, "seconds_to_90"),
        peak_memory_gib=max(peaks, default=None),
        cost_usd=sum(costs) if costs else None,
        devices=tuple(sorted({d for run in ok if (d := _device(run))})),
    )


def _device(run: Run) -> str | None:
    return run.record.hardware.gpu or run.record.hardware.cpu


def _status(runs: list[Run]) -> str:
    counts = Counter(run.record.status for run in runs)
    if set(counts) == {"ok"}:
        return "ok"
    if len(runs) == 1:
        return str(runs[0].record.status).replace("_", " ")
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in sorted(counts.items()))


def _cell(estimate: Estimate) -> Cell:
    return Cell(estimate.mean, estimate.standard_error, estimate.ci95)


def _metrics(group: Group, instructions: Instructions) -> dict[str, Cell]:
    """Every metric over seeds: crossed with instructions where items hold it, else by seed."""
    ok = group.ok
    cells: dict[str, Cell] = {}
    for name in sorted({name for run in ok.values() for name in run.record.metrics}):
        seeds = sorted(s for s, run in ok.items() if name in run.record.metrics)
        found = [ok[seed].record.metrics[name] for seed in seeds]
        if len(found) == 1:
            cells[name] = Cell(found[0].mean, found[0].standard_error, found[0].ci95)
            continue
        if all(seed in group.items for seed in seeds):
            values = instructions.own(group, name, seeds)
            if values is not None and (~np.isnan(values).any(axis=0)).sum() > 1:
                cells[name] = _cell(two_way(values))
                continue
        cells[name] = _by_seed(found)
    return cells


def _by_seed(found: list[Metric]) -> Cell:
    """Mean over seeds; where none shows a spread (all of n right), the widest of their intervals.

    A standard error of 0 would claim certainty where a seed's own (Wilson) interval does not.
    """
    estimate = over_seeds([m.mean for m in found], [m.standard_error for m in found])
    own = [m.ci95 for m in found if m.ci95 is not None]
    if own and (estimate.standard_error or 0.0) < NO_SPREAD:
        widest = min(low for low, _ in own), max(high for _, high in own)
        return Cell(estimate.mean, estimate.standard_error, widest)
    return _cell(estimate)


def _stage_seconds(runs: Iterable[Run]) -> dict[str, float]:
    """Mean over runs of each stage's time, several stages of one name (per seed) added up."""
    totals: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        own: dict[str, float] = defaultdict(float)
        for stage in run.record.stages:
            own[stage.name] += stage.seconds
        for name, value in own.items():
            totals[name].append(value)
    return {name: float(np.mean(values)) for name, values in totals.items()}


def _convergence(runs: Iterable[Run], name: str) -> float | None:
    found = [getattr(c, name) for run in runs if (c := run.record.convergence) is not None]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None
