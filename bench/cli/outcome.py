"""What came of the runs of one command: tables for people, or one JSON document."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.cli.terminal import complain, show
from bench.config.sweeping import swept, value_of
from bench.grid import to_rich
from bench.records.files import PUBLISHED, RECORD, RecordError, Run, find_runs, read_record
from bench.records.labels import base_name, folder_of, label

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from leaderboard.analysis.rows import Table
    from leaderboard.analysis.swept import SweepRow

Before = Mapping[Path, int]  # by folder, when the record was written that was there already


@contextlib.contextmanager
def shown(
    configs: list[RunConfig], results: Path, format: str | None, *, keeps_whole: bool = False
) -> Iterator[list[str]]:
    """Show what came of the runs of a block, which lists those that failed.

    As JSON also where one ended the others with an error, which is then the last of the list.

    Args:
        configs: of the runs.
        results: where their records are.
        format: "table" or "json"; None: show nothing.
        keeps_whole: whether a record that was there before may be the outcome: `--until` leaves
            that of a whole run as it is.
    """
    failures: list[str] = []
    before = {} if keeps_whole else _written(configs, results)
    if format != "json":
        yield failures
        if format is not None:
            print_tables(configs, results, before)
        return
    try:
        yield failures
    except Exception as error:
        failures.append(str(error) or type(error).__name__)
        if any(left := left_behind(configs, results, before)):
            print_document(configs, left, results, failures)
        raise
    print_document(configs, left_behind(configs, results, before), results, failures)


def _written(configs: Sequence[RunConfig], results: Path) -> Before:
    """When the runs' records were written that are there already."""
    found = {}
    for config in configs:
        folder = folder_of(config, results)
        with contextlib.suppress(OSError):
            found[folder] = (folder / RECORD).stat().st_mtime_ns
    return found


def print_tables(
    configs: list[RunConfig], results: Path, before: Before = MappingProxyType({})
) -> None:
    """Print the runs beside the published ones of their rows, then the published leaderboard.

    Of a sweep, a table over its values instead.
    """
    from leaderboard.views.beside import beside
    from leaderboard.views.swept import sweep_grid

    problems: list[str] = []
    left = left_behind(configs, results, before)
    if rows := sweep(configs, left, problems):
        show(sweep_grid(rows))
        complain(problems)
        return
    own = [run for run in left if run]
    suite = configs[0].suite
    if own and all(run.record.status == "partial" for run in own):
        _print_measures(results, suite, {run.record.label for run in own})
        return
    if len(own) > 1:
        labels = {run.record.label for run in own}
        _print_rows(results, suite, "Yours: ", lambda board: True, labels)
    if own:
        show(to_rich(beside(own, PUBLISHED)))
    if (PUBLISHED / suite).is_dir() and results.resolve() != PUBLISHED:
        base = base_name(configs[0].model_dump())
        _print_rows(PUBLISHED, suite, "Published: ", lambda board: board.base == base)


def _print_rows(
    results: Path,
    suite: str,
    whose: str,
    wanted: Callable[[Table], bool],
    labels: set[str] | None = None,
) -> None:
    """Print the first section of the wanted tables, or those of its rows that `labels` names."""
    from leaderboard.analysis.aggregate import tables
    from leaderboard.views.render import result_grid

    found, problems = tables(results, suite)
    for board in filter(wanted, found):
        rows = [row for row in board.rows if labels is None or row.label in labels]
        if rows:
            grid = result_grid(replace(board, rows=rows))
            show(to_rich(replace(grid, title=whose + grid.title)))
    complain(problems)


def _print_measures(results: Path, suite: str, labels: set[str]) -> None:
    """Print what is known of runs that ended before the judge: all sections but the ranking."""
    from leaderboard.analysis.aggregate import tables
    from leaderboard.views.render import table_grids

    found, problems = tables(results, suite)
    for board in found:
        rows = [row for row in board.rows if row.label in labels]
        for grid in table_grids(replace(board, rows=rows))[1:] if rows else []:
            show(to_rich(grid))
    complain(problems)


def print_document(
    configs: Sequence[RunConfig],
    left: Sequence[Run | None],
    results: Path,
    failures: Sequence[str],
) -> None:
    """Print all runs, those that failed too, and the sweep's rows as one JSON document.

    Args:
        configs: of the runs, in their order.
        left: what each left behind.
        results: where their records are.
        failures: a line for each that did not end well.
    """
    from leaderboard.views.json import document

    fields, problems = swept(configs), list[str]()
    published = find_runs(PUBLISHED)[0] if PUBLISHED.is_dir() else []
    runs = [
        _outcome(config, run, fields, results, published)
        for config, run in zip(configs, left, strict=True)
    ]
    rows = sweep(configs, left, problems)
    show(document("run", {"runs": runs, "failures": list(failures), "sweep": rows}))
    complain(problems)


def sweep(
    configs: Sequence[RunConfig], left: Sequence[Run | None], problems: list[str]
) -> list[SweepRow]:
    """A row for each method with each of the swept values; none where nothing was swept."""
    from leaderboard.analysis.swept import Setting, sweep_rows

    fields = swept(configs)
    if not fields:
        return []
    found: dict[str, list[tuple[RunConfig, Run | None]]] = {}
    for config, run in zip(configs, left, strict=True):
        found.setdefault(label(config), []).append((config, run))
    settings = [
        Setting(
            method=own[0][0].method,
            label=name,
            values={path: value_of(own[0][0], path) for path in fields},
            asked=len(own),
            runs=[run for _, run in own if run],
        )
        for name, own in found.items()
    ]
    return sweep_rows(settings, problems)


def left_behind(configs: Sequence[RunConfig], results: Path, before: Before) -> list[Run | None]:
    """What each run of this command left behind, in their order."""
    return [_left(config, results, before) for config in configs]


def _left(config: RunConfig, results: Path, before: Before) -> Run | None:
    """What one did.

    None where it never began or was killed before it had a record, whatever an earlier command
    may have left in its place.
    """
    folder = folder_of(config, results)
    try:
        if (folder / RECORD).stat().st_mtime_ns == before.get(folder):
            return None
        return Run(read_record(folder), folder)
    except (RecordError, OSError):
        return None


def _outcome(
    config: RunConfig,
    run: Run | None,
    fields: Sequence[str],
    results: Path,
    published: Sequence[Run],
) -> dict[str, Any]:
    """One run, in the shape of `leaderboard.views.shapes.Outcome`."""
    from leaderboard.views.beside import published_band, verdict

    about: dict[str, Any] = {
        "label": label(config),
        "method": config.method,
        "seed": config.seed,
        "swept": {path: value_of(config, path) for path in fields},
        "folder": str(folder_of(config, results)),
        "status": None, "until": None, "error": None, "metrics": {}, "published": None,
        "verdict": "no record",
    }  # fmt: skip
    if run is None:
        return about
    record, band = run.record, published_band(run, published)
    known = ("status", "until", "error", "metrics")
    return about | {name: getattr(record, name) for name in known} | {
        "published": None if band is None else {
            "mean": band.mean, "low": band.low, "high": band.high, "runs": len(band.known)
        },
        "verdict": verdict(record, band),
    }  # fmt: skip
