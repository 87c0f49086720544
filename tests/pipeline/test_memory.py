"""The most memory: a stage's own, not what an earlier one of the process held."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.config.run import RunConfig
from bench.pipeline import memory
from bench.pipeline.memory import PeakMemory
from bench.pipeline.stage import Stage, execute
from bench.pipeline.store import Store

CPU = torch.device("cpu")
LARGE, SMALL = 400, 60  # MiB


def hold(mib: int) -> None:
    held = torch.ones(mib, 2**20, dtype=torch.uint8)
    del held


def can_begin_anew() -> bool:
    return PeakMemory(CPU).since == "stage"


needs_reset = pytest.mark.skipif(not can_begin_anew(), reason="needs Linux's /proc")


@needs_reset
def test_a_later_stages_peak_is_its_own(tmp_path: Path) -> None:
    def holding(mib: int) -> Any:
        def build(*arguments: Any) -> dict[str, Any]:
            hold(mib)
            return {"tokens": mib}

        return build

    first = Stage("first", {}, (), ("bench.errors",), holding(LARGE))
    second = Stage("second", {}, (first,), ("bench.errors",), holding(SMALL))
    context: Any = SimpleNamespace(config=RunConfig.model_validate({"model": {"device": "cpu"}}))
    done = execute(second, context, Store(tmp_path))
    large, small = (executed.artifact.stats for executed in done)
    assert large["peak_memory_gib"] - small["peak_memory_gib"] > 0.25
    assert (small["peak_memory_since"], small["tokens"]) == ("stage", SMALL)
    assert small["ran_on"]["threads"] == torch.get_num_threads()


@needs_reset
def test_what_is_held_when_it_begins_counts() -> None:
    held = torch.ones(LARGE, 2**20, dtype=torch.uint8)
    assert PeakMemory(CPU).gib() > LARGE / 1024
    assert held[0, 0] == 1


def test_where_the_peak_cannot_begin_anew_it_is_the_processs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(LARGE)
    monkeypatch.setattr(memory, "_RESET", tmp_path / "none" / "clear_refs")
    peak = PeakMemory(CPU)
    assert peak.since == "process"
    assert peak.gib() > LARGE / 1024


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_peak_is_what_torch_held_there() -> None:
    device = torch.device("cuda:0")
    torch.ones(LARGE, 2**20, dtype=torch.uint8, device=device)
    peak = PeakMemory(device)
    torch.ones(SMALL, 2**20, dtype=torch.uint8, device=device)
    assert SMALL / 1024 <= peak.gib() < LARGE / 1024
