"""What PPO is paid by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.models.classifier import Classifier
from bench.models.heads import Granularity, RewardModel, ScalarHead
from bench.plugins.protocols import TokenSource
from bench.stages.sources.paying import pay_by
from bench.stages.sources.scores import ClassifierSource, GoldSource, RewardModelSource
from bench.suites.testbed.suite import Testbed
from bench.testing import check_token_source
from bench.training.experience import Rollout
from bench.training.optimisation import Diverged
from tests.tiny import LORA, stir, tiny_backbone, tiny_classifier

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
@pytest.mark.parametrize("granularity", get_args(Granularity))
def test_a_model_pays_the_tokens_that_were_drawn(granularity: Granularity, finished: bool) -> None:
    """A sequence model reads R at the last of them, EOS or not: nothing is added or encoded anew.

    The texts of the rollout are no longer those of its ids: nobody may look at them.
    """
    model, rollout = scored(granularity, finished=finished)
    other = Rollout(**vars(rollout) | {"outputs": ["something", "else"]})
    source = RewardModelSource(model)
    assert torch.equal(source.scores(other), model.scores(rollout.batch))
    assert torch.equal(source.paid(other), model.paid(rollout.batch))
    if granularity == "sequence":
        raw = model.outputs(rollout.batch)
        last = rollout.batch.lengths - 1
        assert source.scores(other).tolist() == pytest.approx(
            raw[torch.arange(2), last].tolist(), rel=1e-5
        )


class Truth:
    """A gold score that a hand can check: 1 for the first output, -2 for the second."""

    def score(self, prompt: str, response: str) -> float:
        return {OUTPUTS[0]: 1.0, OUTPUTS[1]: -2.0}[response]


def sources(finished: bool, folder: Path) -> list[tuple[TokenSource, Rollout]]:
    """Each with a rollout; a classifier is made in `folder`."""
    models = [scored(granularity, finished=finished) for granularity in get_args(Granularity)]
    found: list[tuple[TokenSource, Rollout]] = [(RewardModelSource(m), r) for m, r in models]
    model, rollout = models[0]
    path = str(tiny_classifier(folder))
    classifier = Classifier.read(path, model.backbone, Testbed.prompt_template)
    gold: Any = Truth()
    return [*found, (GoldSource(gold), rollout), (ClassifierSource(classifier), rollout)]


@pytest.mark.parametrize("finished", [True, False])
def test_every_source_pays_what_it_declares(finished: bool, tmp_path: Path) -> None:
    found = sources(finished, tmp_path)
    for source, rollout in found:
        check_token_source(source, rollout)
    assert all(source.row_sum == "score" for source, _ in found)


@dataclass
class Says:
    """A third party's source: pays and scores what it is told to."""

    pays: Tensor
    gives: Any
    row_sum: Any = "score"
    name: str = "says"

    def paid(self, rollout: Rollout) -> Tensor:
        return self.pays

    def scores(self, rollout: Rollout) -> Tensor:
        found: Tensor = self.gives
        return found


def rollout_of(prompts: list[str]) -> Rollout:
    _, rollout = scored("token", finished=True)
    batch = rollout.batch.rows(torch.tensor([0, 1, 0, 1][: len(prompts)]))
    nothing = torch.zeros(batch.mask.shape)
    return Rollout(prompts, prompts, batch, torch.ones(len(prompts)).bool(), nothing, nothing)


def first(values: list[float], rollout: Rollout) -> Tensor:
    """(B, T) all of a row's pay on its first token."""
    paid = torch.zeros(rollout.batch.mask.shape)
    paid[:, 0] = torch.tensor(values)
    return paid


UP_TO = "score up to a constant"


@pytest.mark.parametrize(
    ("row_sum", "scores", "said"),
    [
        ("score", [1.0, 2.0, 3.0, 4.0], None),
        ("score", [1.0, 2.0, 3.5, 4.0], "to its score; row 2 sums to 3 instead of 3.5"),
        (UP_TO, [0.0, -3.0, 2.0, -1.0], None),  # 1 apart for "a", 5 for "b"
        (UP_TO, [0.0, -3.0, 2.0, 0.0], "up to a constant; row 3 sums to 4 instead of 5"),
        ("nothing in particular", [9.0, 9.0, 9.0, 9.0], None),
        ("R", [1.0, 2.0, 3.0, 4.0], "'R', which is none of"),
    ],
)
def test_a_source_is_held_to_what_it_declares(
    row_sum: str, scores: list[float], said: str | None
) -> None:
    rollout = rollout_of(["a", "b", "a", "b"])
    source = Says(first([1.0, 2.0, 3.0, 4.0], rollout), torch.tensor(scores), row_sum)
    if said is None:
        check_token_source(source, rollout)
        return
    with pytest.raises(AssertionError, match=f"the token source 'says' declares.*{said}"):
        check_token_source(source, rollout)


def test_a_rollout_that_cannot_show_what_is_declared_is_refused() -> None:
    rollout = rollout_of(["a", "b"])
    source = Says(first([1.0, 2.0], rollout), torch.tensor([1.0, 2.0]), UP_TO)
    with pytest.raises(ValueError, match="no two responses to one prompt"):
        check_token_source(source, rollout)
    whole = Rollout(**vars(rollout) | {"batch": rollout.batch.rows(torch.tensor([1, 1]))})
    longest = whole.batch.rows(whole.batch.lengths.argmax().unsqueeze(0))
    with pytest.raises(ValueError, match="no padding"):
        check_token_source(source, Rollout(**vars(whole) | {"batch": longest}))


@pytest.mark.parametrize(
    ("scores", "error", "said"),
    [
        (torch.zeros(2, 1), UserError, r"scores of shape \(2, 1\).*of shape \(B,\) = \(2,\)"),
        (torch.zeros(2).long(), UserError, "scores of shape .*torch.int64"),
        ([0.0, 0.0], UserError, "scores of list"),
        (torch.tensor([0.0, float("nan")]), Diverged, "a score of NaN or infinity"),
    ],
)
def test_a_sources_scores_are_checked(scores: Any, error: type[Exception], said: str) -> None:
    rollout = rollout_of(["a", "b"])
    with pytest.raises(error, match=f"the token source 'says' gave {said}"):
        check_token_source(Says(first([0.0, 0.0], rollout), scores), rollout)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None, "1"])
def test_a_gold_score_that_is_no_number_names_the_suite(score: Any) -> None:
    class Lost:
        def score(self, prompt: str, response: str) -> Any:
            return score

    _, rollout = scored("token", finished=True)
    with pytest.raises(UserError, match=r"the suite Lost gave .* as the gold score of the resp"):
        GoldSource(Lost()).scores(rollout)  # type: ignore[arg-type]


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
        (lambda paid, mask: paid.half(), UserError, "torch.float16"),
        (lambda paid, mask: paid.to("meta"), UserError, "on meta; they must be .* on cpu"),
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


def test_what_a_source_pays_is_checked_before_the_method_sees_it() -> None:
    rollout = rollout_of(["a", "b"])
    pay = pay_by(Says(torch.ones(rollout.batch.mask.shape), None), Faulty(lambda paid, mask: paid))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the token source 'says' pays 1 at padding"):
        pay(rollout)
