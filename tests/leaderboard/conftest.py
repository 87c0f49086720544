import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records.files import (
    Convergence,
    Hardware,
    JudgeRecord,
    Metric,
    Record,
    Reference,
    StageRecord,
    write_record,
)
from bench.stats import mean_interval

MakeRun = Callable[..., Path]
N = 60
REFERENCE = Reference(name="gold-reference", sha="abcdef012345")


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _items(win: float, seed: int, n: int) -> list[dict[str, Any]]:
    """Instructions of unequal difficulty, the same for every label; noise by label and seed."""
    difficulty = np.random.default_rng(7).normal(0, 0.1, n)
    noise = np.random.default_rng([seed, int(1000 * win)]).normal(0, 0.1, n)
    values = np.clip(win + difficulty + noise, 0, 1)
    return [
        {
            "index": i,
            "prompt_sha": hashlib.sha256(str(i).encode()).hexdigest()[:12],
            "win_rate": float(v),
            "gold_score": float(2 * v - 1),
        }
        for i, v in enumerate(values)
    ]


def _metrics(items: list[dict[str, Any]], seed: int) -> dict[str, Metric]:
    def of(name: str) -> Metric:
        return Metric.of(mean_interval([item[name] for item in items], bootstrap=False))

    edited = 0.9 + 0.01 * seed
    return {
        "win_rate": of("win_rate"),
        "gold_score": of("gold_score"),
        "kl": Metric(mean=3.5 + 0.1 * seed),
        "length": Metric(mean=30.0 + seed, standard_error=0.5),
        "rm_accuracy.original": Metric(mean=0.58, standard_error=0.02, ci95=(0.54, 0.62)),
        "rm_accuracy.edited": Metric(mean=edited, standard_error=0.01, ci95=(edited - 0.02, 1.0)),
        "rm_localisation": Metric(mean=0.7),
        "probe.rude": Metric(mean=1.0, standard_error=0.0, ci95=(0.96, 1.0), n=100),
    }


def _curves(win: float, seed: int) -> list[dict[str, Any]]:
    rows = []
    for step in range(20):
        row = {"step": step, "seconds": 2.0 * step, "tokens": 100 * step, "kl": 0.2 * step}
        row["reward_mean"] = 0.1 * step
        if step % 5 == 0:
            row["validation_gold"] = win * step / 20 + 0.01 * seed
            row["validation_win_rate"] = win * step / 20
            row["validation_kl"] = 0.2 * step
        rows.append(row)
    return rows


SAMPLE = {
    "prompt": "Who is it?",
    "output": "A cat.",
    "reference": "A dog.",
    "score": 0.5,
    "reference_score": 0.25,
    "preference": 2,
    "tokens": ["A", " cat", "."],
    "token_rewards": [0.1, -1.5, 0.9],
    "greedy": False,
}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write one synthetic run below ``tmp_path/results`` and return its folder."""

    def make(label: str, seed: int = 0, win: float = 0.5, n: int = N, **fields: Any) -> Path:
        suite = fields.pop("suite", "testbed")
        run_id = fields.pop("run_id", f"{label.replace(' ', '-')}-s{seed}")
        folder = tmp_path / "results" / suite / run_id
        items = _items(win, seed, n)
        status = fields.setdefault("status", "ok")
        defaults: dict[str, Any] = {
            "run_id": run_id,
            "suite": suite,
            "method": label.split(maxsplit=1)[0],
            "label": label,
            "paper": "arXiv:2406.02756",
            "preset": "testbed",
            "seed": seed,
            "config": {"seed": seed, "ppo": {"lr": 1e-4}},
            "config_sha": "c0ffee" * 4,
            "reference": REFERENCE if status == "ok" else Reference(name="", sha=""),
            "judge": JudgeRecord(name="gold", counts={"ok": n} if status == "ok" else {}),
            "hardware": Hardware(cpu="a CPU", cores=2, dtype="float32", threads=1),
            "stages": [
                StageRecord(name="sft", key="k1", seconds=80, cached=seed > 0),
                StageRecord(name="ppo", key="k2", seconds=200 + seed, cached=False, steps=100),
            ],
            "metrics": _metrics(items, seed) if status == "ok" else {},
            "convergence": Convergence(best_step=90, steps_to_90=40 + seed, seconds_to_90=80.0),
            "started_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:05:00Z",
        }
        write_record(Record(**{**defaults, **fields}), folder)
        _lines(folder / "items.jsonl", items)
        _lines(folder / "metrics.jsonl", _curves(win, seed))
        _lines(folder / "samples.jsonl", [SAMPLE])
        return folder

    return make


@pytest.fixture
def results(tmp_path: Path, make_run: MakeRun) -> Path:
    """Three labels, three seeds: b and c tie, a is far below; d diverged."""
    for seed in range(3):
        make_run("sft", seed, 0.30)
        make_run("ppo_rlhf", seed, 0.60)
        make_run("token_ppo loss=eq4", seed, 0.601)
    make_run("bad", 0, status="diverged", error="KL is NaN at step 12")
    return tmp_path / "results"
