"""One run in the terminal: what it was, what it cost, what came out, and how it reads."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from bench.config.run import flatten
from bench.grid import DASH, Grid, to_rich
from bench.preference import TIE, side
from bench.records.files import CURVES as CURVES_FILE
from bench.records.files import (
    SAMPLES,
    Brought,
    CurvePoint,
    RanOn,
    Record,
    RecordError,
    Sample,
    read_curves,
    read_record,
)
from bench.records.files import read_samples as _read_samples
from leaderboard.analysis.rows import Cell, interval, number, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS = "▁▂▃▄▅▆▇█"
WIDTH, MIN_WIDTH = 60, 12  # of a sparkline
NUMBERS_WIDTH = 58  # of what stands beside it
MAX_SAMPLES = 3
CURVES = (
    "validation_gold", "validation_heldout_rm", "validation_win_rate", "validation_length",
    "validation_kl", "loss", "accuracy", "reward", "reward_mass", "kl", "length", "repeat_share",
    "clip_fraction", "explained_variance",
)  # fmt: skip


def show(
    run_dir: Path,
    defaults: dict[str, Any] | None = None,
    samples: int = MAX_SAMPLES,
    preset: str = "",
) -> "RenderableType":
    """One run's record, curves and samples.

    Args:
        run_dir: the run's folder or its record.json.
        defaults: a preset's config; with it only the values that differ are listed.
        samples: how many generations to print.
        preset: whose `defaults` they are; "": the run's own.

    Raises:
        RecordError: if the record cannot be read. Curves or samples that cannot are named in
            their place.
    """
    record = read_record(run_dir)
    folder = run_dir if run_dir.is_dir() else run_dir.parent
    parts: list[RenderableType] = [
        header(record),
        to_rich(config_grid(record, defaults, preset)),
        to_rich(stage_grid(record)),
        to_rich(metric_grid(record)),
        *(to_rich(grid) for grid in detail_grids(record)),
    ]
    if record.policy_stage is not None:
        parts += _attempt(lambda: [Curves(read_curves(folder))])
    parts += _attempt(lambda: [sample_view(s) for s in _choose(_read_samples(folder), samples)])
    return Group(*parts)


def to_json(run_dir: Path, problems: list[str]) -> str:
    """One run's record, curve and samples, all of each, as a JSON document.

    Args:
        run_dir: the run's folder or its record.json.
        problems: receives a line for each file beside the record that cannot be read.

    Raises:
        RecordError: if the record cannot be read.
    """
    from leaderboard.views.json import document

    folder = run_dir if run_dir.is_dir() else run_dir.parent
    data: dict[str, Any] = {"folder": str(folder), "record": read_record(run_dir)}
    beside = {"curve": (CURVES_FILE, read_curves), "samples": (SAMPLES, _read_samples)}
    for name, (file, read) in beside.items():
        data[name] = None
        try:
            if (folder / file).exists():
                data[name] = read(folder)
        except RecordError as error:
            problems.append(str(error))
    return document("show", data)


def _attempt(read: "Callable[[], Sequence[RenderableType]]") -> "Sequence[RenderableType]":
    try:
        return read()
    except RecordError as error:
        return [Text(str(error), style="yellow")]


def header(record: Record) -> Text:
    """Which run this is, how it ended, and where."""
    style = {"ok": "bold green", "partial": "bold yellow"}.get(record.status, "bold red")
    ended = record.status.replace("_", " ")
    ended += f", until {record.until}" if record.until else ""
    text = Text.assemble(
        (record.label, "bold"), f"  {record.suite}, preset {record.preset}, seed {record.seed}  ",
        (ended, style),
    )  # fmt: skip
    if record.error:
        text.append(f"\n{record.error}", style="red")
    code, machine, judge = record.code, record.hardware, record.judge
    dirty = " with local changes" if code.dirty else ""
    where = [machine.gpu or machine.cpu, machine.dtype]
    where += [f"{machine.threads} threads" if machine.threads else None]
    counts = [f"{n} {outcome}" for outcome, n in sorted(judge.counts.items())]
    judged = ": " + ", ".join([*counts, *_dollars(judge.cost_usd)]) if counts else ""
    model = f" ({judge.model})" if judge.model else ""
    prompt = f", prompt {judge.template_sha[:8]}" if judge.template_sha else ""
    reference = f"{record.reference.name} [{record.reference.sha[:8]}]"
    editor = record.editor
    edited = ", ".join([editor.source, *_dollars(editor.cost_usd)]) if editor else ""
    lines = [
        f"run {record.run_id}, {record.started_at} to {record.finished_at}",
        f"paper {record.paper}" if record.paper else "",
        f"code {(code.commit or 'unknown')[:10]}{dirty}, config {record.config_sha[:10]}",
        f"method from its session, kept in method.py [{code.method_sha[:10]}]"
        if code.method_sha
        else "",
        "on " + ", ".join(part for part in where if part) if any(where) else "",
        f"judge {judge.name}{model}{prompt} against {reference}{judged}"
        if record.reference.sha
        else "nothing was judged",
        *(f"brought along: {_named(one)}" for one in record.brought.values()),
        f"editor {editor.name} ({edited})" if editor else "",
    ]
    text.append("\n" + "\n".join(line for line in lines if line))
    return text.append("".join(f"\n{mark}" for mark in judge.marks), style="bold red")


def _named(model: Brought) -> str:
    scored = [] if model.granularity is None else [f"{model.granularity} level"]
    content = f"commit {model.commit[:10]}" if model.commit else f"content {model.sha}"
    return f"{model.name} ({', '.join([model.kind, *scored, content])})"


def _dollars(cost: float | None) -> list[str]:
    return ["cost unknown" if cost is None else f"{cost:.2f} USD"]


def config_grid(record: Record, defaults: dict[str, Any] | None, preset: str = "") -> Grid:
    """The config, or what differs in it from `defaults`, those of `preset` or the run's own.

    A field that the record does not know was added to the harness after it: it is named apart, for
    nothing says that the run had another value.
    """
    own = flatten(record.config)
    if defaults is None:
        return Grid("Config", ["Key", "Value"], [[k, str(v)] for k, v in sorted(own.items())])
    usual, preset = flatten(defaults), preset or record.preset
    keys = sorted(k for k, value in own.items() if k not in usual or value != usual[k])
    rows = [[k, str(own[k]), str(usual.get(k, DASH))] for k in keys]
    newer = sorted(key for key in usual.keys() - own.keys() if usual[key] != {})
    notes = [f"Not in this record, which is older: {', '.join(newer)}."] if newer else []
    if not rows:
        return Grid(f"Config: that of preset {preset}", [], [], notes)
    values = "1 value" if len(rows) == 1 else f"{len(rows)} values"
    title = f"Config: differs from preset {preset} in {values}"
    return Grid(title, ["Key", "This run", "Preset"], rows, notes)


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
    headers = ["Stage", "Time", "Cached", "Steps", "Tokens", "Peak GiB", "Key"]
    return Grid(title, headers, rows, _ran_on(record))


def _ran_on(record: Record) -> list[str]:
    """What stages were computed on, a line each: one found in the store may be from elsewhere."""
    stages: dict[RanOn, list[str]] = {}
    for stage in record.stages:
        if stage.ran_on is not None:
            stages.setdefault(stage.ran_on, []).append(stage.name)
    lines = []
    for place, names in stages.items():
        threads = "1 thread" if place.threads == 1 else f"{place.threads} threads"
        packed = {True: ", batches packed", False: ", batches padded", None: ""}[place.packed]
        several = f", {place.processes} processes" if place.processes > 1 else ""
        lines.append(f"On {place.device}, {threads}{several}{packed}: {', '.join(names)}.")
    return lines


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


def detail_grids(record: Record) -> list[Grid]:
    """What judge and editor say of their work: models, dates, diagnostics."""
    editor = record.editor
    told = {"Judge": record.judge.details, "Editor": editor.details if editor else {}}
    return [
        Grid(f"{who}'s own report", ["What", "Value"], [[k, str(v)] for k, v in flat.items()])
        for who, details in told.items()
        if (flat := flatten(details))
    ]


def sparkline(values: Sequence[float], width: int) -> str:
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


@dataclass(frozen=True)
class Curves:
    """A sparkline for each known curve, as wide as there is room, with its ends and extremes."""

    points: list[CurvePoint]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(WIDTH, max(MIN_WIDTH, options.max_width - NUMBERS_WIDTH))
        rows = []
        for name in CURVES:
            found = [v for point in self.points if (v := point.values.get(name)) is not None]
            if found:
                finite = [v for v in found if math.isfinite(v)] or [math.nan]
                ends = (found[0], found[-1], min(finite), max(finite))
                rows.append([name, sparkline(found, width), *(f"{v:.3g}" for v in ends)])
        if rows:
            headers = ["Curve", "over steps", "first", "last", "min", "max"]
            yield to_rich(Grid("Curves", headers, rows))


def _choose(samples: list[Sample], count: int) -> list[Sample]:
    """Evenly spread over the file, so that not only its head is seen."""
    if len(samples) <= count or count < 1:
        return samples[: max(count, 0)]
    return [samples[i * len(samples) // count] for i in range(count)]


def verdict(preference: float | None) -> str:
    """Who won, from a preference of 1 (reference) to 2 (model)."""
    if preference is None:
        return "no verdict"
    return {
        "first": "worse than the reference",
        "tie": "tie",
        "second": "better than the reference",
    }[side(preference or TIE)]  # 0 is AlpacaEval's other way to write a tie


def _score(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def sample_view(sample: Sample) -> "RenderableType":
    """The prompt above output and reference, which stand beside each other with their scores."""
    decoding = "greedy" if sample.greedy else "sampled"
    verdicts = f"score {_score(sample.score)}, {verdict(sample.preference)}"
    beside = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    beside.add_column(Text(f"Output ({decoding}, {verdicts})"), ratio=1, overflow="fold")
    beside.add_column(
        Text(f"Reference (score {_score(sample.reference_score)})"), ratio=1, overflow="fold"
    )
    beside.add_row(_output_text(sample), Text(sample.reference.strip()))
    return Group(Text.assemble(("Prompt ", "bold"), sample.prompt.strip()), beside, Text())


def _output_text(sample: Sample) -> Text:
    """The output, coloured by token reward; the extremes also in numbers."""
    pairs = list(zip(sample.token_rewards, sample.tokens, strict=bool(sample.token_rewards)))
    ordered = sorted(pair for pair in pairs if math.isfinite(pair[0]))
    if not ordered:
        return Text(sample.output.strip())
    scale = max(abs(reward) for reward, _ in ordered) or 1.0
    text = Text()
    for reward, token in pairs:
        text.append(token, style=_reward_style(reward / scale))
    worst = ", ".join(f"{token.strip()!r} {r:+.2f}" for r, token in ordered[:3])
    best = ", ".join(f"{token.strip()!r} {r:+.2f}" for r, token in ordered[:-4:-1])
    return text.append(f"\nlowest rewards {worst}; highest {best}", style="dim")


def _reward_style(share: float) -> str:
    """Blue underlined above, red bold below: two signs beside the colour."""
    if not math.isfinite(share) or abs(share) < 1 / 3:
        return ""
    return "underline blue" if share > 0 else "bold red"
