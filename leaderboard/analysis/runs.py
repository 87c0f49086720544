"""Runs sorted into what may be compared, and their per-instruction values as arrays."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.config.presets import default_preset
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.records.files import (
    CurvePoint,
    Damage,
    Item,
    Record,
    RecordError,
    Run,
    contradictions,
    find_runs,
    read_items,
)
from bench.records.judges import JudgeQuality, marks_of, read_all
from bench.records.labels import NAMED, base_name, names_differences, settings, text
from leaderboard.analysis.curves import curve_of

Floats = NDArray[np.float64]
# What a run that ended so is worth beside another of the same seed; all other endings, 0.
_ENDINGS = {"ok": 3, "diverged": 2, "partial": 1}


class Comparability(NamedTuple):
    """What two records must share to be ranked together."""

    suite: str
    reference_sha: str
    judge: str
    judge_model: str | None
    template_sha: str | None
    base: str | None

    @classmethod
    def of(cls, run: Run) -> "Comparability":
        """The key of one run."""
        record = run.record
        judge = record.judge
        sha = record.reference.sha
        base = base_name(record.config)
        return cls(record.suite, sha, judge.name, judge.model, judge.template_sha, base)

    def difference(self, other: "Comparability") -> str:
        """The fields that differ, with both values."""
        pairs = zip(self._fields, self, other, strict=True)
        return "; ".join(f"{name}: {a} here, {b} there" for name, a, b in pairs if a != b)


@dataclass
class Group:
    """The runs of one label: those that ended ok by seed, and all of them."""

    label: str
    runs: list[Run]
    items: dict[int, list[Item]] = field(default_factory=dict)
    is_variant: bool = False
    _curves: dict[int, list[CurvePoint]] | None = field(default=None, repr=False, compare=False)

    def curves(self, problems: list[str]) -> dict[int, list[CurvePoint]]:
        """Seed -> steps, of the runs that ended ok: read once, for whatever looks at them.

        Args:
            problems: receives a line for each curve that cannot be read, the first time.
        """
        if self._curves is None:
            self._curves = {seed: curve_of(run, problems) for seed, run in self.ok.items()}
        return self._curves

    @property
    def ok(self) -> dict[int, Run]:
        """Seed -> run, of those that ended ok."""
        return {run.record.seed: run for run in self.runs if run.record.status == "ok"}

    @property
    def measured(self) -> dict[int, Run]:
        """Seed -> run, of those that ended well, some before the judge (`run --until`).

        Those have numbers of their reward model, say, and none of a judge: `ok` are not they.
        """
        known = ("ok", "partial")
        return {run.record.seed: run for run in self.runs if run.record.status in known}

    def seeds_with(self, metric: str) -> list[int]:
        """The seeds whose items hold at least one value of `metric`."""
        return sorted(
            seed
            for seed, items in self.items.items()
            if any(item.values.get(metric) is not None for item in items)
        )


def load(results: Path, suite: str | None) -> tuple[dict[Comparability, list[Group]], list[str]]:
    """All runs below `results`, by what may be compared, then by label.

    Raises:
        UserError: if the folder, or the suite in it, does not exist.
    """
    if not results.is_dir():
        raise UserError(f"{results}: no such folder of results")
    runs, problems = find_runs(results)
    if suite is not None:
        known = sorted({run.record.suite for run in runs})
        runs = [run for run in runs if run.record.suite == suite]
        if not runs and not problems:
            found = ", ".join(known) or "none; `python -m bench run` makes one"
            raise UserError(f"{results}: no run of suite {suite!r} (suites there: {found})")
    judges = read_all(results, problems)
    return grouped([_marked(run, judges) for run in runs], problems), problems


def _marked(run: Run, judges: Sequence[JudgeQuality]) -> Run:
    """The run, whose judge says what people's labels said against it."""
    record = run.record
    judge = record.judge
    marks = marks_of(judges, judge.name, judge.model, judge.template_sha)
    if not marks:
        return run
    told = [mark.model_dump() for mark in (*judge.marks, *marks)]
    judge = judge.model_copy(update={"details": judge.details | {"marks": told}})
    return Run(record.model_copy(update={"judge": judge}), run.folder)


def grouped(runs: list[Run], problems: list[str]) -> dict[Comparability, list[Group]]:
    """Runs by what may be compared, the most runs first, then by label; with their items.

    Args:
        runs: of any suites.
        problems: receives a line for each thing that is wrong with them.
    """
    tables = {key: _newest(own, problems) for key, own in _comparable(runs).items()}
    found = {
        key: [
            group
            for label in sorted({run.record.label for run in own})
            for group in _variants(label, [r for r in own if r.record.label == label], problems)
        ]
        for key, own in sorted(tables.items(), key=lambda kv: (-len(kv[1]), str(kv[0])))
    }
    for groups in found.values():
        for group in groups:
            _load_items(group, problems)
        _check_shared(groups, problems)
    return found


def group_of(label: str, runs: list[Run], problems: list[str]) -> Group:
    """Runs of one configuration and different seeds, with their items.

    Args:
        label: of all of them.
        runs: one a seed.
        problems: receives a line for each file of items that cannot be read or trusted.
    """
    group = Group(label, runs)
    _load_items(group, problems)
    return group


def _comparable(runs: list[Run]) -> dict[Comparability, list[Run]]:
    """The runs by what may be compared; what was never judged joins the most similar table.

    Such a run has no reference of its own. It stands with its suite: where the base model is its
    own, then where the judge is, then where its label is, then in the largest table. One that ended
    before the judge has numbers to show, and stands with no other base model.
    """
    tables: dict[Comparability, list[Run]] = defaultdict(list)
    unjudged = []
    for run in runs:
        if run.record.status == "ok" or run.record.reference.sha:
            tables[Comparability.of(run)].append(run)
        else:
            unjudged.append(run)
    judged = {key: list(own) for key, own in tables.items()}
    for run in unjudged:
        tables[_table_of(run, judged)].append(run)
    return tables


def _table_of(run: Run, judged: dict[Comparability, list[Run]]) -> Comparability:
    own, label = Comparability.of(run), run.record.label
    has_numbers = run.record.status == "partial"

    def fit(key: Comparability) -> tuple[bool, bool, bool, int, str]:
        same_judge = (key.judge, key.judge_model) == (own.judge, own.judge_model)
        has_label = any(other.record.label == label for other in judged[key])
        return key.base == own.base, same_judge, has_label, len(judged[key]), str(key)

    # In this order: the same base, the same judge, a table with this label, the largest.
    fitting = (
        key
        for key in judged
        if key.suite == own.suite and (key.base == own.base or not has_numbers)
    )
    return max(fitting, key=fit, default=own)


def _variants(label: str, runs: list[Run], problems: list[str]) -> list[Group]:
    """One group a configuration; that of the suite's default preset has the plain label.

    Labels name what differs from it, so there is one group, unless records are older than that:
    then the others' values are named here.
    """
    variants: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        variants[_config_key(run)].append(run)
    ordered = sorted(variants.items(), key=lambda kv: (*_precedence(kv[1]), kv[0]))
    usual = _settings(ordered[0][1][0].record)
    groups = [Group(label, ordered[0][1], is_variant=names_differences(label))]
    for key, found in ordered[1:]:
        own = _settings(found[0].record)
        differing = _differing(own, usual)
        name = ", ".join(f"{k}={text(own.get(k))}" for k in differing)
        if len(differing) > NAMED:
            name = f"config {hashlib.sha256(key.encode()).hexdigest()[:8]}"
            problems.append(
                f"{label} [{name}]: {len(differing)} values differ from {label}: "
                f"{', '.join(differing[:5])}, ..."
            )
        groups.append(Group(f"{label} [{name}]", found, is_variant=True))
    return groups


def _precedence(runs: list[Run]) -> tuple[bool, int, str]:
    """The default preset's runs come first, then those with most seeds, then the oldest."""
    is_default = any(run.record.preset == default_preset(run.record.suite) for run in runs)
    return not is_default, -len(runs), min(run.record.started_at for run in runs)


def _config_key(run: Run) -> str:
    return json.dumps(_settings(run.record), sort_keys=True)


def _differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def _newest(runs: list[Run], problems: list[str]) -> list[Run]:
    """One run a seed, so that none counts twice: the best status, then the newest."""
    repeated: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    for run in runs:
        repeated[run.record.label, run.record.seed, _config_key(run)].append(run)
    chosen = []
    for own in repeated.values():
        best = max(own, key=_worth)
        chosen.append(best)
        problems += [line for run in own if run is not best and (line := _why_not(run, best))]
    return sorted(chosen, key=lambda run: (run.record.label, run.record.seed))


def _worth(run: Run) -> tuple[int, str]:
    """A result is worth more than a failure, whichever is newer: a typo must not displace it."""
    return _ENDINGS.get(run.record.status, 0), run.record.finished_at


def _why_not(run: Run, best: Run) -> str:
    """Why a run gave way to another of its seed; "" if it failed and the other did not."""
    record, other = run.record, best.record
    of = f"of {record.label!r} with seed {record.seed}"
    if record.status == other.status:
        return f"{run.folder}: left out, for {best.folder.name} is a newer run {of}"
    is_newer = record.finished_at > other.finished_at
    if record.status == "interrupted" or not (is_newer or record.status == "diverged"):
        return ""
    return (
        f"{run.folder}: left out, its status is {record.status}; {best.folder.name}, "
        f"{'an older' if is_newer else 'a newer'} run {of}, has status {other.status}"
    )


def _load_items(group: Group, problems: list[str]) -> None:
    for seed, run in group.ok.items():
        try:
            group.items[seed] = read_items(run.folder)
        except RecordError as error:
            problems.append(Damage(error))
            continue
        for name, (stated, found) in contradictions(run.record, group.items[seed]).items():
            problems.append(
                Damage(
                    f"{run.folder}: metrics.{name}.mean is {stated:.6f} in record.json, but "
                    f"{found:.6f} over items.jsonl; the items are used"
                )
            )


def _check_shared(groups: list[Group], problems: list[str]) -> None:
    """Methods of one table share all but their own options; a variant's label says so already."""
    plain = [group for group in groups if group.ok and not group.is_variant]
    if not plain:
        return
    first = max(plain, key=lambda group: len(group.ok))
    usual = _shared(first)
    for group in plain:
        if differing := _differing(_shared(group), usual):
            keys = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
            problems.append(f"{group.label}: not held equal to {first.label}: {keys}")


def _shared(group: Group) -> dict[str, Any]:
    own = _settings(group.runs[0].record)
    apart = {"reward", *RunConfig.of_some}
    return {key: value for key, value in own.items() if _section(key) not in apart}


def _settings(record: Record) -> dict[str, Any]:
    """What makes the record another row, without what none of its stages reads."""
    unread = RunConfig.of_some - {stage.name for stage in record.stages}
    found = settings(record.config)
    return {key: value for key, value in found.items() if _section(key) not in unread}


def _section(key: str) -> str:
    return key.partition(".")[0]


class Instructions:
    """Per-instruction values of every label of one table, over one list of instructions.

    Attributes:
        keys: (index, prompt hash) of each, in the order of the columns of the arrays.
    """

    def __init__(self, groups: list[Group]) -> None:
        columns: dict[tuple[int, str], int] = {}
        for group in groups:
            for items in group.items.values():
                for item in items:
                    columns.setdefault((item.index, item.prompt_sha), len(columns))
        self._columns = columns
        self.keys = list(columns)

    def values(self, group: Group, metric: str, seeds: list[int]) -> Floats:
        """(S, N) values, NaN where missing.

        An instruction is what has the same index *and* the same prompt hash.
        """
        return self._known(group, metric, seeds)[0]

    def own(self, group: Group, metric: str, seeds: list[int]) -> Floats:
        """As `values`, over the instructions whose items have this metric's key for this label.

        A key without a value (null) is a missing value; an absent key was never asked for.
        """
        table, asked = self._known(group, metric, seeds)
        return table[:, asked]

    def _known(
        self, group: Group, metric: str, seeds: list[int]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """The values (S, N), and which instructions (N,) any of the items was asked for."""
        table = np.full((len(seeds), len(self.keys)), np.nan)
        asked = np.zeros(len(self.keys), dtype=bool)
        for row, seed in enumerate(seeds):
            for item in group.items[seed]:
                values = item.values
                if metric in values:
                    column = self._columns[item.index, item.prompt_sha]
                    asked[column] = True
                    table[row, column] = np.nan if (value := values[metric]) is None else value
        return table, asked
