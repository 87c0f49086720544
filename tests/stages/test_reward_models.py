"""The reward model stage: which rows it learns from, and what it tells of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.config.run import RunConfig
from bench.data import Comparison, Preference, Ranking, write_rows
from bench.models.heads import Granularity
from bench.pipeline.curve import read_curve
from bench.pipeline.progress import Progress
from bench.pipeline.stage import Context
from bench.plugins.registry import OBJECTIVES
from bench.stages import reward_models
from bench.stages.chosen import Chosen
from bench.stages.pairs import PREFERENCES, RANKINGS, SAMPLES, warnings
from bench.stages.reward_models import build_reward_model, representative
from tests.tiny import tiny_backbone

PAIRS = [
    Preference(prompt="Go.", chosen="red house", rejected="blue"),
    Preference(prompt="Go.", chosen="old", rejected="old"),
]
RANKED = [
    Ranking(prompt="Go.", responses=["red house", "blue", "far"], ranks=[0, 1, 2]),
    Ranking(prompt="Go.", responses=["old", "old", "far"], ranks=[0, 1, 2]),
]


def build(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    granularity: Granularity,
    objective: str = "comparison",
    *,
    rankings: bool = False,
    drawn: list[list[int]] | None = None,
) -> tuple[dict[str, Any], str]:
    """Counts and what was said on standard error; `drawn` are the ids of the samples."""
    pairs, samples = tmp_path / "pairs", tmp_path / "samples"
    for folder in (pairs, samples):
        folder.mkdir()
    write_rows(pairs / PREFERENCES, PAIRS)
    if rankings:
        write_rows(pairs / RANKINGS, RANKED)
    backbone = tiny_backbone()
    tokens = backbone.tokens
    if drawn is None:
        drawn = [tokens.response(text) for text in ("red", "blue house", "old")]
    rows = [
        Comparison(
            prompt="Go.", output_1=text, output_2=text, preference=None, ids_1=ids, ids_2=ids
        )
        for ids in drawn
        for text in [tokens.text(ids)]
    ]
    write_rows(samples / SAMPLES, rows)
    monkeypatch.setattr(reward_models, "load_sft", lambda context, folder: backbone)
    said = io.StringIO()
    context = Context(
        RunConfig.model_validate({"reward_model": {"max_length": 8}}),
        suite=None,
        progress=Progress(Console(file=said, force_terminal=False)),
        answers=tmp_path,
    )
    out = tmp_path / "out"
    out.mkdir()
    learns = Chosen.of(OBJECTIVES, objective, None)
    return build_reward_model(context, out, [tmp_path, pairs, samples], granularity, learns), (
        said.getvalue()
    )


def test_what_was_left_out_or_cut_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, said = build(tmp_path, monkeypatch, "segment")
    assert (counts["pairs"], counts["identical"]) == (1, 1)
    assert "segment reward model: 1 of 2 pairs are twice the same response" in said
    constants = json.loads((tmp_path / "out" / "reward_model.json").read_text())
    assert constants["granularity"] == "segment"
    assert [row["step"] for row in read_curve(tmp_path / "out")] == [1, 2]  # passes


def test_clean_data_need_no_words() -> None:
    clean = {"pairs": 3, "identical": 0, "truncated": 0}
    assert warnings(clean, "reward_model.max_length = 99") == []
    (line,) = warnings(clean | {"truncated": 4}, "reward_model.max_length = 99")
    assert line.startswith("4 responses cut to reward_model.max_length = 99 tokens")


@pytest.mark.parametrize(
    ("granularity", "objective", "pairs"),
    [("sequence", "comparison", 5), ("token", "comparison", 5), ("token", "eq4", 1)],
)
def test_rankings_take_the_place_of_pairs_unless_the_loss_needs_pairs(
    granularity: Granularity,
    objective: str,
    pairs: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three pairs of the first ranking, two of the second; one pair of the pairs."""
    counts, _ = build(tmp_path, monkeypatch, granularity, objective, rankings=True)
    assert (counts["pairs"], counts["identical"]) == (pairs, 1)


@pytest.mark.parametrize(
    ("finished", "cut_off", "kept"), [(3, 1, 3), (1, 1, 1), (1, 2, 3), (0, 2, 2)]
)
def test_cut_off_samples_do_not_set_the_scale_unless_most_are(
    finished: int, cut_off: int, kept: int
) -> None:
    tokens = tiny_backbone().tokens
    whole = tokens.response("red house")
    samples = [("Go.", whole)] * finished + [("Go.", whole[:-1])] * cut_off
    found = representative(samples, tokens)
    assert found == samples[:kept]


def test_a_model_is_normalised_on_the_samples_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut-off sample more changes neither constant."""
    texts = ["red", "blue house", "old"]
    ids = [tiny_backbone().tokens.response(text) for text in texts]
    found = []
    for folder, samples in (("without", ids), ("with", [*ids, ids[1][:-1]])):
        (tmp_path / folder).mkdir()
        counts, _ = build(tmp_path / folder, monkeypatch, "sequence", drawn=samples)
        assert counts["normalised_on"] == 3
        found.append(json.loads((tmp_path / folder / "out" / "reward_model.json").read_text()))
    assert found[0] == found[1]
