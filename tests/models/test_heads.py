"""Reward and value heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.models import heads
from bench.models.heads import Granularity, RewardModel, ScalarHead, ValueModel, map_rows
from bench.training.reward_model import normalise
from tests.tiny import LORA, random_batch, stir, tiny_backbone


def reward_model(granularity: Granularity) -> RewardModel:
    backbone = tiny_backbone()
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    return RewardModel(backbone, "reward", head, granularity)


def test_head_starts_as_stated() -> None:
    head = ScalarHead(4095, generator=torch.Generator().manual_seed(0))
    assert head.weight.std().item() == pytest.approx(4096**-0.5, rel=0.05)
    assert not ScalarHead(8, zero=True).weight.any()
    assert ScalarHead(2, scale=10.0, zero=True).forward(torch.ones(1, 2)).item() == 0.0


def test_response_scores_by_hand() -> None:
    """Outputs 1 2 3 with two counted: the last is 2, the mean 1.5."""
    outputs = torch.tensor([[1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, True, False]])
    assert reward_model("sequence").response_scores(outputs, mask).tolist() == [2.0]
    assert reward_model("token").response_scores(outputs, mask).tolist() == [1.5]


@pytest.mark.parametrize("granularity", ["sequence", "token"])
def test_normalisation_makes_mean_0_and_std_1(granularity: Granularity) -> None:
    model = reward_model(granularity)
    batch = random_batch(model.backbone, 40)
    normalise(model, batch)
    scores = model.scores(batch)
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)


def test_token_scores_average_to_the_score() -> None:
    model = reward_model("token")
    batch = random_batch(model.backbone, 20)
    normalise(model, batch)
    tokens = model.token_scores(batch)
    assert (tokens[~batch.mask] == 0).all()
    torch.testing.assert_close(tokens.sum(1) / batch.lengths, model.scores(batch))


def test_results_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = reward_model("token")
    batch = random_batch(model.backbone, 20)
    found = []
    for size in (1, 7, 64):
        monkeypatch.setattr(heads, "SCORING_CHUNK", size)
        found.append(map_rows(model.outputs, batch))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0], found[2], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_value_does_not_see_the_token_that_a_reward_sees() -> None:
    model = reward_model("token")
    value = ValueModel(model.backbone, "reward", model.head)
    join = model.backbone.tokens.join
    one, other = join([[11, 12]], [[21, 22, 23]]), join([[11, 12]], [[21, 99, 23]])
    moved = (value.values(one) - value.values(other)).abs()[0] > 1e-6
    assert moved.tolist() == [False, False, True]
    moved = (model.outputs(one) - model.outputs(other)).abs()[0] > 1e-6
    assert moved.tolist() == [False, True, True]


def test_round_trip(tmp_path: Path) -> None:
    model = reward_model("token")
    batch = random_batch(model.backbone)
    normalise(model, batch)
    model.save(tmp_path)
    again = RewardModel.load(model.backbone, "again", tmp_path)
    assert again.granularity == "token"
    assert torch.equal(again.token_scores(batch), model.token_scores(batch))
