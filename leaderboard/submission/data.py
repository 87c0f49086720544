"""Equal data: whether the runs' reward models learned from what those of the table learned from.

A stage's key hashes all that decides its result, so equal keys are equal data. Between other
versions of the code, keys differ and hashes of the pairs tell; older records have neither, and then
there are the configuration and the counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from bench.records.files import Run, StageRecord
from leaderboard.analysis.caveats import training_pairs
from leaderboard.analysis.runs import Group
from leaderboard.submission.findings import Finding
from leaderboard.submission.offer import seeds_of
from leaderboard.submission.settings import Change

RULE = "data"
STAGES = ("preferences", "edits", "spans")  # those that make what reward models learn from
_SAME, _OTHER, _UNTOLD = "same", "other", "untold"


def equal_data(runs: Sequence[Run], table: Sequence[Group], found: list[Change]) -> list[Finding]:
    """What is to be said of the data that runs learned from.

    Args:
        runs: of the new row.
        table: the published rows.
        found: the settings of data that differ from theirs.
    """
    findings = [Finding(RULE, "refused", f"other data: {change}") for change in found]
    findings += [Finding(RULE, "refused", text) for run in runs for text in _pairs(run, table)]
    seeds: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        seeds[_compared(run, _of_seed(table, run.record.seed))].append(run.record.seed)
    if others := seeds.get(_OTHER):
        text = (
            f"the pairs or edits of {seeds_of(others)} are others than the published rows', by "
            "hash: another machine or version of the code samples otherwise"
        )
        findings.append(Finding(RULE, "differs", text))
    if findings:
        return findings
    if not any(_stages(run) for run in runs):
        return [Finding(RULE, "ok", "equal settings; no pairs were used")]
    known = [f"equal by hash: {seeds_of(seeds[_SAME])}"] if _SAME in seeds else []
    untold = "equal settings and counts, no published hash to compare"
    known += [f"{untold}: {seeds_of(seeds[_UNTOLD])}"] if _UNTOLD in seeds else []
    return [Finding(RULE, "ok", "; ".join(known))]


def _of_seed(table: Sequence[Group], seed: int) -> list[Run]:
    return [group.ok[seed] for group in table if seed in group.ok]


def _compared(run: Run, others: Sequence[Run]) -> str:
    """How the data of a run compare with those of the published runs of its seed."""
    verdicts = {
        _stage(stage, [_stages(other).get(name) for other in others])
        for name, stage in _stages(run).items()
    }
    return next((verdict for verdict in (_OTHER, _UNTOLD) if verdict in verdicts), _SAME)


def _stages(run: Run) -> dict[str, StageRecord]:
    return {stage.name: stage for stage in run.record.stages if stage.name in STAGES}


def _stage(own: StageRecord, found: Sequence[StageRecord | None]) -> str:
    others = [stage for stage in found if stage is not None]
    hashes = {stage.data_sha for stage in others} - {None}
    if any(stage.key == own.key for stage in others) or own.data_sha in hashes:
        return _SAME
    return _OTHER if hashes and own.data_sha is not None else _UNTOLD


def _pairs(run: Run, table: Sequence[Group]) -> Iterator[str]:
    """Where a reward model learned from another number of pairs than all of the table."""
    own, seed = training_pairs(run.record), run.record.seed
    known = [n for other in _of_seed(table, seed) if (n := training_pairs(other.record))]
    if own is not None and known and own > max(known):
        yield f"seed {seed}: {own:,} training pairs, of the rows at most {max(known):,}"
