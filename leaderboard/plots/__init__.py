"""Plots of one table's runs: learning curves, over-optimisation, reward models; as SVG and PNG."""

from pathlib import Path

from bench.errors import UserError
from leaderboard.plots.data import Plot, curve, load_curves, make_plots
from leaderboard.plots.draw import draw, save
from leaderboard.plots.look import Look, dark

__all__ = [
    "Look", "Plot", "curve", "dark", "draw", "load_curves", "make_plots", "save", "write_figures",
]  # fmt: skip


def write_figures(
    results: Path, out: Path, suite: str, problems: list[str] | None = None
) -> list[Path]:
    """Draw what the records of `suite` allow; each plot as SVG and PNG.

    - ``<score>-steps``, ``<score>-time``, ``<score>-kl``: validation score against steps, time,
      and the KL reached at that step; mean and 95 % t interval over seeds
    - ``<score>-proxy``: the same against the reward that PPO maximises: over-optimisation
    - ``kl``, ``reward-mass``, ``length``: of the rollouts, at each step
    - ``matched-length``, ``-repeats``, ``-mass``, ``-score``: of validations, where each seed first
      reaches a KL (`leaderboard.analysis.stability`)
    - ``rm-accuracy``: reward-model accuracy on held-out pairs and planted errors, 95 % intervals

    of the suite's largest table (one reference, one judge), where the score is the gold score, or
    the win rate where a suite has no gold score. The same records give the same SVG, byte for byte.

    A label has one colour and one marker in all of them. `problems` receives what is wrong with
    the runs; a curve that cannot be read is left out.

    Raises:
        UserError: if there is no ok run of the suite, nothing can be drawn, or `out` cannot be
            written.
    """
    from leaderboard.analysis.aggregate import make_tables
    from leaderboard.analysis.runs import load
    from leaderboard.analysis.stability import stability
    from leaderboard.plots.matched import matched_plots

    grouped, wrong = load(results, suite)
    groups = next(iter(grouped.values()), [])
    if not any(group.ok for group in groups):
        raise UserError(f"{results}: no ok run of suite {suite!r}")
    plots = make_plots(groups, make_tables(grouped, wrong)[0].rows, wrong)
    if (found := stability(groups, wrong)) is not None:
        plots += matched_plots(found)
    if problems is not None:
        problems += dict.fromkeys(wrong)
    if not plots:
        raise UserError(f"{results}: no run of suite {suite!r} has a curve or a reward model")
    look = Look.of([group.label for group in groups])
    return [path for plot in plots for path in save(plot, look, out / plot.name)]
