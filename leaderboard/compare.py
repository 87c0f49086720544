"""Every label against one of them: paired by seed and instruction, Holm-corrected."""

import csv
import difflib
import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from leaderboard.rows import DASH, Grid, interval, number, probability, to_markdown, to_rich

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Comparison:
    """One label minus the base.

    Attributes:
        p_holm: p after Holm over all labels compared with the base.
        detectable: smallest true difference found with 80 % power, uncorrected at 5 %.
        basis: what the interval speaks of: `bench.stats.CROSSED` or `ONE_RUN`.
        note: why there are no numbers, "" where there are.
    """

    label: str
    base: str
    metric: str
    mean: float | None = None
    standard_error: float | None = None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    p_holm: float | None = None
    seeds: int = 0
    instructions: int = 0
    detectable: float | None = None
    basis: str = ""
    note: str = ""

    @property
    def significant(self) -> bool:
        """At 5 %, after Holm."""
        return self.p_holm is not None and self.p_holm <= 0.05


def compare(
    results: Path,
    suite: str | None,
    base_label: str,
    metric: str = "win_rate",
    problems: list[str] | None = None,
) -> list[Comparison]:
    """Paired differences of every label to `base_label`, largest first.

    Only what shares reference, judge and judge prompt with the base is compared. What cannot be
    compared is in the list too, with a note and without numbers.

    Args:
        results: folder of runs.
        suite: this suite only; None = the first (largest) table that holds the base.
        base_label: as the leaderboard writes it, such as "sft".
        metric: a key of the items: win_rate, gold_score, length, ...
        problems: receives a line for each thing that is wrong with the runs.

    Raises:
        UserError: if there is no such folder, suite, label, or metric.
    """
    from leaderboard.aggregate import difference
    from leaderboard.runs import Instructions, load

    grouped, wrong = load(results, suite)
    if problems is not None:
        problems += wrong
    labels = sorted({group.label for groups in grouped.values() for group in groups})
    for groups in grouped.values():
        by_label = {group.label: group for group in groups}
        if base_label in by_label:
            break
    else:
        unreadable = "".join(f"; {line}" for line in wrong[:1])
        raise UserError(_unknown(f"label in {results} is", base_label, labels) + unreadable)
    base, instructions = by_label[base_label], Instructions(groups)
    known = sorted({name for items in base.items.values() for i in items for name in i.values})
    if metric not in known:
        raise UserError(_unknown(f"metric of {base_label!r} is", metric, known))
    found = [
        _comparison(group.label, base_label, metric, difference(group, base, instructions, metric))
        for group in groups
        if group is not base
    ]
    found = _with_holm(found)
    return sorted(found, key=lambda c: (c.mean is None, -(c.mean or 0.0), c.label))


def _unknown(what: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    none = "none; `python -m bench run` makes a run"
    return f"no {what} named {name!r}{hint} (one of: {', '.join(known) or none})"


def _comparison(label: str, base: str, metric: str, found: object) -> Comparison:
    from bench.stats import TwoWay, minimum_detectable_effect

    if not isinstance(found, TwoWay):
        return Comparison(label, base, metric, note=str(found))
    detectable = None
    if found.standard_error is not None:
        detectable = minimum_detectable_effect(found.standard_error, df=found.df)
    return Comparison(
        label=label,
        base=base,
        metric=metric,
        mean=found.mean,
        standard_error=found.standard_error,
        ci95=found.ci95,
        p_value=found.p_value,
        seeds=found.seeds,
        instructions=found.n,
        detectable=detectable,
        basis=found.basis,
    )


def _with_holm(found: list[Comparison]) -> list[Comparison]:
    from dataclasses import replace

    from bench.stats import holm

    adjusted = iter(holm([c.p_value for c in found if c.p_value is not None]))
    return [c if c.p_value is None else replace(c, p_holm=next(adjusted)) for c in found]


def grid(comparisons: list[Comparison]) -> Grid:
    """The comparisons as strings."""
    if not comparisons:
        note = "Only one method of this suite, reference and judge has runs; run another one."
        return Grid("Nothing to compare", [], [], [note])
    metric, base = comparisons[0].metric, comparisons[0].base
    unit = " (percentage points)" if number(metric, 1.0) == "100.0" else ""
    headers = ["Method", "Difference", "SE", "95 % interval", "p", "p (Holm)", "Detectable"]
    headers += ["Seeds", "Instructions"]
    rows = []
    for c in comparisons:
        if c.mean is None:
            rows.append([c.label, *[DASH] * 8])
            continue
        rows.append(
            [
                c.label,
                number(metric, c.mean, signed=True) + (" *" if c.significant else ""),
                number(metric, c.standard_error),
                interval(metric, c.ci95, signed=True),
                probability(c.p_value if c.p_value is not None else 1.0),
                probability(c.p_holm if c.p_holm is not None else 1.0),
                number(metric, c.detectable),
                str(c.seeds),
                str(c.instructions),
            ]
        )
    return Grid(f"{metric} minus that of {base}{unit}", headers, rows, _notes(comparisons))


def _notes(comparisons: list[Comparison]) -> list[str]:
    bases = sorted({c.basis for c in comparisons if c.basis})
    notes = [f"Paired by seed and instruction; intervals: {', '.join(bases)}."] if bases else []
    notes.append(
        f"*: p after Holm over {sum(c.p_value is not None for c in comparisons)} comparisons is at "
        "most .05. Detectable: the true difference found with 80 % power at 5 %, uncorrected."
    )
    return notes + [f"{c.label}: not compared: {c.note}." for c in comparisons if c.note]


def render(comparisons: list[Comparison]) -> "RenderableType":
    """For the terminal."""
    return to_rich(grid(comparisons))


def to_csv(comparisons: list[Comparison]) -> str:
    """One row a label, every number unrounded; rates are fractions."""
    names = [field.name for field in fields(Comparison) if field.name != "ci95"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, "ci_low", "ci_high"])
    for c in comparisons:
        writer.writerow([*(getattr(c, name) for name in names), *(c.ci95 or (None, None))])
    return file.getvalue()


def render_markdown(comparisons: list[Comparison]) -> str:
    """For the docs."""
    return to_markdown(grid(comparisons)) + "\n"
