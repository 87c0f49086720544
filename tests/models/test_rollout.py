"""Sampling: the decode loop against transformers' own, and the properties PPO relies on."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from bench.config.run import ModelConfig
from bench.errors import Diverged
from bench.models.backbone import Backbone
from bench.models.fast.cache import preallocated_cache
from bench.models.layout import Padded
from bench.models.rollout import Sampling, draw, draw_responses, sample
from bench.models.tokens import Tokens
from bench.rl import entropy
from tests.tiny import LORA, random_rows, stir, tiny_backbone


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def eager_to_stop(backbone: Backbone) -> None:
    """Make EOS likely, so that responses end at different steps."""
    with torch.no_grad():
        embedding = backbone.model.get_input_embeddings().weight
        embedding[backbone.tokens.eos_id] = 0.6 * embedding[20:60].sum(dim=0)


@pytest.mark.parametrize("adapter", [None, "policy"])
def test_greedy_equals_generate(adapter: str | None) -> None:
    backbone = tiny_backbone()
    eager_to_stop(backbone)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    prompts, _ = random_rows(12)
    ours = sample(backbone, adapter, prompts, Sampling(24, temperature=0.0), rng())
    for prompt, response in zip(prompts, ours, strict=True):
        with backbone.using(adapter) as model:
            theirs = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=24,
                do_sample=False,
                eos_token_id=backbone.tokens.eos_id,
                pad_token_id=backbone.tokens.pad_id,
            )
        assert response == theirs[0, len(prompt) :].tolist()
    assert len({len(response) for response in ours}) > 1  # some ended early: rows left the batch


def test_a_seed_gives_the_same_text_and_another_seed_another() -> None:
    backbone = tiny_backbone()
    prompts, _ = random_rows(5)
    first, again, other = (
        sample(backbone, None, prompts, Sampling(8), rng(seed)) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_draws_do_not_depend_on_what_is_decoded_together() -> None:
    """Nor on the order of the lengths; and what follows in the stream is the same as well."""
    backbone = tiny_backbone()
    eager_to_stop(backbone)
    prompts, _ = random_rows(7)
    found = []
    for size in (7, 3, 1):
        source = rng()
        sampling = Sampling(12, batch_size=size)
        drawn = draw_responses(backbone, None, prompts, sampling, source)
        found.append([one.ids for one in drawn])
        found.append(torch.rand(3, generator=source).tolist())
    assert found[0] == found[2] == found[4]
    assert found[1] == found[3] == found[5]


def test_eos_ends_a_response_and_the_limit_does_too() -> None:
    backbone = tiny_backbone()
    eager_to_stop(backbone)
    prompts, _ = random_rows(40)
    eos = backbone.tokens.eos_id
    for response in sample(backbone, None, prompts, Sampling(12), rng()):
        assert 1 <= len(response) <= 12
        assert eos not in response[:-1]
        assert response[-1] == eos or len(response) == 12


def test_any_of_the_model_s_ends_ends_a_response() -> None:
    """A chat model closes a turn with a token of its own beside the tokenizer's EOS."""
    backbone = tiny_backbone()
    eager_to_stop(backbone)
    prompts, _ = random_rows(40)
    before = sample(backbone, None, prompts, Sampling(12), rng())
    ids = [i for response in before for i in response[:-1]]
    turn = max(set(ids), key=ids.count)
    backbone.tokens = Tokens(backbone.tokens.tokenizer, "{prompt}", [turn])
    ends = {turn, backbone.tokens.eos_id}
    responses = sample(backbone, None, prompts, Sampling(12), rng())
    assert {response[-1] for response in responses} >= ends
    for response in responses:
        assert not ends & set(response[:-1])
        assert response[-1] in ends or len(response) == 12


@pytest.mark.parametrize("merge", [True, False])
def test_ids_beyond_the_tokenizer_s_are_never_drawn_and_have_no_probability(merge: bool) -> None:
    """Half of the head's rows stand for no token, as where a vocabulary is padded."""
    backbone = tiny_backbone(padded=1024)
    assert backbone.vocabulary == 1024
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    prompts, _ = random_rows(12)
    drawn = draw_responses(backbone, "policy", prompts, Sampling(16, merge=merge), rng())
    assert max(i for response in drawn for i in response.ids) < 1024
    batch = backbone.tokens.join(prompts, [response.ids for response in drawn])
    assert backbone.logits(batch, "policy").shape[2] == 1024
    assert backbone.packs
    for lay_out in (backbone.lay_out, Padded):
        backbone.lay_out = lay_out
        again = backbone.logprobs(batch, "policy").detach()
        for i, response in enumerate(drawn):
            kept = torch.tensor(response.logprobs)
            torch.testing.assert_close(kept, again[i, : len(kept)], rtol=1e-4, atol=1e-4)


def numbers(n: int) -> torch.Tensor:
    return torch.rand(n, generator=rng(), dtype=torch.float64)


def test_draws_follow_the_probabilities() -> None:
    """P = (.7, .2, .1); 20,000 draws lie within 4 standard errors of it."""
    probabilities = torch.tensor([0.7, 0.2, 0.1])
    logits = probabilities.log().expand(20_000, 3)
    drawn, _, _ = draw(logits, 1.0, numbers(20_000))
    share = torch.bincount(drawn, minlength=3) / 20_000
    error = (probabilities * (1 - probabilities) / 20_000).sqrt()
    assert ((share - probabilities).abs() < 4 * error).all()


def test_temperature_sharpens() -> None:
    """At T = .5 probabilities are squared and renormalised: .49 / .54 = .907 for the first."""
    logits = torch.tensor([0.7, 0.2, 0.1]).log().expand(20_000, 3)
    share = (draw(logits, 0.5, numbers(20_000))[0] == 0).float().mean().item()
    assert share == pytest.approx(0.49 / 0.54, abs=0.01)


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]).expand(5_000, 5)
    drawn, logprobs, entropies = draw(logits, 1.0, numbers(5_000))
    assert set(drawn.tolist()) == {1, 3}
    torch.testing.assert_close(logprobs, torch.full((5_000,), 0.5).log())
    torch.testing.assert_close(entropies, torch.full((5_000,), 2.0).log())


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_logits_that_are_not_numbers_are_a_diverged_run(temperature: float) -> None:
    backbone = tiny_backbone()
    with torch.no_grad():
        backbone.model.model.norm.weight[0] = torch.nan
    prompts, _ = random_rows(4)
    with pytest.raises(Diverged, match="the logits of a rollout"):
        sample(backbone, None, prompts, Sampling(8, temperature), rng())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("merge", [True, False])
def test_kept_logprobs_are_those_of_a_second_pass(temperature: float, merge: bool) -> None:
    backbone = tiny_backbone()
    eager_to_stop(backbone)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    prompts, _ = random_rows(12)
    sampling = Sampling(16, temperature, merge=merge)
    drawn = draw_responses(backbone, "policy", prompts, sampling, rng())
    assert len({len(response.ids) for response in drawn}) > 1
    batch = backbone.tokens.join(prompts, [response.ids for response in drawn])
    again = backbone.logprobs(batch, "policy", temperature)
    entropies = entropy(backbone.logits(batch, "policy") / temperature)
    for i, response in enumerate(drawn):
        n = len(response.ids)
        torch.testing.assert_close(
            torch.tensor(response.logprobs), again[i, :n].detach(), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            torch.tensor(response.entropies), entropies[i, :n].detach(), rtol=1e-4, atol=1e-4
        )


def test_the_cache_with_room_holds_what_the_library_s_holds() -> None:
    """Three updates and a selection of rows in between; the views must be the concatenations."""
    generator = rng()
    ours = preallocated_cache(tiny_backbone().model.config, 12)
    theirs = DynamicCache(config=tiny_backbone().model.config)

    def add(tokens: int, rows: int) -> None:
        states = [torch.randn(rows, 4, tokens, 8, generator=generator) for _ in range(2)]
        for got, wanted in zip(ours.update(*states, 0), theirs.update(*states, 0), strict=True):
            assert torch.equal(got, wanted)

    add(5, 3)
    add(1, 3)
    for cache in (ours, theirs):
        cache.batch_select_indices(torch.tensor([2, 0]))
    add(1, 2)
    assert ours.get_seq_length() == theirs.get_seq_length() == 7


def test_what_is_decoded_outside_of_rollouts_may_be_limited() -> None:
    """The size decides no draw."""
    assert Sampling.of(ModelConfig(), 5, 0.7) == Sampling(5, 0.7)
    backbone = tiny_backbone()
    prompts, _ = random_rows(n=5)
    drawn = [
        sample(backbone, None, prompts, Sampling.of(ModelConfig(decode_batch_size=size), 6), rng())
        for size in (2, 4)
    ]
    assert drawn[0] == drawn[1]
