"""The regression check: are these runs as good as those of a baseline?

The runs of one label are held against it together, each metric by the strongest test that there
are numbers for (`leaderboard.regression.verdicts`), and never against themselves. A record that was
edited, or does not agree with its own items, fails whatever its metrics say. So does one that was
judged otherwise than the baseline; another configuration is a note. The caller exits with
`REGRESSION`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UserError
from bench.records.files import (
    ITEMS,
    RECORD,
    Item,
    RecordError,
    Run,
    contradictions,
    edits,
    read_items,
    read_record,
    record_files,
    without_copies,
)
from leaderboard.regression.baseline import Baseline, BaselineRun, NoBaselineRun, read_baseline
from leaderboard.regression.environment import (
    MEASURED,
    Change,
    causes,
    changes,
    configuration,
    environment,
    explanation,
    listed,
    measured,
    named,
    settings_changed,
)
from leaderboard.regression.verdicts import Candidate, CheckRow, Twin, judge

REGRESSION = 3


@dataclass(frozen=True)
class CheckReport:
    """What `check` found of the runs of one label.

    Attributes:
        run: its id, or the label and how many.
        problems: reasons to fail that belong to no row.
        notes: what a reader should know.
    """

    run: str
    baseline: str
    rows: list[CheckRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing failed, and something was checked."""
        return not self.failures

    @property
    def exit_code(self) -> int:
        """0, or `REGRESSION`."""
        return 0 if self.ok else REGRESSION

    @property
    def failures(self) -> list[str]:
        """A line for each reason to fail, naming the metric."""
        failed = [f"{row.metric}: {row.verdict}" for row in self.rows if not row.ok]
        nothing = [] if self.rows or self.problems else ["nothing was checked"]
        return self.problems + failed + nothing


def check(path: Path, baseline: Path, confidence: float | None = None) -> list[CheckReport]:
    """Hold runs against a baseline; a report for each label, and each unreadable record.

    Args:
        path: a run's folder, its record.json, or a folder of runs.
        baseline: a JSON file that `write_baseline` made, a folder with such a `baseline.json`, or
            a folder of runs.
        confidence: level of the bands that are made of a folder's runs; None: 95 % for the
            headline metrics each, and for the others together.

    Raises:
        UserError: if the baseline cannot be read, or there is no run. A record that cannot be
            read, for a NaN say, is a failed check: that is what the check is there to find. So is
            a label that the baseline does not have.
    """
    reports: list[CheckReport] = []
    runs: list[Run] = []
    for file in _records(path):
        try:
            runs.append(Run(read_record(file, verify=False), file.parent))
        except RecordError as error:
            reports.append(CheckReport(str(file.parent), str(baseline), problems=[str(error)]))
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in without_copies(runs)[0]:
        groups[run.record.suite, run.record.label].append(run)
    return reports + [_check(runs, baseline, confidence) for _, runs in sorted(groups.items())]


def _records(path: Path) -> list[Path]:
    if not path.is_dir() and (path.name != RECORD or not path.is_file()):
        raise UserError(f"{path}: no such run, nor a folder of runs")
    found = record_files(path) if path.is_dir() else [path]
    if not found:
        raise UserError(f"no run in {path}", exit_code=REGRESSION)
    return found


def _check(runs: list[Run], path: Path, confidence: float | None) -> CheckReport:
    """Check the runs of one label."""
    record = runs[0].record
    title = record.run_id if len(runs) == 1 else f"{record.label}, {len(runs)} runs"
    try:
        baseline, known, left_out = read_baseline(path, runs, confidence)
    except NoBaselineRun as error:
        return CheckReport(title, str(path), problems=[str(error)])
    candidates: list[Candidate] = []
    problems = list(repeated_seeds(runs))
    notes = [f"Left out of the baseline, being checked: {', '.join(left_out)}."] if left_out else []
    for run in runs:
        name = f"{run.record.run_id}: " if len(runs) > 1 else ""
        items, found = own_items(run)
        one = Candidate(run, items, _twin(run, baseline, known))
        candidates.append(one)
        problems += [name + line for line in (*faults(run), *found, *_mismatches(one, baseline))]
        notes += _notes(one, baseline)
    rows = [judge(name, band, candidates) for name, band in sorted(baseline.metrics.items())]
    if any(row.residual for row in rows) and (why := _why_moved(candidates)):
        notes.append(why)
    return CheckReport(title, str(path), rows, problems, list(dict.fromkeys(notes)))


def repeated_seeds(runs: list[Run]) -> Iterator[str]:
    """Two runs of one seed are no two results: a fixed seed repeats."""
    for seed, count in sorted(Counter(run.record.seed for run in runs).items()):
        if count > 1:
            folders = ", ".join(str(run.folder) for run in runs if run.record.seed == seed)
            yield f"{count} runs of seed {seed}, check one of them: {folders}"


def own_items(run: Run) -> tuple[list[Item], list[str]]:
    """A run's items, and where they contradict its record."""
    if not (run.folder / ITEMS).is_file():
        return [], []
    try:
        items = read_items(run.folder)
    except RecordError as error:
        return [], [str(error)]
    found = contradictions(run.record, items).items()
    return items, [
        f"{name}: {stated:.4g} in {RECORD}, but {mean:.4g} over its own {ITEMS}"
        for name, (stated, mean) in found
    ]


def _twin(run: Run, baseline: Baseline, known: list[Run]) -> Twin | None:
    """The baseline's run of the same seed."""
    for place, twin in enumerate(baseline.runs):
        if twin.seed == run.record.seed:
            folder = known[place].folder if known else None
            has_items = folder is not None and (folder / ITEMS).is_file()
            return Twin(twin, place, read_items(folder) if folder and has_items else [])
    return None


def faults(run: Run) -> Iterator[str]:
    """Why a run's numbers are not to be trusted."""
    record, folder = run
    if record.status != "ok":
        yield f"status is {record.status}: {record.error or 'no reason recorded'}"
    if edited := edits(folder / RECORD):
        yield f"{folder / RECORD}: {', '.join(edited)}: edited after the run was written"


def _mismatches(one: Candidate, baseline: Baseline) -> Iterator[str]:
    """Why a run's numbers are not to be compared with the baseline's."""
    record = one.record
    if baseline.label and (baseline.suite, baseline.label) != (record.suite, record.label):
        yield f"is {record.suite}/{record.label}, the baseline {baseline.suite}/{baseline.label}"
    against = _counterpart(one, baseline)
    if against is not None and record.status == "ok":  # else it was not judged
        for change in changes(measured(against.environment), measured(environment(record))):
            yield f"measures something else than {against.run_id}: {change}"


def _counterpart(one: Candidate, baseline: Baseline) -> BaselineRun | None:
    """The run of the baseline whose surroundings a run is compared with."""
    return one.twin.run if one.twin else next(iter(baseline.runs), None)


def _notes(one: Candidate, baseline: Baseline) -> Iterator[str]:
    if not one.items:
        yield f"{one.record.run_id}: no {ITEMS}, so that its means are taken on trust"
    against = _counterpart(one, baseline)
    if against is None:
        return
    if found := settings_changed(against.config, configuration(one.record)):
        yield f"The configuration is not the baseline's: {named(found)}."
    if around := listed(changes(against.environment, environment(one.record))):
        yield f"Changed since the baseline, likeliest cause first: {around}."


def _why_moved(candidates: list[Candidate]) -> str | None:
    """What moved numbers of runs that the baseline has with the same seed and configuration.

    None where it has not all of them so, or where nothing changed: what must repeat fails then.
    """
    found: list[Change] = []
    for one in candidates:
        if one.twin is None:
            return None
        if settings_changed(one.twin.run.config, configuration(one.record)):
            return None
        around = changes(one.twin.run.environment, environment(one.record))
        if any(change.name.startswith(MEASURED) for change in around):
            return None
        found += around
    why = explanation(found)
    if why is None:
        return None
    advice = (
        "If it was meant to, write the baseline again."
        if list(causes(found)) == ["code"]
        else "So runs need not repeat here, and the bands decide."
    )
    return f"Numbers are not those of the baseline's runs of the same seeds: {why}. {advice}"
