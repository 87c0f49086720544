"""Reward and value heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.models import heads
from bench.models.heads import Granularity, RewardModel, ScalarHead, ValueModel, map_rows
from bench.models.sequences import Sequences
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
    """Outputs 1 2 3 with two and with three counted: the last is 2 and 3, the mean 1.5 and 2."""
    outputs = torch.tensor([[1.0, 2.0, 3.0]] * 2)
    for model, expected in (
        (reward_model("sequence"), [2.0, 3.0]),
        (reward_model("token"), [1.5, 2.0]),
    ):
        batch = model.backbone.tokens.join([[11], [11]], [[21, 22], [21, 22, 23]])
        assert model.response_scores(outputs, batch).tolist() == expected


def sentences(model: RewardModel, texts: list[str], *, finished: bool = True) -> Sequences:
    tokens = model.backbone.tokens
    responses = [tokens.response(text) for text in texts]
    kept = responses if finished else [response[:-1] for response in responses]
    return tokens.join([[11]] * len(texts), kept)


@pytest.mark.parametrize(
    ("finished", "expected"),
    [(True, [[2, 10, 13], [2, 7], [2]]), (False, [[2, 10, 12], [2, 6], [1]])],
)
def test_sentences_end_at_the_last_of_their_marks(finished: bool, expected: list[Any]) -> None:
    r"""R ed ! O ld t ow n . \n \n N o EOS; R ed . O ld ? ! EOS; R ed EOS.

    A run of marks ends one sentence, EOS behind it belongs to that one, and the last token ends
    one whatever it is.
    """
    model = reward_model("segment")
    texts = ["Red! Old town.\n\nNo", "Red. Old?!", "Red"]
    read = model.read(sentences(model, texts, finished=finished))
    assert [row.nonzero().flatten().tolist() for row in read] == expected


def test_a_segment_model_by_hand() -> None:
    """Sentences of 3 and 2 tokens (EOS in the second), outputs 2 and 5 at their ends.

    R = 3.5; with mean .5 and std 2: r = .75 and 2.25, R = 1.5. Token scores T r_k / (K len_k) with
    T = 5, K = 2: 5 .75 / 6 = .625 and 5 2.25 / 4 = 2.8125; their mean is 1.5.
    """
    model = reward_model("segment")
    tokens = model.backbone.tokens
    (stop,) = tokens.tokenizer.encode(".", add_special_tokens=False)
    batch = tokens.join([[11]], [[21, 22, stop, stop, tokens.eos_id]])
    assert not model.segment_ends(batch).any()
    word = tokens.tokenizer.encode(" red", add_special_tokens=False)[0]
    batch = tokens.join([[11]], [[21, 22, stop, word, tokens.eos_id]])
    assert model.segment_ends(batch).tolist() == [[False, False, True, False, False]]
    outputs = torch.tensor([[9.0, 9.0, 2.0, 9.0, 5.0]])
    assert model.response_scores(outputs, batch).tolist() == [3.5]
    model.mean, model.std = 0.5, 2.0
    model.outputs = lambda rows, read=None: outputs  # type: ignore[method-assign]
    assert model.scores(batch).tolist() == [1.5]
    expected = torch.tensor([[0.625] * 3 + [2.8125] * 2])
    torch.testing.assert_close(model.token_scores(batch), expected)


@pytest.mark.parametrize("granularity", ["sequence", "segment", "token"])
def test_what_is_read_is_what_it_would_be_among_all(granularity: Granularity) -> None:
    model = reward_model(granularity)
    batch = sentences(model, ["A red house. An old town", "Warm! Far. Near", "Tall."])
    read = model.read(batch)
    torch.testing.assert_close(model.outputs(batch, read)[read], model.outputs(batch)[read])


@pytest.mark.parametrize("granularity", ["sequence", "segment", "token"])
def test_normalisation_makes_mean_0_and_std_1(granularity: Granularity) -> None:
    model = reward_model(granularity)
    batch = random_batch(model.backbone, 40)
    normalise(model, batch)
    scores = model.scores(batch)
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("granularity", ["sequence", "segment", "token"])
def test_what_is_paid_sums_to_the_score(granularity: Granularity) -> None:
    model = reward_model(granularity)
    batch = random_batch(model.backbone, 20)
    normalise(model, batch)
    paid = model.paid(batch)
    assert paid.shape == batch.mask.shape
    assert (paid[~batch.mask] == 0).all()
    torch.testing.assert_close(paid.sum(1), model.scores(batch))
    if granularity == "token":
        torch.testing.assert_close(paid * batch.lengths.unsqueeze(1), model.token_scores(batch))


@pytest.mark.parametrize("granularity", ["segment", "token"])
def test_token_scores_average_to_the_score(granularity: Granularity) -> None:
    model = reward_model(granularity)
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


@pytest.mark.parametrize("granularity", ["sequence", "segment", "token"])
def test_round_trip(granularity: Granularity, tmp_path: Path) -> None:
    model = reward_model(granularity)
    batch = random_batch(model.backbone)
    normalise(model, batch)
    model.save(tmp_path, {})
    again = RewardModel.load(model.backbone, "again", tmp_path)
    assert again.granularity == granularity
    assert torch.equal(again.token_scores(batch), model.token_scores(batch))


@pytest.mark.parametrize("shared", [False, True])
def test_a_value_function_is_read_as_it_was_saved(tmp_path: Path, shared: bool) -> None:
    """On the policy's adapter only the head is its own, and the policy has to be there."""
    backbone = tiny_backbone()
    name = "policy" if shared else "value"
    backbone.add_adapter(name, LORA)
    stir(backbone, name)
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    value = ValueModel(backbone, name, head)
    value.start_from(reward_model("sequence"))
    value.offset = -0.4
    batch = random_batch(backbone)
    expected = value.states(batch).detach()
    value.save(tmp_path / "value")
    assert (tmp_path / "value" / "adapter").is_dir() is not shared
    if not shared:
        backbone.drop_adapter(name)
    again = ValueModel.load(backbone, tmp_path / "value")
    assert again.adapter == name
    torch.testing.assert_close(again.states(batch), expected)
