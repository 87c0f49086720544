"""What PPO is paid by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.models.heads import Granularity, RewardModel, ScalarHead
from bench.plugins.protocols import TokenSource
from bench.stages.token_sources import GoldSource, RewardModelSource, checked, pay_by
from bench.training.experience import Rollout
from bench.training.optimisation import Diverged
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
    expected = model.scores(model.backbone.batch_of(list(zip(PROMPTS, OUTPUTS, strict=True))))
    torch.testing.assert_close(RewardModelSource(model).scores(rollout), expected)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("granularity", ["segment", "token"])
def test_a_dense_model_pays_the_tokens_that_were_drawn(
    granularity: Granularity, finished: bool
) -> None:
    model, rollout = scored(granularity, finished=finished)
    torch.testing.assert_close(RewardModelSource(model).paid(rollout), model.paid(rollout.batch))


class Truth:
    """A gold score that a hand can check: 1 for the first output, -2 for the second."""

    def score(self, prompt: str, response: str) -> float:
        return {OUTPUTS[0]: 1.0, OUTPUTS[1]: -2.0}[response]


def sources(finished: bool) -> list[tuple[TokenSource, Rollout]]:
    models = [scored(granularity, finished=finished) for granularity in get_args(Granularity)]
    found: list[tuple[TokenSource, Rollout]] = [(RewardModelSource(m), r) for m, r in models]
    return [*found, (GoldSource(Truth()), models[0][1])]  # type: ignore[arg-type]


@pytest.mark.parametrize("finished", [True, False])
def test_every_source_pays_what_it_declares(finished: bool) -> None:
    for source, rollout in sources(finished):
        mask = rollout.batch.mask
        paid = checked(source.paid(rollout), mask, source.name)
        assert source.row_sum == "score"
        torch.testing.assert_close(paid.sum(1), source.scores(rollout))


class Faulty:
    """A third party's method; pays what it is told to."""

    name = "faulty"

    def __init__(self, rewards: Callable[[Tensor, Tensor], Any]) -> None:
        self.rewards = rewards


@pytest.mark.parametrize(
    ("rewards", "error", "said"),
    [
        (lambda paid, mask: paid.sum(1), UserError, r"shape \(2,\).*must be floats.*\(B, T\)"),
        (lambda paid, mask: paid.long(), UserError, "torch.int64"),
        (lambda paid, mask: None, UserError, "NoneType"),
        (lambda paid, mask: paid + 1, UserError, "pays 1 at padding"),
        (lambda paid, mask: paid.masked_fill(~mask, float("nan")), UserError, "pays nan at padd"),
        (lambda paid, mask: paid * float("inf"), Diverged, "paid NaN or infinity: the run div"),
    ],
)
def test_what_a_plug_in_pays_is_checked_and_the_plug_in_named(
    rewards: Callable[[Tensor, Tensor], Any], error: type[Exception], said: str
) -> None:
    model, rollout = scored("token", finished=True)
    assert not rollout.batch.mask.all()
    pay = pay_by(RewardModelSource(model), Faulty(rewards))  # type: ignore[arg-type]
    with pytest.raises(error, match=f"the method 'faulty' .*{said}"):
        pay(rollout)
