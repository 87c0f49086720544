"""What is drawn: for each label the points of a curve, with their intervals over seeds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import UserError, unknown
from bench.records.files import CurvePoint
from leaderboard.analysis.curves import SCORES
from leaderboard.views.columns import kind, probes

if TYPE_CHECKING:
    import pandas as pd

    from leaderboard.analysis.rows import Row
    from leaderboard.analysis.runs import Group

ACCURACIES = {
    "rm_accuracy.original": "original\npairs",
    "rm_accuracy.original_clean": "original,\nclean labels",
    "rm_accuracy.edited": "edits",
}
ROLLOUTS = {
    "kl": ("kl", "KL to the SFT policy", "KL of the rollouts, nats a response"),
    "reward_mass": ("reward-mass", "Reward mass", "sum of |reward| over tokens"),
    "length": ("length", "Response length", "tokens a response, of the rollouts"),
}
DAGGER = "†"
STRETCHED = "On the straight line between SFT and the seed's first validation, not measured there"
_IDS = ("label", "seed", "step")


@dataclass(frozen=True)
class Point:
    """A mean over seeds with its 95 % interval.

    `step` is one of training, a KL at which rows are compared, or a bar's metric. Of its seeds
    `stretched` lie on the line from SFT to their first validation: it is marked.
    """

    label: str
    step: float | str
    x: float
    mean: float
    low: float
    high: float
    seeds: int
    stretched: int = 0


@dataclass(frozen=True)
class Plot:
    """One plot, as the numbers that are drawn in it.

    Attributes:
        name: of its files.
        points: in the order of labels, then of steps.
        path: x is a result too: points are joined by step, and need not advance.
        bars: one bar a step, beside each other.
        by: what the steps of a curve are, in a word.
        first_read: the step whose values a page shows at first; None: the last.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    points: list[Point]
    path: bool = False
    bars: bool = False
    by: str = "step"
    first_read: float | None = None

    @property
    def labels(self) -> list[str]:
        """In the order of the points."""
        return list(dict.fromkeys(point.label for point in self.points))

    @property
    def metrics(self) -> list[list[str]]:
        """Of bars: those of held-out pairs, then those of planted errors; as there are any."""
        places = {str(point.step): point.x for point in self.points}
        names = sorted(places, key=lambda metric: places[metric])
        parts = [
            [name for name in names if name.startswith("probe.") is probe]
            for probe in (False, True)
        ]
        return [part for part in parts if part]

    def of(self, label: str) -> list[Point]:
        """The points of one label."""
        return [point for point in self.points if point.label == label]

    @property
    def note(self) -> str:
        """What mean and interval speak of, with the number of seeds."""
        seeds = {point.seeds for point in self.points}
        few, many = min(seeds), max(seeds)
        if many == 0:  # runs that ended before the judge are in no row's seeds
            return "95 % interval"
        if many == 1:
            return "one seed: no interval" if not self.bars else "95 % interval, one seed"
        count = f"{many} seeds" if few == many else f"{few} to {many} seeds"
        marked = f"; {DAGGER} before a first validation" * any(p.stretched for p in self.points)
        return f"mean and 95 % interval, {count}{marked}"


def make_plots(groups: "list[Group]", rows: "list[Row]", problems: list[str]) -> list[Plot]:
    """Every plot that the runs of one table have the numbers for.

    Args:
        groups: labels with their runs; those that ended ok enter.
        rows: of the same table, for the reward models' accuracies.
        problems: receives a line for each curve that cannot be read; it is left out.
    """
    steps = load_curves(groups, problems)
    plots = [*_score_plots(steps), *_rollout_plots(steps)] if not steps.empty else []
    suite = groups[0].runs[0].record.suite if groups else ""
    if bars := accuracies(suite, rows):
        title, label = "Reward-model accuracy", "accuracy (dashed: chance)"
        plots.append(Plot("rm-accuracy", title, "", label, bars, bars=True))
    return [plot for plot in plots if plot.points]


def load_curves(groups: "list[Group]", problems: list[str]) -> "pd.DataFrame":
    """All steps of all ok runs: label, seed, step, seconds and whatever was logged.

    ``reached_kl`` and ``reached_reward`` are those of the policy *after* the step, as the
    ``validation_*`` columns are. A run without a curve (sft has none) is left out, and one whose
    curve cannot be read is named in `problems`.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    curves = [(g.label, seed, own) for g in groups for seed, own in g.curves(problems).items()]
    for label, seed, points in curves:
        for point in points:
            ids = {"label": label, "seed": seed, "step": point.step}
            reached = {f"reached_{k}": _reached(points, point.step, k) for k in ("kl", "reward")}
            rows.append({**point.values, **reached, **ids})
    return pd.DataFrame(rows).sort_values(["label", "seed", "step"]) if rows else pd.DataFrame()


def _reached(points: list[CurvePoint], step: int, name: str) -> float | None:
    """A rollout's value of the policy after `step` steps: the next step's rollouts are its own.

    After the last step there are none: the last rollouts' value, one update earlier.
    """
    known = {point.step: v for point in points if (v := point.values.get(name)) is not None}
    return known.get(step + 1, known.get(step))


class _Axis(NamedTuple):
    """What a score is drawn against; `scale` takes the column to the label's unit."""

    name: str
    column: str
    title: str
    label: str
    scale: float = 1.0
    path: bool = False


def _axes(steps: "pd.DataFrame") -> list[_Axis]:
    """Steps, time (hours where a run takes two or more, else minutes), KL and proxy."""
    longest = float(steps["seconds"].max()) if "seconds" in steps else 0.0
    unit, scale = ("hours", 1 / 3600) if longest >= 7200 else ("minutes", 1 / 60)
    kl, proxy = "KL to the SFT policy, nats a response", "proxy: reward a response in PPO"
    return [
        _Axis("steps", "step", "training steps", "training step"),
        _Axis("time", "seconds", "time", f"{unit} of PPO, validation included", scale),
        _Axis("kl", "reached_kl", "KL", kl, path=True),
        _Axis("proxy", "reached_reward", "its proxy (over-optimisation)", proxy, path=True),
    ]


def _score_plots(steps: "pd.DataFrame") -> list[Plot]:
    """The validation score against each of the axes."""
    score = next((s for s in SCORES if s in steps and steps[s].notna().any()), None)
    if score is None:
        return []
    validated = steps.dropna(subset=[score])
    axes = [axis for axis in _axes(validated) if _is_known(validated, axis.column)]
    return [_score_plot(validated, score, axis) for axis in axes]


def _is_known(steps: "pd.DataFrame", column: str) -> bool:
    return column in steps and bool(steps[column].notna().any())


def _score_plot(steps: "pd.DataFrame", score: str, axis: _Axis) -> Plot:
    stem, label = score.removeprefix("validation_").replace("_", "-"), SCORES.get(score, score)
    points = summary(steps.assign(x=steps[axis.column] * axis.scale), score)
    title, on = f"{label} against {axis.title}", " on validation prompts" * (score in SCORES)
    title = title[0].upper() + title[1:]
    return Plot(f"{stem}-{axis.name}", title, axis.label, f"{label}{on}", points, axis.path)


def curve(steps: "pd.DataFrame", metric: str | None = None, against: str = "steps") -> Plot:
    """One metric of what `load_curves` gave.

    Args:
        steps: at least one.
        metric: a column, as "kl"; None: the score that checkpoints are chosen by.
        against: "steps", "time", "kl" or "proxy" (the reward that PPO maximises).

    Raises:
        UserError: there is no such metric, axis, or value.
    """
    columns = map(str, steps.columns)
    known = [name for name in columns if name not in _IDS and _is_known(steps, name)]
    score = metric or next((s for s in SCORES if s in known), "validation score")
    if score not in known:
        raise UserError(unknown("curve", score, known))
    drawn = steps.dropna(subset=[score])
    axes = {axis.name: axis for axis in _axes(drawn) if _is_known(drawn, axis.column)}
    if against not in axes:
        raise UserError(unknown("axis", against, axes))
    if score in ROLLOUTS and against == "steps":
        return _rollout_plot(drawn, score)
    return _score_plot(drawn, score, axes[against])


def _rollout_plots(steps: "pd.DataFrame") -> list[Plot]:
    return [_rollout_plot(steps, column) for column in ROLLOUTS if _is_known(steps, column)]


def _rollout_plot(steps: "pd.DataFrame", column: str) -> Plot:
    name, title, y_label = ROLLOUTS[column]
    points = summary(steps.assign(x=steps["step"]), column)
    return Plot(name, title, "training step", y_label, points)


def summary(steps: "pd.DataFrame", y: str) -> list[Point]:
    """Mean and t interval over the seeds of each label at each step; `x` is a mean over seeds.

    A seed without a finite value does not count; one seed alone has an interval of no width. A
    label's line ends where one of its seeds does: a mean over those that are left would jump, and
    would speak of the runs that went well.
    """
    import numpy as np

    from bench.stats import over_seeds

    finite = np.isfinite(steps[["x", y]].astype(float)).all(axis=1)
    known = steps[finite]
    seeds = known.groupby("label")["seed"].nunique()
    points = []
    for _, own in known.groupby(["label", "step"]):
        label, step = str(own["label"].iloc[0]), int(own["step"].iloc[0])
        if len(own) < seeds[label]:
            continue
        found = over_seeds(own[y].tolist())
        low, high = found.ci95 or (found.mean, found.mean)
        points.append(Point(label, step, float(own["x"].mean()), found.mean, low, high, found.n))
    return points


def bar_label(metric: str) -> str:
    """What stands below the bars of a reward model's accuracy."""
    return ACCURACIES.get(metric) or kind(metric).replace(" ", "\n")


def accuracies(suite: str, rows: "list[Row]") -> list[Point]:
    """Reward-model accuracies as points, the metric in the place of the step."""
    metrics = [*ACCURACIES, *probes(suite, rows)]
    present = [m for m in metrics if any(m in row.metrics for row in rows)]
    points = []
    for row in sorted(rows, key=lambda row: row.label):
        for x, metric in enumerate(present):
            if (cell := row.metrics.get(metric)) is not None:
                low, high = cell.ci95 or (cell.mean, cell.mean)
                low, high = max(0.0, low), min(1.0, high)
                points.append(Point(row.label, metric, x, cell.mean, low, high, len(row.seeds)))
    return points
