"""The rules that a table's rows make: its instructions, seeds, data, budget, hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.records.files import Run, StageRecord
from leaderboard.analysis.runs import Group
from leaderboard.regression.check import own_items
from leaderboard.submission.data import equal_data
from leaderboard.submission.findings import Finding, each
from leaderboard.submission.offer import Offer, seeds_of
from leaderboard.submission.settings import Change, changes, named_in, of_kind


def against(new: Offer, table: list[Group]) -> list[Finding]:
    """What is to be said of the offer beside the rows of its table, of which there is one."""
    plain = [group for group in table if not group.is_variant] or table
    usual = max(plain, key=lambda group: (len(group.ok), len(group.runs[0].record.stages)))
    found = changes(new.runs[0].record.config, usual.runs[0].record.config)
    return [
        *_new_row(new, table),
        *_evaluation(new, table, of_kind(found, "evaluation")),
        *_seeds(new, table),
        *equal_data(new.runs, table, of_kind(found, "data")),
        *_budget(new, table, of_kind(found, "budget")),
        *_hyperparameters(new, of_kind(found, "hyperparameter")),
    ]


def _new_row(new: Offer, table: Sequence[Group]) -> list[Finding]:
    label = new.group.label
    if any(group.label == label for group in table):
        text = f"the table has a row {label}: `python -m bench check` holds new runs against it"
        return [Finding("new row", "refused", text)]
    return [Finding("new row", "ok", f"the table has no {label} but these runs")]


def _evaluation(new: Offer, table: list[Group], found: list[Change]) -> list[Finding]:
    """Every seed was measured on the instructions of the table, in the same way."""
    texts = [f"measured otherwise: {change}" for change in found]
    items = [item for group in table for own in group.items.values() for item in own]
    asked = {(item.index, item.prompt_sha) for item in items}
    for run in new.runs:
        own = {(item.index, item.prompt_sha) for item in own_items(run)[0]}
        if own != asked:
            among = f"{len(own & asked)} of its {len(own)} instructions"
            texts.append(f"{run.record.run_id}: {among} are among the table's {len(asked)}")
    return each("evaluation", "refused", texts, f"the table's {len(asked)} instructions")


def _seeds(new: Offer, table: Sequence[Group]) -> list[Finding]:
    """All seeds of the row that has most: rows are paired by seed."""
    wanted = set(max(table, key=lambda group: len(group.ok)).ok)
    missing = wanted - {run.record.seed for run in new.runs}
    text = f"the rows have {seeds_of(list(wanted))} and are paired by them; missing: "
    texts = [text + seeds_of(list(missing))] if missing else []
    return each("seeds", "refused", texts, f"the rows' {len(wanted)}")


def _budget(new: Offer, table: Sequence[Group], found: list[Change]) -> list[Finding]:
    """No more steps, rollouts or tokens a response than the rows had; less is its own loss."""
    rows = [run for group in table for run in group.ok.values()]
    more = [f"more than the rows had: {change}" for change in found if change.is_more]
    more += [text for run in new.runs for text in _too_many_steps(run, rows)]
    if more:
        return [Finding("budget", "refused", text) for text in more]
    texts = [f"less than the rows had: {change}" for change in found]
    texts += [text for run in new.runs for text in _many_tokens(run, rows)]
    steps = ", ".join(f"{name} {most}" for name, most in _most_steps(rows).items())
    return each("budget", "differs", texts, f"no more than the rows had (steps: {steps})")


def _trained(run: Run) -> list[StageRecord]:
    return [stage for stage in run.record.stages if stage.steps]


def _most_steps(rows: Sequence[Run]) -> dict[str, int]:
    """By stage, the most that a row had."""
    most: dict[str, int] = {}
    for stage in (stage for run in rows for stage in _trained(run)):
        most[stage.name] = max(most.get(stage.name, 0), stage.steps or 0)
    return most


def _too_many_steps(run: Run, rows: Sequence[Run]) -> Iterator[str]:
    """Stages with more steps than the rows'; one that they lack stands for those that it lacks."""
    most, own = _most_steps(rows), {stage.name: stage.steps or 0 for stage in _trained(run)}
    instead = max((n for name, n in most.items() if name not in own), default=0)
    for name, steps in own.items():
        if steps > (allowed := most.get(name, instead or max(most.values(), default=0))):
            yield f"{run.record.run_id}: {name} took {steps} steps, of the rows at most {allowed}"


def _many_tokens(run: Run, rows: Sequence[Run]) -> Iterator[str]:
    """An algorithm with options of its own may draw more than the settings say."""
    last = [(own[-1].tokens or 0) for one in rows if (own := _trained(one))]
    stages = _trained(run)
    if stages and last and (stages[-1].tokens or 0) > max(last):
        yield (
            f"{run.record.run_id}: {stages[-1].name} took {stages[-1].tokens:,} tokens, of the "
            f"rows at most {max(last):,}"
        )


def _hyperparameters(new: Offer, found: list[Change]) -> list[Finding]:
    """What differs is said by the row's name, or by whoever submits it."""
    said = new.declared | set(named_in(new.group.label))
    if hidden := [change for change in found if change.field not in said]:
        flags = " ".join(f"--declare {change.field}" for change in hidden)
        listed = "; ".join(map(str, hidden))
        text = f"changed for this method alone and not declared: {listed}. To declare it: {flags}"
        return [Finding("hyperparameters", "refused", text)]
    if unused := sorted(new.declared - {change.field for change in found}):
        text = f"declared, but no hyperparameter that differs from the rows: {', '.join(unused)}"
        return [Finding("hyperparameters", "refused", text)]
    texts = [f"declared: {change}" for change in found]
    return each("hyperparameters", "differs", texts, "the rows'")
