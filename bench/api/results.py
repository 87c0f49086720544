"""`bench.load`: records, each of which knows its folder, and tables of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from pydantic import PrivateAttr

from bench.api.places import folder
from bench.errors import UserError, unknown
from bench.grid import Grid, to_html
from bench.records.files import (
    CURVES,
    PUBLISHED,
    Record,
    Run,
    Sample,
    find_runs,
    read_curves,
    read_samples,
)

if TYPE_CHECKING:
    import pandas as pd

    from bench.api.tables import Leaderboard

_MOST_ROWS = 60  # that a notebook shows of many runs


class RunRecord(Record):
    """A run's record (`bench.records.schema.Record`) that knows its folder and shows itself."""

    _folder: Path = PrivateAttr()

    @classmethod
    def of(cls, record: Record, folder: Path) -> RunRecord:
        """The record of a run in its folder."""
        fields = {name: getattr(record, name) for name in Record.model_fields}
        found = cls.model_construct(record.model_fields_set, **fields)
        found._folder = folder
        return found

    @property
    def folder(self) -> Path:
        """Where `record.json` is, and the files beside it."""
        return self._folder

    def curves(self) -> pd.DataFrame:
        """What was logged, one row a step of PPO; no rows where no policy was trained.

        Raises:
            UserError: the file cannot be read.
        """
        import pandas as pd

        if not (self.folder / CURVES).exists():
            return pd.DataFrame()
        points = read_curves(self.folder)
        return pd.DataFrame([{"step": point.step, **point.values} for point in points])

    def samples(self) -> list[Sample]:
        """Some responses beside the reference's, with the reward of each token.

        Raises:
            UserError: the file cannot be read, or the data's licence keeps texts out of records.
        """
        return read_samples(self.folder)

    def __repr__(self) -> str:
        won = self.metrics.get("win_rate")
        rate = f", win_rate {won.mean:.3f}" if won else ""
        return f"<RunRecord {self.label}, seed {self.seed}: {self.status}{rate}>"

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        from leaderboard.views.show import header, metric_grid, stage_grid

        first, *lines = header(self).plain.splitlines()
        about = "<br>".join(map(escape, lines))
        stages = stage_grid(self)
        return (
            f"<p><b>{escape(first)}</b><br><small>{about}</small></p>"
            f"{to_html(metric_grid(self))}"
            f"<details><summary>Stages</summary>{to_html(stages)}</details>"
        )


class Records(Sequence[RunRecord]):
    """Runs, in the order of their folders.

    Attributes:
        problems: a line for each record that could not be read or trusted, or was passed over.
    """

    def __init__(self, runs: Iterable[RunRecord], problems: Iterable[str] = ()) -> None:
        self._runs = tuple(runs)
        self.problems = tuple(problems)

    @overload
    def __getitem__(self, index: int) -> RunRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> RunRecord | Records:
        if isinstance(index, slice):
            return Records(self._runs[index], self.problems)
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self._runs)

    def __add__(self, other: Records) -> Records:
        return Records((*self, *other), (*self.problems, *other.problems))

    def __repr__(self) -> str:
        labels = list(dict.fromkeys(run.label for run in self))
        return f"<{len(self)} records: {', '.join(labels) or 'none'}>"

    def where(self, **wanted: Any) -> Records:
        """Those whose fields have these values, as `where(label="token_ppo", status="ok")`.

        Raises:
            UserError: there is no such field of a record.
        """
        for name in wanted:
            if name not in Record.model_fields:
                raise UserError(unknown("field", name, Record.model_fields))
        kept = [r for r in self if all(getattr(r, name) == v for name, v in wanted.items())]
        return Records(kept, self.problems)

    def tables(self) -> list[Records]:
        """What may be compared (one suite, base model, judge, reference), the most runs first."""
        from leaderboard.analysis.runs import grouped

        found = grouped(self._as_runs(), [])
        by_folder = {run.folder: run for run in self}
        return [
            Records(
                (by_folder[run.folder] for group in groups for run in group.runs), self.problems
            )
            for groups in found.values()
        ]

    def leaderboard(self) -> Leaderboard:
        """The table of these runs: their labels over seeds, with intervals and rank groups."""
        from bench.api.tables import Leaderboard
        from leaderboard.analysis.aggregate import make_tables
        from leaderboard.analysis.runs import grouped

        problems = list(self.problems)
        tables = make_tables(grouped(self._as_runs(), problems), problems)
        return Leaderboard(tables, dict.fromkeys(problems))

    def to_pandas(self) -> pd.DataFrame:
        """One row a run; a metric's name, and with `.se`, `.ci_low`, `.ci_high` behind it.

        Rates are fractions, times seconds, as in the records.
        """
        import pandas as pd

        return pd.DataFrame([_flat(run) for run in self])

    def _as_runs(self) -> list[Run]:
        return [Run(run, run.folder) for run in self]

    def _repr_html_(self) -> str:
        from leaderboard.analysis.rows import interval, number

        rows = []
        for run in self._runs[:_MOST_ROWS]:
            won = run.metrics.get("win_rate")
            mean, ci95 = (won.mean, won.ci95) if won else (None, None)
            shown = number("win_rate", mean), interval("win_rate", ci95)
            rows.append([run.label, run.suite, str(run.seed), run.status, *shown, run.run_id])
        more = len(self) - len(rows)
        notes = [f"and {more} more"] if more > 0 else []
        headers = ["Run", "Suite", "Seed", "Status", "Win %", "95 % interval", "Folder"]
        title = "1 run" if len(self) == 1 else f"{len(self)} runs"
        return to_html(Grid(title, headers, rows, notes, warnings=list(self.problems)))


def load(
    results: str | os.PathLike[str] | None = None,
    *,
    suite: str | None = None,
    method: str | None = None,
    label: str | None = None,
) -> Records:
    """All runs below a folder.

    Args:
        results: of runs, or of one; None: BENCH_RESULTS, or what is published (`PUBLISHED`).
        suite: of this suite only.
        method: of this method only.
        label: of this row of the leaderboard only, as "token_ppo loss=eq4".

    Raises:
        UserError: there is no such folder, or none of its runs is of this suite, method or label.
    """
    place = folder(results, "results", PUBLISHED)
    if not place.is_dir():
        raise UserError(f"{place}: no such folder of results; bench.run writes to results/runs")
    runs, problems = find_runs(place)
    found = Records((RunRecord.of(run.record, run.folder) for run in runs), problems)
    for field, value in (("suite", suite), ("method", method), ("label", label)):
        if value is not None:
            known = {str(getattr(run, field)) for run in found}
            found = found.where(**{field: value})
            if not found:
                raise UserError(f"{place}: {unknown(field, value, known)}")
    return found


def _flat(run: RunRecord) -> dict[str, Any]:
    names = ("run_id", "suite", "method", "label", "preset", "seed", "status")
    flat = {name: getattr(run, name) for name in names}
    for name, metric in sorted(run.metrics.items()):
        low, high = metric.ci95 or (None, None)
        flat |= {name: metric.mean, f"{name}.se": metric.standard_error}
        flat |= {f"{name}.ci_low": low, f"{name}.ci_high": high}
    reached = run.convergence
    return flat | {
        "seconds": sum(stage.seconds for stage in run.stages),
        "steps_to_90": reached and reached.steps_to_90,
        "commit": run.code.commit,
        "finished_at": run.finished_at,
        "folder": str(run.folder),
    }
