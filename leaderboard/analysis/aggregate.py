"""Records and items -> one row per label, with rank groups."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from bench.records.files import MAX_DRIFT, EditorRecord, JudgeRecord, Metric, Run
from bench.stats import Estimate, TwoWay, over_seeds, rank_groups, two_way
from leaderboard.analysis.caveats import caveats, training_pairs
from leaderboard.analysis.common import common
from leaderboard.analysis.rows import Cell, Row, Table, is_percent
from leaderboard.analysis.runs import Comparability, Floats, Group, Instructions, load

RANKED = "win_rate"
NO_SPREAD = 1e-12


def tables(
    results: Path, suite: str | None = None, *, curves: bool = False
) -> tuple[list[Table], list[str]]:
    """One table for all that may be compared, the largest first, and what was wrong.

    Args:
        results: a folder of records.
        suite: this suite only.
        curves: as of `make_tables`.

    Raises:
        UserError: if there is no such folder or suite.
    """
    grouped, problems = load(results, suite)
    found = make_tables(grouped, problems, curves=curves)
    return found, list(dict.fromkeys(problems))


def make_tables(
    grouped: dict[Comparability, list[Group]], problems: list[str], *, curves: bool = False
) -> list[Table]:
    """The tables of what `leaderboard.analysis.runs.load` read, in its order.

    Args:
        grouped: labels by what may be compared.
        problems: receives a line for each thing that is wrong with the runs.
        curves: whether the runs' curves are read, too, for what takes them (`Table.common`).
    """
    out: list[Table] = []
    first: Comparability | None = None
    for key, groups in grouped.items():
        reason = key.difference(first) if first is not None else ""
        first = first or key
        references = [run.record.reference for group in groups for run in group.runs]
        name = next(ref.name for ref in references if ref.sha == key.reference_sha)
        rows, ranking = _rows(groups, problems)
        warnings = (*caveats(groups), *ranking)
        timed = common(groups, problems) if curves else None
        out.append(Table(key.suite, name, *key[1:], RANKED, rows, reason, warnings, timed))
    return out


def differences(a: Group, b: Group, instructions: Instructions, metric: str) -> Floats | str:
    """(S, N) differences a - b over the common seeds and instructions; or why there are none.

    One common seed of several each is not enough: it would speak of two runs in the place of all.
    """
    own = [group.seeds_with(metric) for group in (a, b)]
    for group, known in zip((a, b), own, strict=True):
        if not known:
            return f"{group.label} has no {metric} in its items"
    seeds = sorted(set(own[0]) & set(own[1]))
    if not seeds:
        return f"{a.label} and {b.label} have no seed in common"
    if len(seeds) == 1 < min(map(len, own)):
        return f"{a.label} and {b.label} have several seeds, but only seed {seeds[0]} in common"
    first, second = (instructions.values(group, metric, seeds) for group in (a, b))
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    if both.sum() < 2:
        return f"{a.label} and {b.label} were judged on different instructions"
    return (first - second)[:, both]


def difference(
    a: Group, b: Group, instructions: Instructions, metric: str, *, bootstrap: bool = True
) -> TwoWay | str:
    """The difference a - b, paired by seed and instruction; or why there is none."""
    table = differences(a, b, instructions, metric)
    if isinstance(table, str):
        return table
    try:
        return two_way(table, bootstrap=bootstrap)
    except ValueError as error:
        return f"{a.label} against {b.label}: {error}"


def _rows(groups: list[Group], problems: list[str]) -> tuple[list[Row], list[str]]:
    """The rows in their order, and what a reader of the ranking must know."""
    instructions = Instructions(groups)
    headline: dict[str, TwoWay] = {}
    warnings = []
    for group in groups:
        seeds = group.seeds_with(RANKED)
        if seeds:
            try:
                headline[group.label] = _headline(group, instructions, seeds)
            except ValueError as error:
                problems.append(f"{group.label}: {RANKED}: {error}")
            if left_out := sorted(group.ok.keys() - set(seeds)):
                named = ", ".join(map(str, left_out))
                warnings.append(f"{group.label}: without seed {named}, which has no {RANKED}.")
        elif group.ok:
            problems.append(f"{group.label}: not ranked, for its items hold no {RANKED}")
    ranks, uncompared = _ranks(groups, instructions, headline)
    rows = [
        _row(group, metrics_of(group, instructions, problems), headline.get(group.label), ranks)
        for group in groups
    ]
    return sorted(rows, key=_order), warnings + uncompared


def _headline(group: Group, instructions: Instructions, seeds: list[int]) -> TwoWay:
    """Over seeds and instructions. The resampled interval of a single run is in its record."""
    values = instructions.own(group, RANKED, seeds)
    recorded = group.ok[seeds[0]].record.metrics.get(RANKED) if len(seeds) == 1 else None
    # A bootstrap of verdicts that are all alike has no width, which says nothing of other ones.
    if recorded is None or recorded.ci95 is None or recorded.ci95[0] == recorded.ci95[1]:
        return two_way(values, rate=True)
    found = two_way(values, rate=True, bootstrap=False)
    if found.n != recorded.n or abs(found.mean - recorded.mean) > MAX_DRIFT:
        return two_way(values, rate=True)  # of other items: `load` has said so
    return replace(found, ci95=recorded.ci95)


def _order(row: Row) -> tuple[bool, int, float, str]:
    cell = row.metrics.get(RANKED)
    return (cell is None, row.group or 10**6, -(cell.mean if cell else 0.0), row.label)


def _ranks(
    groups: list[Group],
    instructions: Instructions,
    headline: dict[str, TwoWay],
) -> tuple[dict[str, int], list[str]]:
    """Label -> rank group, and a line for each pair that could not be compared."""
    uncompared = []
    p_values: dict[tuple[str, str], float] = {}
    for a, b in combinations([g for g in groups if g.label in headline], 2):
        found = difference(a, b, instructions, RANKED, bootstrap=False)
        if isinstance(found, str):
            uncompared.append(f"Not compared: {found}.")
        else:
            p_values[a.label, b.label] = found.p_value
    means = {label: estimate.mean for label, estimate in headline.items()}
    return rank_groups(means, p_values), uncompared


def _row(
    group: Group, metrics: dict[str, Cell], headline: TwoWay | None, ranks: dict[str, int]
) -> Row:
    ok, measured = list(group.ok.values()), list(group.measured.values())
    record = group.runs[0].record
    if headline is not None:
        metrics[RANKED] = _cell(headline)
    judges = [run.record.judge for run in group.runs if run.record.judge.counts]
    editors = [editor for run in group.runs if (editor := run.record.editor) is not None]
    pairs = [n for run in measured if (n := training_pairs(run.record)) is not None]
    stages = [stage for run in measured for stage in run.record.stages]
    peaks = [peak for stage in stages if (peak := stage.peak_memory_gib) is not None]
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
        stage_seconds=_stage_seconds(measured),
        steps_to_90=_convergence(ok, "steps_to_90"),
        seconds_to_90=_convergence(ok, "seconds_to_90"),
        peak_memory_gib=max(peaks, default=None),
        cost_usd=_dollars(judges),
        editor_usd=_dollars(editors),
        pairs=(min(pairs), max(pairs)) if pairs else (),
        devices=tuple(sorted({d for run in measured if (d := _device(run))})),
        failures=tuple(_failure(run) for run in group.runs if run not in measured),
    )


def _device(run: Run) -> str | None:
    return run.record.hardware.gpu or run.record.hardware.cpu


def _dollars(asked: list[JudgeRecord] | list[EditorRecord]) -> float | None:
    """What all of them cost; None where one price is not known, or nobody was asked."""
    known = [cost for one in asked if (cost := one.cost_usd) is not None]
    return sum(known) if known and len(known) == len(asked) else None


def _failure(run: Run) -> str:
    record = run.record
    why = (record.error or "").strip().splitlines()
    return ": ".join([f"seed {record.seed}", record.status.replace("_", " "), *why[:1]])


def _status(runs: list[Run]) -> str:
    counts = Counter(run.record.status for run in runs)
    if set(counts) == {"ok"}:
        return "ok"
    if len(runs) == 1:
        return str(runs[0].record.status).replace("_", " ")
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in sorted(counts.items()))


def _cell(estimate: Estimate) -> Cell:
    return Cell(estimate.mean, estimate.standard_error, estimate.ci95)


def metrics_of(group: Group, instructions: Instructions, problems: list[str]) -> dict[str, Cell]:
    """Every metric over seeds: crossed with instructions where items hold it, else by seed."""
    known = group.measured
    cells: dict[str, Cell] = {}
    for name in sorted({name for run in known.values() for name in run.record.metrics}):
        seeds = sorted(s for s, run in known.items() if name in run.record.metrics)
        found = [known[seed].record.metrics[name] for seed in seeds]
        if len(found) == 1:
            cells[name] = Cell(found[0].mean, found[0].standard_error, found[0].ci95)
            continue
        try:
            crossed = _crossed(group, instructions, name, seeds)
        except ValueError as error:
            problems.append(f"{group.label}: {name}: {error}")
            continue
        cells[name] = by_seed(name, found) if crossed is None else _cell(crossed)
    return cells


def _crossed(
    group: Group, instructions: Instructions, name: str, seeds: list[int]
) -> TwoWay | None:
    """Seeds crossed with instructions; None where the items do not hold the metric."""
    if not set(seeds).issubset(group.seeds_with(name)):
        return None
    values = instructions.own(group, name, seeds)
    if (~np.isnan(values).any(axis=0)).sum() < 2:
        return None
    return two_way(values, rate=is_percent(name))


def by_seed(name: str, found: list[Metric]) -> Cell:
    """Mean over seeds; where none shows a spread (all of n right), the widest of their intervals.

    A standard error of 0 would claim certainty where a seed's own (Wilson) interval does not. A
    rate's interval ends where rates do.
    """
    estimate = over_seeds([m.mean for m in found], [m.standard_error for m in found])
    own = [m.ci95 for m in found if m.ci95 is not None]
    if own and (estimate.standard_error or 0.0) < NO_SPREAD:
        widest = min(low for low, _ in own), max(high for _, high in own)
        return Cell(estimate.mean, estimate.standard_error, widest)
    cell = _cell(estimate)
    if is_percent(name) and cell.ci95 is not None:
        return replace(cell, ci95=(max(0.0, cell.ci95[0]), min(1.0, cell.ci95[1])))
    return cell


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
