"""Figures of one suite, as SVG and PNG: learning curves, over-optimisation, reward models."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.record import CURVES, CurvePoint, read_curves

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from leaderboard.runs import Group

ACCURACIES = {
    "rm_accuracy.original": "original\npairs",
    "rm_accuracy.original_clean": "original,\nclean labels",
    "rm_accuracy.edited": "edits",
    "probe.wrong_value": "wrong\nvalue",
    "probe.omission": "omission",
    "probe.duplicate": "duplicate",
    "probe.constraint": "constraint",
    "probe.rude": "rude",
    "probe.hype": "hype",
}
MARKERS = "osD^vPX*<>"
SCORES = {"validation_gold": "gold score", "validation_win_rate": "win rate"}


def write_figures(
    results: Path, out: Path, suite: str, problems: list[str] | None = None
) -> list[Path]:
    """Draw what the records of `suite` allow; each figure as SVG and PNG.

    - ``<score>-steps``: validation score against PPO steps, mean and 95 % t band over seeds
    - ``<score>-kl``: the same against the KL reached at that step (mean over seeds)
    - ``rm-accuracy``: reward-model accuracy on held-out pairs and planted errors, 95 % intervals

    of the suite's largest table (one reference, one judge), where the score is the gold score, or
    the win rate where a suite has no gold score. The same records give the same SVG, byte for byte.

    A label has one colour in all of them. `problems` receives what is wrong with the runs.

    Raises:
        UserError: if there is no ok run of the suite, a curve cannot be read, nothing can be
            drawn, or `out` cannot be written.
    """
    import matplotlib as mpl

    from leaderboard.runs import load

    grouped, wrong = load(results, suite)
    if problems is not None:
        problems += wrong
    groups = next(iter(grouped.values()), [])
    if not any(group.ok for group in groups):
        raise UserError(f"{results}: no ok run of suite {suite!r}")
    curves = load_curves(groups)
    colours = palette([group.label for group in groups])
    score = next((s for s in SCORES if s in curves and curves[s].notna().any()), None)
    written: list[Path] = []
    with mpl.rc_context({"svg.hashsalt": "grainbench", "svg.fonttype": "none"}):
        if score is not None:
            name = score.removeprefix("validation_").replace("_", "-")
            written += _save(_draw(_against_steps, curves, colours, score), out / f"{name}-steps")
            if "validation_kl" in curves:
                written += _save(_draw(_against_kl, curves, colours, score), out / f"{name}-kl")
        bars = load_accuracies(results, suite)
        if not bars.empty:
            written += _save(_draw(_accuracy_bars, bars, colours, width=9.0), out / "rm-accuracy")
    if not written:
        raise UserError(f"{results}: no run of suite {suite!r} has a curve or a reward model")
    return written


def load_curves(groups: "list[Group]") -> "pd.DataFrame":
    """Validation points of all ok runs: label, seed, step and the ``validation_*`` columns.

    A run without a curve (sft has none) is left out.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for label, run in [(group.label, run) for group in groups for run in group.ok.values()]:
        points = read_curves(run.folder) if (run.folder / CURVES).exists() else []
        for point in points:
            values = {k: v for k, v in point.values.items() if k.startswith("validation_")}
            if any(v is not None for v in values.values()):
                ids = {"label": label, "seed": run.record.seed, "step": point.step}
                kl = {"validation_kl": _rollout_kl(points, point.step)}
                rows.append({**ids, **kl, **values})
    return pd.DataFrame(rows).sort_values(["label", "seed", "step"]) if rows else pd.DataFrame()


def _rollout_kl(points: list[CurvePoint], step: int) -> float | None:
    """KL of the policy after `step` steps: of the next step's rollouts, which it made.

    After the last step there are none: the last rollouts' KL, one update earlier.
    """
    known = {point.step: kl for point in points if (kl := point.values.get("kl")) is not None}
    return known.get(step + 1, known.get(step))


def palette(labels: list[str]) -> dict[str, Any]:
    """Label -> colour, the same in every figure."""
    import seaborn as sns

    return dict(zip(labels, sns.color_palette("colorblind", len(labels)), strict=True))


def _marker(label: str, colours: dict[str, Any]) -> str:
    """The marker that a label has in every figure."""
    return MARKERS[list(colours).index(label) % len(MARKERS)]


def load_accuracies(results: Path, suite: str) -> "pd.DataFrame":
    """Reward-model accuracies of the largest table: label, metric, mean, low, high."""
    import pandas as pd

    from leaderboard.aggregate import tables

    found, _ = tables(results, suite)
    rows = [
        {
            "label": row.label,
            "metric": metric,
            "mean": cell.mean,
            "low": max(0.0, cell.ci95[0]) if cell.ci95 else cell.mean,
            "high": min(1.0, cell.ci95[1]) if cell.ci95 else cell.mean,
        }
        for row in found[0].rows
        for metric in ACCURACIES
        if (cell := row.metrics.get(metric)) is not None
    ]
    return pd.DataFrame(rows)


def t_band(values: "pd.Series[float]") -> tuple[float, float]:
    """95 % t interval over seeds; no width where there is one."""
    from scipy import stats

    n, mean = len(values), float(values.mean())
    if n < 2:
        return mean, mean
    half = float(stats.t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


def _draw(
    paint: "Callable[..., None]",
    data: "pd.DataFrame",
    colours: dict[str, Any],
    *arguments: str,
    width: float = 8.0,
) -> "Figure":
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(width, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure.subplots(), data, colours, *arguments)
    return figure


def _against_steps(
    axes: "Axes", curves: "pd.DataFrame", colours: dict[str, Any], score: str
) -> None:
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator

    sns.lineplot(
        curves, x="step", y=score, hue="label", style="label", errorbar=t_band,
        markers={label: _marker(label, colours) for label in colours},
        dashes=False, palette=colours, ax=axes,
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _finish(axes, "PPO step", f"{SCORES[score]} on validation prompts", curves)


def _against_kl(axes: "Axes", curves: "pd.DataFrame", colours: dict[str, Any], score: str) -> None:
    for label in sorted(curves["label"].unique()):
        colour = colours[label]
        steps = curves[curves["label"] == label].dropna(subset=[score, "validation_kl"])
        by_step = steps.groupby("step")
        kl, mean = by_step["validation_kl"].mean(), by_step[score].mean()
        bands = [t_band(values) for _, values in by_step[score]]
        axes.plot(kl, mean, marker=_marker(label, colours), color=colour, label=label)
        low, high = [b[0] for b in bands], [b[1] for b in bands]
        axes.vlines(kl, low, high, color=colour, alpha=0.35)
    xlabel = "KL to the SFT policy, nats a response (mean over seeds at each step)"
    _finish(axes, xlabel, f"{SCORES[score]} on validation prompts", curves)


def _finish(axes: "Axes", xlabel: str, ylabel: str, curves: "pd.DataFrame") -> None:
    seeds = curves.groupby("label")["seed"].nunique()
    few, many = int(seeds.min()), int(seeds.max())
    count = f"{many} seeds" if few == many else f"{few} to {many} seeds"
    title = "one seed: no interval" if many == 1 else f"mean and 95 % interval over {count}"
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize="small", loc="left")
    if (inside := axes.get_legend()) is not None:
        inside.remove()
    axes.figure.legend(
        *axes.get_legend_handles_labels(), fontsize="small", loc="outside right upper"
    )


def _accuracy_bars(axes: "Axes", bars: "pd.DataFrame", colours: dict[str, Any]) -> None:
    metrics = [m for m in ACCURACIES if m in set(bars["metric"])]
    labels = sorted(bars["label"].unique())
    width = 0.8 / len(labels)
    for i, label in enumerate(labels):
        colour = colours[label]
        own = bars[bars["label"] == label].set_index("metric")
        places = [m for m in metrics if m in own.index]
        x = [metrics.index(m) + (i - (len(labels) - 1) / 2) * width for m in places]
        rows = own.loc[places]
        errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axes.bar(x, rows["mean"], width, color=colour, label=label)
        axes.errorbar(x, rows["mean"], yerr=errors, fmt="none", ecolor="0.25", elinewidth=1)
    axes.axhline(0.5, color="0.4", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(metrics)), [ACCURACIES[m] for m in metrics], fontsize="small")
    axes.set(ylim=(0, 1.02), ylabel="accuracy (dashed: chance)")
    axes.set_title("mean and 95 % interval", fontsize="small", loc="left")
    axes.grid(visible=False, axis="x")
    axes.figure.legend(fontsize="small", ncols=4, loc="outside upper center")


def _save(figure: "Figure", stem: Path) -> list[Path]:
    paths = [stem.with_name(stem.name + ".svg"), stem.with_name(stem.name + ".png")]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], dpi=160, metadata={"Software": None})
    except OSError as error:
        raise UserError(f"{stem.parent}: cannot be written: {error.strerror or error}") from error
    return paths
