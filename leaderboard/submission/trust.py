"""The rules that need no table: the records are whole, of one row, and say which code ran."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.plugins.entries import BUILT_IN
from bench.plugins.registry import METHODS
from bench.records.files import DIGEST, ITEMS, RECORD, Run
from bench.records.packages import PACKAGES
from leaderboard.analysis.caveats import caveats
from leaderboard.regression.check import faults, own_items, repeated_seeds
from leaderboard.submission.findings import Finding, each
from leaderboard.submission.offer import Offer
from leaderboard.submission.settings import changes


def trust(new: Offer) -> list[Finding]:
    """What is to be said of the runs themselves."""
    return [*_records(new), *_one_row(new), *_code(new), *_provider(new), *_caveats(new)]


def _records(new: Offer) -> list[Finding]:
    texts = list(repeated_seeds(new.runs))
    texts += [f"{run.record.run_id}: {text}" for run in new.runs for text in _problems(run)]
    count = "1 record" if len(new.runs) == 1 else f"{len(new.runs)} records"
    return each("record", "refused", texts, f"{count}: digest, items and means agree")


def _problems(run: Run) -> Iterator[str]:
    """Why a record cannot be published, without the path of this machine."""
    items, problems = own_items(run)
    for text in (*faults(run), *problems):
        yield text.replace(f"{run.folder}/", "")
    if not items and not problems:
        yield f"it has no {ITEMS}"
    if DIGEST not in json.loads((run.folder / RECORD).read_text(encoding="utf-8")):
        yield "it has no digest: run it again"


def _one_row(new: Offer) -> list[Finding]:
    """All seeds have one configuration, and the label is of their method."""
    first = new.runs[0].record
    texts = []
    for run in new.runs[1:]:
        if own := changes(run.record.config, first.config):
            others = "; ".join(f"{one.field}: {one.usual} and {one.own}" for one in own[:3])
            texts.append(f"{first.run_id} and {run.record.run_id} are set apart: {others}")
    if first.label.split()[:1] != [first.method]:
        texts.append(f"the label {first.label!r} does not begin with the method {first.method}")
    return each("one row", "refused", texts, "all seeds have one configuration")


def _code(new: Offer) -> list[Finding]:
    texts = []
    for run in new.runs:
        code = run.record.code
        if code.commit is None:
            texts.append(f"{run.record.run_id}: no commit is recorded")
        elif code.dirty:
            texts.append(
                f"{run.record.run_id}: ran with changes that the commit {code.commit[:8]} does not "
                "have: commit them and run again"
            )
    commits = sorted({(run.record.code.commit or "")[:8] for run in new.runs})
    return each("code", "refused", texts, f"commit {', '.join(commits)}, unchanged")


def _provider(new: Offer) -> list[Finding]:
    """Of another package's method the commit of the harness does not say what it did."""
    method = new.runs[0].record.method
    if any(one.name == method and one.source == BUILT_IN for one in METHODS.entries()):
        return []
    ours = {*PACKAGES, "python"}
    others = [run.record.packages.items() for run in new.runs]
    found = sorted({f"{name} {v}" for own in others for name, v in own if name not in ours})
    if found:
        text = f"the method is of {', '.join(found)}: say in the pull request where its source is"
        return [Finding("code", "differs", text)]
    text = f"no package is recorded that has {method}: install it, so that its version is known"
    return [Finding("code", "refused", text)]


def _caveats(new: Offer) -> list[Finding]:
    """What the table will warn of: unlike seeds, a judge's marks, models brought along."""
    label = f"{new.group.label}: "
    return [
        Finding("caveats", "differs", line.removeprefix(label)) for line in caveats([new.group])
    ]
