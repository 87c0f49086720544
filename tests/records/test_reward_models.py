"""Records of reward models: a file each, which no reader of runs sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.records.files import Damage, RecordError, find_runs
from bench.records.reward_models import BestOf, RewardModelRecord, read, read_all, write
from bench.records.schema import Brought, DataSplit, Metric


def measured(name: str = "scores", accuracy: float = 0.7, **changes: Any) -> RewardModelRecord:
    """A record as `bench rm` writes it."""

    def rate(mean: float) -> Metric:
        return Metric(mean=mean, ci95=(mean - 0.1, mean + 0.1), n=50)

    steps = [(1, 0.0, 0.1), (2, 0.2, 0.3), (4, 0.6, 0.2)]
    fields: dict[str, Any] = {
        "name": name,
        "label": name,
        "model": Brought(name=name, kind="sequence classifier", granularity="sequence", sha="ab"),
        "suite": "testbed",
        "seed": 0,
        "responses": 4,
        "draws": 4,
        "config": {"suite": "testbed"},
        "data": {"held_out": DataSplit(n=50, sha="feed"), "draws": DataSplit(n=8, sha="beef")},
        "metrics": {
            "rm_accuracy.original": rate(0.6),
            "rm_accuracy.original_clean": rate(accuracy),
            "longer_wins.original_clean": rate(0.55),
            "rm_accuracy.chosen_longer": rate(0.8),
            "prefers_longer": rate(0.65),
            "prefix_localisation": rate(0.52),
            "prefix_accuracy.25": rate(0.5),
            "probe.rude": rate(0.75),
        },
        "best_of_n": [
            BestOf(n=n, kl_bound=kl, proxy=rate(kl), gold=rate(gold), ceiling=rate(0.3))
            for n, kl, gold in steps
        ],
        "keys": {"rm_bench": "0"},
        "seconds": 1.0,
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    return RewardModelRecord(**fields | changes)


def test_it_is_read_as_it_was_written_and_is_no_run(tmp_path: Path) -> None:
    record = measured()
    path = write(record, tmp_path)
    assert path == tmp_path / "reward_models" / "testbed" / "scores.json"
    assert read(path) == record
    assert find_runs(tmp_path) == ([], [])


def test_a_damaged_one_is_named_and_costs_no_other(tmp_path: Path) -> None:
    write(measured(), tmp_path)
    path = write(measured("other"), tmp_path)
    path.write_text(path.read_text().replace('"seed":', '"seeds":'))
    with pytest.raises(RecordError, match=r"other\.json: seed: Field required"):
        read(path)
    problems: list[str] = []
    assert [record.label for record in read_all(tmp_path, problems)] == ["scores"]
    (line,) = problems
    assert isinstance(line, Damage)
    assert "other.json: seed" in line
