"""The best of n: what is kept, what the rounds draw, and that a stopped attempt goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.config.run import RunConfig
from bench.errors import Diverged
from bench.models.backbone import Backbone
from bench.models.rollout import Sampling, sample
from bench.pipeline.progress import Progress
from bench.pipeline.stage import Context
from bench.stages.best import Best, Kept
from bench.training.checkpoints import Checkpoints
from bench.training.experience import Rollout
from tests.tiny import stop_often, tiny_backbone

PROMPTS = ["Go.", "Say red.", "Where is the old town?"]
SAMPLING = Sampling(12)


@dataclass(frozen=True)
class Said:
    """Scores a response by the mean of its ids, which every change of it moves."""

    name: str = "said"
    row_sum: str = "nothing in particular"

    def paid(self, rollout: Rollout) -> Tensor:
        """Nothing asks."""
        raise AssertionError

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,)."""
        return torch.tensor([sum(ids) / len(ids) for ids in rollout.batch.response_ids])


def drawing(n: int, source: Any = None) -> Best:
    backbone = tiny_backbone()
    stop_often(backbone)
    return Best(backbone, source or Said(), n, SAMPLING)


def rng(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context() -> Context:
    return Context(RunConfig(), None, Progress(), Path())


def rounds(backbone: Backbone, n: int) -> list[list[list[int]]]:
    """What n rounds draw, drawn by themselves: n times a response to each prompt."""
    ids, own = [backbone.tokens.prompt(text) for text in PROMPTS], rng()
    return [sample(backbone, None, ids, SAMPLING, own) for _ in range(n)]


def test_what_scores_highest_is_kept_and_of_equals_the_first() -> None:
    """Scores of the prompts in three rounds: 1, 3, 2; 5, 5, 4; -2, -3, -1."""
    kept = Kept.nothing(3)
    kept.look([[1], [2, 2], [3]], [1.0, 5.0, -2.0])
    kept.look([[4], [5], [6]], [3.0, 5.0, -3.0])
    kept.look([[7], [8], [9, 9, 9]], [2.0, 4.0, -1.0])
    assert kept == Kept([[4], [2, 2], [9, 9, 9]], [3.0, 5.0, -1.0], rounds=3, tokens=12)


def test_of_n_draws_the_argmax_is_kept(tmp_path: Path) -> None:
    best = drawing(5)
    (kept,) = best.of([(PROMPTS, rng())], context(), tmp_path)
    drawn = rounds(best.backbone, 5)
    mean = lambda ids: sum(ids) / len(ids)
    for i in range(len(PROMPTS)):
        assert kept.ids[i] == max((one[i] for one in drawn), key=mean)
        assert kept.scores[i] == pytest.approx(max(mean(one[i]) for one in drawn))
    assert kept.tokens == sum(len(ids) for one in drawn for ids in one)
    assert kept.ids not in drawn  # no round has them all


def test_one_draw_is_what_the_model_samples(tmp_path: Path) -> None:
    best = drawing(1)
    (kept,) = best.of([(PROMPTS, rng())], context(), tmp_path)
    assert [kept.ids] == rounds(best.backbone, 1)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_stopped_attempt_goes_on_as_if_it_had_not_been(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lists of prompts, three rounds each: stopped in the first, between, in the second."""
    parts = lambda: [(PROMPTS, rng(1)), (PROMPTS[:2], rng(2))]
    whole = drawing(3).of(parts(), context(), tmp_path / "whole")
    write, written = Checkpoints.write, 0

    def write_and_stop(self: Checkpoints, state: dict[str, Any]) -> None:
        nonlocal written
        write(self, state)
        written += 1
        if written == stop:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "due", lambda self: True)
        patch.setattr(Checkpoints, "write", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            drawing(3).of(parts(), context(), out)
    again = drawing(3)
    drawn: list[int] = []
    look = Kept.look
    monkeypatch.setattr(Kept, "look", lambda *args: (drawn.append(1), look(*args)))
    assert again.of(parts(), context(), out) == whole
    assert len(drawn) == 6 - stop


def test_a_score_that_is_no_number_names_its_source(tmp_path: Path) -> None:
    class Broken(Said):
        def scores(self, rollout: Rollout) -> Tensor:
            return super().scores(rollout) / 0

    with pytest.raises(Diverged, match="the token source 'said' gave a score of NaN or infinity"):
        drawing(2, Broken()).of([(PROMPTS, rng())], context(), tmp_path)
