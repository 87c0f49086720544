"""Sampling and annotating: pairs as ever, and rankings of more than two responses."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.run import RunConfig
from bench.data import Preference, Ranking, read_rows
from bench.pipeline.progress import Progress
from bench.stages import samples as samples_stage
from bench.stages.pairs import (
    PREFERENCES,
    RANKINGS,
    SAMPLES,
    training_pairs,
    training_rankings,
)
from bench.stages.preferences import build_preferences, ranks_of_winners
from bench.stages.samples import build_samples
from tests.tiny import tiny_backbone

TEXTS = ["red", "blue", "old red", "warm blue red", "far", "near far"]
TOKENS = tiny_backbone().tokens
IDS = TOKENS.response


class ByLength:
    """Prefers the longer response; three prompts."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        return [f"{split} {i}" for i in range(n)]

    def prefer(self, prompt: str, first: str, second: str, rng: random.Random, flip: float) -> int:
        self.asked.append((first, second))
        return int(len(second) > len(first))


def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, responses: int) -> tuple[Path, Any]:
    """Both stages for one training and two held-out prompts, with the texts of `TEXTS` drawn."""
    backbone = tiny_backbone()
    drawn = iter(TEXTS * 2)
    monkeypatch.setattr(samples_stage, "load_sft", lambda context, folder: backbone)
    monkeypatch.setattr(
        samples_stage,
        "sample",
        lambda model, adapter, ids, *rest: [backbone.tokens.response(next(drawn)) for _ in ids],
    )
    settings = {"pairs": 1, "held_out": 2, "responses": responses}
    suite = ByLength()
    context: Any = SimpleNamespace(
        config=RunConfig.model_validate({"preferences": settings}), suite=suite, progress=Progress()
    )
    for name, stage, inputs in (
        ("samples", build_samples, []),
        ("preferences", build_preferences, [tmp_path / "samples"]),
    ):
        (tmp_path / name).mkdir()
        assert stage(context, tmp_path / name, inputs or [tmp_path]) == {"pairs": 3}
    return tmp_path, suite


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_responses_are_pairs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First responses red, blue, old red; second ones warm blue red, far, near far."""
    folder, suite = build(tmp_path, monkeypatch, 2)
    assert [path.name for path in (folder / "samples").iterdir()] == [SAMPLES]
    assert [path.name for path in (folder / "preferences").iterdir()] == [PREFERENCES]
    first = {"output_1": "red", "output_2": "warm blue red", "preference": None}
    first_ids = {"ids_1": IDS("red"), "ids_2": IDS("warm blue red")}
    assert lines(folder / "samples" / SAMPLES)[0] == {
        "prompt": "preference 0",
        **first,
        **first_ids,
    }
    chosen = [("warm blue red", "red"), ("blue", "far"), ("near far", "old red")]
    assert lines(folder / "preferences" / PREFERENCES) == [
        {
            "prompt": f"preference {i}",
            "chosen": y_w,
            "rejected": y_l,
            "chosen_ids": IDS(y_w),
            "rejected_ids": IDS(y_l),
        }
        for i, (y_w, y_l) in enumerate(chosen)
    ]
    assert suite.asked == [("red", "warm blue red"), ("blue", "far"), ("old red", "near far")]
    assert training_rankings(folder / "preferences", RunConfig().preferences) == []


def test_three_responses_are_ranked_by_every_two_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first prompt has red, warm blue red, red: wins 1 (a tie goes to the first), 2, 0."""
    folder, suite = build(tmp_path, monkeypatch, 3)
    three = ["red", "warm blue red", "red"]
    samples = read_rows(folder / "samples" / RANKINGS, Ranking)
    drawn = {"response_ids": [IDS(text) for text in three]}
    assert samples[0] == Ranking(prompt="preference 0", responses=three, ranks=[0, 0, 0], **drawn)
    found = read_rows(folder / "preferences" / RANKINGS, Ranking)
    assert found[0] == Ranking(prompt="preference 0", responses=three, ranks=[1, 0, 2], **drawn)
    assert len(suite.asked) == 9
    config = RunConfig.model_validate({"preferences": {"pairs": 1}}).preferences
    assert training_rankings(folder / "preferences", config) == found[:1]
    assert training_pairs(folder / "preferences", config, TOKENS) == [
        Preference(
            prompt="preference 0",
            chosen="warm blue red",
            rejected="red",
            chosen_ids=IDS("warm blue red"),
            rejected_ids=IDS("red"),
        )
    ]


def test_a_response_that_wins_more_ranks_higher_and_equal_wins_tie() -> None:
    """Wins 2, 0, 2, 1, 1 of five responses: ranks 0, 2, 0, 1, 1."""
    assert ranks_of_winners([0, 2, 3, 0, 2, 4], 5) == [0, 2, 0, 1, 1]
    assert ranks_of_winners([1], 2) == [1, 0]
    assert ranks_of_winners([0, 1, 2], 3) == [0, 0, 0]
