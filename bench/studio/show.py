"""A study's report and export as tables."""

from __future__ import annotations

import json

from bench.grid import DASH, Grid, words
from bench.stats import Estimate
from bench.studio.export import Exported
from bench.studio.report import Report, Work
from bench.studio.tasks import Value
from bench.tables import shortened

_SHOWN = 10  # disagreements
_SAID = 60  # characters of what a person said


def report_tables(report: Report) -> list[Grid]:
    """Work, agreement, disagreements."""
    outcomes = ", ".join(f"{n} {status}" for status, n in report.outcomes.items())
    work = Grid(
        f"{report.task}: {report.items} items ({outcomes}), {report.golds} hidden",
        ["Person", "Answers", "Seconds", "95 % interval", "Hidden right", "95 % hidden"],
        [_work(one) for one in report.work],
    )
    agreement = Grid(
        f"Agreement on {report.several} items of several people"
        + f", {report.adjudicated} of them adjudicated" * bool(report.adjudicated),
        ["Measure", "Value", "95 % interval", "n"],
        [
            [one.name, *_numbers(one.estimate, 3), str(one.estimate.n) if one.estimate else DASH]
            for one in report.agreement
        ],
        notes=[f"{one.name}: {one.problem}." for one in report.agreement if one.problem],
    )
    shown = report.disagreements[:_SHOWN]
    if not shown:
        return [work, agreement]
    left = len(report.disagreements) - len(shown)
    listed = words(
        f"Disagreements, the {len(shown)} largest" if left else "Disagreements",
        ["Item", "Alike", "Prompt", "Said", "Decided by"],
        [
            [
                one.id or one.item,
                f"{one.alike:.2f}",
                shortened(one.prompt, _SAID),
                _said(one.said),
                one.adjudicated or DASH,
            ]
            for one in shown
        ],
    )
    return [work, agreement, listed]


def exported_line(exported: Exported, out: str) -> str:
    """What was written, and what was not."""
    outcomes = dict(exported.outcomes)
    rows = outcomes.pop("ok")
    others = "".join(f", {n} {status}" for status, n in outcomes.items())
    unchanged = f" ({exported.unchanged} unchanged)" if exported.unchanged else ""
    ruled = f", {exported.adjudicated} adjudicated" if exported.adjudicated else ""
    return f"{out}: {rows} of {exported.items} items{unchanged}{others}{ruled}"


def _work(one: Work) -> list[str]:
    return [one.person, str(one.answers), *_numbers(one.seconds, 1), *_numbers(one.gold, 2)]


def _numbers(estimate: Estimate | None, digits: int) -> tuple[str, str]:
    if estimate is None:
        return DASH, DASH
    mean = f"{estimate.mean:.{digits}f}"
    if estimate.ci95 is None:
        return mean, DASH
    return mean, "[{0:.{2}f}, {1:.{2}f}]".format(*estimate.ci95, digits)


def _said(said: dict[str, Value | None]) -> str:
    """Each person's value, without the word for it; a dash for one who gave none."""
    return "; ".join(
        f"{name}: {DASH if value is None else _plain(value)}" for name, value in said.items()
    )


def _plain(value: Value) -> str:
    if "spans" in value:
        marked = (f"{span['start']}-{span['end']} {span['kind']}" for span in value["spans"])
        return ", ".join(marked) or "nothing"
    [said] = value.values()
    return shortened(said, _SAID) if isinstance(said, str) else json.dumps(said)
