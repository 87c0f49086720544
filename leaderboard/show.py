"""One run in the terminal: what it was, what it cost, what came out, and how it reads."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from bench.record import CurvePoint, Record, RecordError, Sample, read_curves, read_record
from bench.record import read_samples as _read_samples
from leaderboard.rows import DASH, Cell, Grid, flatten, interval, number, seconds, to_rich

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 48
MAX_SAMPLES = 3
CURVES = (
    "validation_gold", "validation_win_rate", "validation_kl", "validation_length",
    "reward_mean", "gold_train", "kl", "length",
)  # fmt: skip


def show(
    run_dir: Path, defaults: dict[str, Any] | None = None, samples: int = MAX_SAMPLES
) -> "RenderableType":
    """One run's record, curves and samples.

    Args:
        run_dir: the run's folder or its record.json.
        defaults: the preset's config; with it only the values that differ are listed.
        samples: how many generations to print.

    Raises:
        RecordError: if the record cannot be read. Curves or samples that cannot are named in
            their place.
    """
    record = read_record(run_dir)
    folder = run_dir if run_dir.is_dir() else run_dir.parent
    parts: list[RenderableType] = [
        header(record),
        to_rich(config_grid(record, defaults)),
        to_rich(stage_grid(record)),
        to_rich(metric_grid(record)),
    ]
    parts += _attempt(lambda: curve_lines(read_curves(folder)))
    parts += _attempt(lambda: [sample_text(s) for s in _choose(_read_samples(folder), samples)])
    return Group(*parts)


def _attempt(read: "Callable[[], Sequence[RenderableType]]") -> "Sequence[RenderableType]":
    try:
        return read()
    except RecordError as error:
        return [Text(str(error), style="yellow")]


def header(record: Record) -> Text:
    """Which run this is, how it ended, and where."""
    style = "bold green" if record.status == "ok" else "bold red"
    text = Text.assemble(
        (record.label, "bold"), f"  {record.suite}, preset {record.preset}, seed {record.seed}  ",
        (record.status.replace("_", " "), style),
    )  # fmt: skip
    if record.error:
        text.append(f"\n{record.error}", style="red")
    code, machine, judge = record.code, record.hardware, record.judge
    dirty = " with local changes" if code.dirty else ""
    where = [machine.gpu or machine.cpu, machine.dtype]
    where += [f"{machine.threads} threads" if machine.threads else None]
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(judge.counts.items()))
    model = f" ({judge.model})" if judge.model else ""
    reference = f"{record.reference.name} [{record.reference.sha[:8]}]"
    lines = [
        f"run {record.run_id}, {record.started_at} to {record.finished_at}",
        f"paper {record.paper}" if record.paper else "",
        f"code {(code.commit or 'unknown')[:10]}{dirty}, config {record.config_sha[:10]}",
        "on " + ", ".join(part for part in where if part) if any(where) else "",
        f"judge {judge.name}{model} against {reference}{': ' if counts else ''}{counts}",
    ]
    return text.append("\n" + "\n".join(line for line in lines if line))


def config_grid(record: Record, defaults: dict[str, Any] | None) -> Grid:
    """The config, or what differs from `defaults` in it."""
    own = flatten(record.config)
    if defaults is None:
        return Grid("Config", ["Key", "Value"], [[k, str(v)] for k, v in sorted(own.items())])
    usual = flatten(defaults)
    keys = sorted(k for k in own.keys() | usual.keys() if own.get(k) != usual.get(k))
    rows = [[k, str(own.get(k, DASH)), str(usual.get(k, DASH))] for k in keys]
    if not rows:
        return Grid(f"Config: that of preset {record.preset}", [], [])
    values = "1 value" if len(rows) == 1 else f"{len(rows)} values"
    title = f"Config: differs from preset {record.preset} in {values}"
    return Grid(title, ["Key", "This run", "Preset"], rows)


def stage_grid(record: Record) -> Grid:
    """What each stage cost when it was computed, and whether it was found in the store."""
    rows = [
        [
            stage.name,
            seconds(stage.seconds),
            "yes" if stage.cached else "no",
            DASH if stage.steps is None else str(stage.steps),
            DASH if stage.tokens is None else f"{stage.tokens:,}",
            DASH if stage.peak_memory_gib is None else f"{stage.peak_memory_gib:.2f}",
            stage.key[:10],
        ]
        for stage in record.stages
    ]
    paid = sum(stage.seconds for stage in record.stages if not stage.cached)
    full = sum(stage.seconds for stage in record.stages)
    title = f"Stages: {seconds(paid)} in this run, {seconds(full)} without the cache"
    return Grid(title, ["Stage", "Time", "Cached", "Steps", "Tokens", "Peak GiB", "Key"], rows)


def metric_grid(record: Record) -> Grid:
    """Every metric with its standard error and interval."""
    rows = []
    for name, metric in sorted(record.metrics.items()):
        cell = Cell(metric.mean, metric.standard_error, metric.ci95)
        missing = f" ({metric.missing} missing)" if metric.missing else ""
        rows.append(
            [
                name,
                number(name, cell.mean),
                number(name, cell.standard_error),
                interval(name, cell.ci95),
                f"{metric.n}{missing}" if metric.n is not None else DASH,
            ]
        )
    title = "Metrics (rates in per cent), given this training run"
    return Grid(title, ["Metric", "Mean", "SE", "95 % interval", "n"], rows)


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Values as a line of blocks, lowest to highest; what is not finite is a "!"."""
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    picked = [values[int(i * step)] for i in range(min(width, len(values)))]
    picked[-1] = values[-1]
    finite = [v for v in picked if math.isfinite(v)]
    low, span = min(finite, default=0.0), max(finite, default=0.0) - min(finite, default=0.0)
    top = len(BARS) - 1
    return "".join(
        (BARS[round((v - low) / span * top)] if span else BARS[0]) if math.isfinite(v) else "!"
        for v in picked
    )


def curve_lines(points: list[CurvePoint]) -> list[Text]:
    """A sparkline for each known curve, with its first, last and extreme values."""
    lines = [Text("Curves over PPO steps", style="bold")] if points else []
    for name in CURVES:
        found = [v for point in points if (v := point.values.get(name)) is not None]
        if not found:
            continue
        finite = [v for v in found if math.isfinite(v)] or [math.nan]
        extremes = f"min {min(finite):.3g}, max {max(finite):.3g}"
        ends = f"{found[0]:.3g} to {found[-1]:.3g} ({extremes})"
        lines.append(Text(f"{name:<20} {sparkline(found):<{WIDTH}} {ends}"))
    return lines


def _choose(samples: list[Sample], count: int) -> list[Sample]:
    """Evenly spread over the file, so that not only its head is seen."""
    if len(samples) <= count or count < 1:
        return samples[: max(count, 0)]
    return [samples[i * len(samples) // count] for i in range(count)]


def verdict(preference: float | None) -> str:
    """Who won, from a preference of 1 (reference) to 2 (model)."""
    if preference is None:
        return "no verdict"
    if preference in (0, 1.5):
        return "tie"
    return "better than the reference" if preference > 1.5 else "worse than the reference"


def _score(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def sample_text(sample: Sample) -> Text:
    """Prompt, output coloured by token reward, reference, verdict; extremes also in numbers."""
    decoding = "greedy" if sample.greedy else "sampled"
    result = f"score {_score(sample.score)}, {verdict(sample.preference)}"
    text = Text.assemble(
        ("\nPrompt ", "bold"), sample.prompt.strip(), "\n",
        (f"Output ({decoding}, {result}) ", "bold"),
    )  # fmt: skip
    rewards = [r for r in sample.token_rewards if math.isfinite(r)]
    if not rewards:
        text.append(sample.output.strip())
    else:
        scale = max(abs(r) for r in rewards) or 1.0
        for token, reward in zip(sample.tokens, sample.token_rewards, strict=True):
            text.append(token, style=_reward_style(reward / scale))
        pairs = zip(sample.token_rewards, sample.tokens, strict=True)
        ordered = sorted(pair for pair in pairs if math.isfinite(pair[0]))
        worst = ", ".join(f"{token.strip()!r} {r:+.2f}" for r, token in ordered[:3])
        best = ", ".join(f"{token.strip()!r} {r:+.2f}" for r, token in ordered[:-4:-1])
        text.append(f"\n  lowest rewards {worst}; highest {best}", style="dim")
    text.append(f"\nReference (score {_score(sample.reference_score)}) ", style="bold")
    return text.append(sample.reference.strip() + "\n")


def _reward_style(share: float) -> str:
    """Blue underlined above, red bold below: two signs beside the colour."""
    if not math.isfinite(share) or abs(share) < 1 / 3:
        return ""
    return "underline blue" if share > 0 else "bold red"
