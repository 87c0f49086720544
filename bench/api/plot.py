"""`bench.plot`: figures of runs, which matplotlib can go on with."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.records.files import Damage, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.api.results import RunRecord

__all__ = ["curves"]


def curves(
    runs: RunRecord | Iterable[RunRecord], metric: str | None = None, against: str = "steps"
) -> Figure:
    """What was logged of the runs that ended ok: mean and 95 % interval over each label's seeds.

    Args:
        runs: those of one table, of `bench.load` or `bench.run`; runs without a curve add nothing.
        metric: a column of `RunRecord.curves`, as "kl" or "length" (docs/training.md says what
            each means); None: the score on validation prompts.
        against: "steps", "time", "kl", or "proxy", the reward that PPO maximises.

    A curve that cannot be read is left out, with a warning.

    Raises:
        UserError: the runs are of several tables, none has a curve, or there is no such metric.
    """
    from bench.api.results import RunRecord
    from leaderboard.analysis.runs import grouped
    from leaderboard.plots import Look, curve, draw, load_curves

    given = [runs] if isinstance(runs, RunRecord) else list(runs)
    problems: list[str] = []
    tables = list(grouped([Run(run, run.folder) for run in given], problems).values())
    if len(tables) > 1:
        raise UserError(
            f"these runs are of {len(tables)} tables (suite, base model, judge), whose numbers do "
            "not go into one figure: choose one of records.tables()"
        )
    groups = tables[0] if tables else []
    steps = load_curves(groups, problems)
    if steps.empty:
        why = "".join(f"; {line}" for line in problems[:1])
        raise UserError(f"none of these {len(given)} runs ended ok and has a curve{why}")
    for line in (line for line in problems if isinstance(line, Damage)):
        warnings.warn(f"left out: {line}", stacklevel=2)
    figure = draw(curve(steps, metric, against), Look.of([group.label for group in groups]))
    _have_shown(type(figure))
    return figure


def _have_shown(kind: type[Figure]) -> None:
    """Tell IPython, where it runs, how a figure is shown, as pyplot does with its first one."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    known = shell.display_formatter.formatters
    if not any(kind in known[form] for form in ("image/png", "image/svg+xml", "image/jpeg")):
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})
