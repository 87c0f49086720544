"""Metrics as stages write them and records keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.records.schema import Metric
from bench.stats import mean_interval

Metrics = dict[str, Metric | None]  # None: nothing to measure it on; not written


def mean_metric(values: list[float | None]) -> Metric | None:
    """Mean over instructions with its interval; None where every value is missing."""
    if all(value is None for value in values):
        return None
    return Metric.of(mean_interval(values))


def to_json(metrics: Metrics) -> dict[str, Any]:
    """What there is of `metrics`, JSON-able."""
    return {k: m.model_dump(mode="json") for k, m in metrics.items() if m is not None}


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write `metrics` as JSON."""
    path.write_text(json.dumps(to_json(metrics), indent=1) + "\n")
