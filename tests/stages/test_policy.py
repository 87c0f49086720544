"""What PPO is paid by."""

from __future__ import annotations

import pytest
import torch

from bench.models.heads import Granularity, RewardModel, ScalarHead
from bench.stages.batches import batch_of
from bench.stages.policy import _model_scores
from bench.training.experience import Rollout
from tests.tiny import LORA, stir, tiny_backbone

PROMPTS, OUTPUTS = ["Go.", "Say red."], ["A red house", "The old town is cold."]


def scored(granularity: Granularity, *, finished: bool) -> tuple[RewardModel, Rollout]:
    backbone = tiny_backbone()
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    model = RewardModel(backbone, "reward", head, granularity)
    tokens = backbone.tokens
    responses = [tokens.response(text) for text in OUTPUTS]
    if not finished:
        responses = [response[:-1] for response in responses]
    batch = tokens.join([tokens.prompt(text) for text in PROMPTS], responses)
    nothing = torch.zeros(batch.mask.shape)
    ended = torch.tensor([finished] * 2)
    return model, Rollout(PROMPTS, OUTPUTS, batch, ended, nothing, nothing)


@pytest.mark.parametrize("finished", [True, False])
def test_a_sequence_model_always_reads_its_score_off_eos(finished: bool) -> None:
    """A cut-off response gets an EOS: elsewhere the model was never trained, its score is noise."""
    model, rollout = scored("sequence", finished=finished)
    expected = model.scores(batch_of(model.backbone, list(zip(PROMPTS, OUTPUTS, strict=True))))
    torch.testing.assert_close(_model_scores(model.backbone, model, rollout), expected)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("granularity", ["segment", "token"])
def test_a_dense_model_scores_the_tokens_that_were_drawn(
    granularity: Granularity, finished: bool
) -> None:
    model, rollout = scored(granularity, finished=finished)
    scores = _model_scores(model.backbone, model, rollout)
    assert scores.shape == rollout.batch.mask.shape
    torch.testing.assert_close(scores, model.token_scores(rollout.batch))
