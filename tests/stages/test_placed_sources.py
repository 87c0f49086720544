"""Sources that place a score elsewhere than at the end, and what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import UserError
from bench.models.attending import last_token_attention
from bench.models.classifier import Classifier
from bench.models.heads import RewardModel, ScalarHead
from bench.models.segmenters import Places
from bench.plugins.protocols import SourceInputs
from bench.rl import token_label_rewards
from bench.stages.sources import making
from bench.stages.sources.attention import AttentionShares
from bench.stages.sources.gold import GoldTermsSource, token_at
from bench.stages.sources.places import PlacedSegments
from bench.stages.sources.prefixes import PrefixDifferences
from bench.stages.sources.ratios import LogRatio
from bench.stages.sources.scores import GoldSource, RewardModelSource
from bench.stages.sources.sums import SumOfSources
from bench.stages.sources.tokens import TokenClasses, TokenOutputs
from bench.suites.testbed.suite import Testbed
from bench.testing import check_token_source
from bench.training.experience import Rollout
from methods.rto import RTO
from tests.stages.test_sources import Says, scored
from tests.tiny import LORA, stir, tiny_backbone, tiny_classifier

PROMPTS = ["Go.", "Go.", "Say red.", "Say red."]
OUTPUTS = ["A red house", "The old town is cold.", "Red", "Blue. Red. Green and near"]


def model_and_rollout(granularity: Any) -> tuple[RewardModel, Rollout]:
    """Two responses to each of two prompts, one of them cut off."""
    backbone = tiny_backbone()
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    model = RewardModel(backbone, "reward", head, granularity)
    model.mean, model.std = 0.3, 1.7
    return model, rollout_of(backbone.tokens)


def rollout_of(tokens: Any, prompts: list[str] = PROMPTS, outputs: list[str] = OUTPUTS) -> Rollout:
    responses = [tokens.response(text) for text in outputs]
    responses[1] = responses[1][:-1]
    batch = tokens.join([tokens.prompt(text) for text in prompts], responses)
    nothing = torch.zeros(batch.mask.shape)
    ended = torch.tensor([i != 1 for i in range(len(outputs))])
    return Rollout(prompts, outputs, batch, ended, nothing, nothing)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_prefix_differences_sum_to_the_score_less_the_prompt_s(share: float) -> None:
    """R_0 is read where the prompt ends: the model's output there, one for all its responses."""
    model, rollout = model_and_rollout("sequence")
    source = PrefixDifferences(model, share=share)
    check_token_source(source, rollout)
    batch = rollout.batch
    hidden = model.backbone.hidden(batch, "reward")[:, 0]
    before = (model.head(hidden) - model.mean) / model.std
    torch.testing.assert_close(
        source.paid(rollout).sum(dim=1), model.scores(batch) - share * before, atol=1e-5, rtol=1e-5
    )


def test_prefix_differences_are_what_a_token_changes() -> None:
    """Each is R of the response cut behind the token, less R of it cut before."""
    model, rollout = model_and_rollout("sequence")
    paid = PrefixDifferences(model).paid(rollout)
    tokens, row = model.backbone.tokens, 3
    prompt, ids = tokens.prompt(PROMPTS[row]), rollout.batch.response_ids[row]
    cut = tokens.join([prompt] * len(ids), [ids[: t + 1] for t in range(len(ids))])
    scores = model.scores(cut)
    torch.testing.assert_close(
        paid[row, 1 : len(ids)], scores[1:] - scores[:-1], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_attention_shares_sum_to_the_score(share: float) -> None:
    model, rollout = model_and_rollout("sequence")
    check_token_source(AttentionShares(model, share=share), rollout)
    paid = AttentionShares(model, share=1.0).paid(rollout)
    assert ((paid != 0) == rollout.batch.mask).all()  # somewhere within, not at the end alone


def test_attention_is_that_of_the_last_token_in_the_last_layer() -> None:
    """Against the library's own weights of one row alone, where nothing is padded."""
    model, rollout = model_and_rollout("sequence")
    backbone, batch = model.backbone, rollout.batch
    found = last_token_attention(backbone, batch, "reward")
    assert (found.masked_select(~batch.mask) == 0).all()
    usual = backbone.model.config._attn_implementation
    for row in range(4):
        one = batch.rows([row])
        with backbone.using("reward") as peft:
            peft.set_attn_implementation("eager")
            weights = peft(input_ids=one.ids, output_attentions=True).attentions[-1]
            peft.set_attn_implementation(usual)
        length = int(one.lengths[0])
        expected = weights[0].mean(dim=0)[-1, -length:]
        torch.testing.assert_close(found[row, :length], expected, atol=1e-6, rtol=1e-4)
    assert backbone.model.config._attn_implementation == usual


def test_token_sources_pay_outputs_and_classes_undivided() -> None:
    model, rollout = model_and_rollout("token")
    batch = rollout.batch
    outputs = TokenOutputs(model)
    check_token_source(outputs, rollout)
    torch.testing.assert_close(outputs.paid(rollout), model.token_scores(batch))
    classes = TokenClasses(model, softmaxes=2)
    check_token_source(classes, rollout)
    expected = token_label_rewards(model.outputs(batch).detach(), batch.mask, softmaxes=2)
    torch.testing.assert_close(classes.paid(rollout), expected, atol=1e-5, rtol=1e-5)


def test_placed_segments_pay_each_segment_its_normalised_output_once() -> None:
    """Three sentences: at 1/3, 2/3 and 1; each spread over its tokens, EOS with the last."""
    model, rollout = model_and_rollout("segment")
    model.places = Places(0.5, 0.2, 0.1, 1.5)
    source = PlacedSegments(model)
    check_token_source(source, rollout)
    row, batch = 3, rollout.batch
    ends = model.segment_ends(batch)[row].nonzero().flatten().tolist()
    last = int(batch.lengths[row]) - 1
    assert len(ends) == 2
    raw, start, paid = model.outputs(batch)[row].detach(), 0, source.paid(rollout)[row]
    for k, end in enumerate([*ends, last], start=1):
        log = torch.tensor(k / 3).log()
        z = (raw[end] - 0.5 * log - 0.2) / (0.1 * log + 1.5)
        expected = (z / (end + 1 - start)).expand(end + 1 - start)
        torch.testing.assert_close(paid[start : end + 1], expected, atol=1e-5, rtol=1e-4)
        start = end + 1


def test_a_log_ratio_is_clipped_and_nothing_for_the_reference_itself() -> None:
    backbone = tiny_backbone()
    backbone.add_adapter("teacher", LORA)
    rollout = rollout_of(backbone.tokens)
    source = LogRatio(backbone, "teacher", beta=0.5, clip=0.01)
    assert source.paid(rollout).abs().max() < 1e-6  # a new adapter's output is 0
    stir(backbone, "teacher")
    check_token_source(source, rollout)
    wide = LogRatio(backbone, "teacher", beta=0.5, clip=9.0)
    batch = rollout.batch
    ratio = backbone.logprobs(batch, "teacher") - backbone.logprobs(batch, None)
    torch.testing.assert_close(wide.paid(rollout), 0.5 * ratio.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(source.paid(rollout), wide.paid(rollout).clamp(-0.01, 0.01))


def test_a_sum_pays_its_weighted_parts_and_promises_no_more_than_they_do() -> None:
    model, rollout = model_and_rollout("sequence")
    whole, places = RewardModelSource(model), PrefixDifferences(model)
    both = SumOfSources([whole, places], [2.0, -1.0])
    check_token_source(both, rollout)
    assert both.row_sum == "score up to a constant"
    torch.testing.assert_close(both.paid(rollout), 2 * whole.paid(rollout) - places.paid(rollout))
    loose = Says(places.paid(rollout), whole.scores(rollout), "nothing in particular")
    assert SumOfSources([whole, loose], [1, 1]).row_sum == "nothing in particular"
    assert SumOfSources([whole, whole], [1, 1]).row_sum == "score"
    with pytest.raises(ValueError, match="2 sources and 1 weights"):
        SumOfSources([whole, places], [1.0])


def test_rto_pays_the_score_at_the_end_beside_log_ratios_that_it_does_not_take_off() -> None:
    """A row does not sum to R: it is longer by the clipped log-ratio of the whole response."""
    model, rollout = model_and_rollout("sequence")
    model.backbone.add_adapter("teacher", LORA)
    stir(model.backbone, "teacher", seed=5)
    ratio, score = LogRatio(model.backbone, "teacher", 0.05, 0.05), RewardModelSource(model)
    both, mask = SumOfSources([ratio, score], [1.0, 1.0]), rollout.batch.mask
    assert both.model is model  # a value starts there
    assert SumOfSources([ratio], [1.0]).model is None
    rewards = RTO(RTO.Options()).rewards(both.paid(rollout), mask)
    clipped, scores = ratio.paid(rollout), model.scores(rollout.batch)
    assert clipped.abs().max() <= 0.05
    assert (rewards.sum(1) - scores).abs().min() > 1e-4
    torch.testing.assert_close(rewards.sum(1), scores + clipped.sum(1))
    at_the_end = (rewards - clipped).gather(1, rollout.batch.lengths.unsqueeze(1) - 1).squeeze(1)
    torch.testing.assert_close(at_the_end, scores)


def test_the_gold_score_s_terms_stand_where_the_text_decides_them() -> None:
    suite, tokens = Testbed(), tiny_backbone().tokens
    prompts = suite.prompts("test", 4, 0)
    good = suite.references(prompts)
    worse = [good[0] + " Whatever.", good[1].replace(".", ", and whatever.", 1), "", good[3][:20]]
    rollout = rollout_of(tokens, prompts, worse)
    source = GoldTermsSource(suite, tokens)
    check_token_source(source, rollout)
    torch.testing.assert_close(source.scores(rollout), GoldSource(suite).scores(rollout))
    paid = source.paid(rollout)[0]
    offsets = tokens.offsets(worse[0], rollout.batch.response_ids[0])
    where = {offsets[t][1] if t < len(offsets) else None for t in paid.nonzero().flatten().tolist()}
    assert len(where) > 2  # facts, each at its value, and the last clause


@pytest.mark.parametrize(
    ("place", "token"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 3), (None, 3), (99, 3)]
)
def test_a_place_is_the_token_that_completes_it(place: int | None, token: int) -> None:
    """Tokens "a", "bc" and "" over three characters, then EOS."""
    assert token_at(place, [(0, 1), (1, 3), (3, 3)], 4) == token


def test_what_a_source_cannot_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = scored("token", finished=True)
    classifier = Classifier.read(
        str(tiny_classifier(tmp_path)), model.backbone, Testbed.prompt_template
    )
    inputs = SourceInputs(model.backbone, Testbed(), [tmp_path], [], {})
    for found, kind in ((model, "token"), (classifier, "sequence classifier")):
        monkeypatch.setattr(making, "load_reward_model", lambda *args, found=found: found)
        with pytest.raises(UserError, match=f"'attention' reads inside .*it is given a {kind} mod"):
            making.our_reward_model(inputs, "attention", "sequence")
    with pytest.raises(UserError, match="was planned with 0"):
        making.one_reward_model(SourceInputs(model.backbone, Testbed(), [], [], {}))


def test_names_of_adapters_do_not_meet() -> None:
    backbone = tiny_backbone()
    assert making.free_name(backbone, "reward") == "reward"
    backbone.add_adapter("reward", LORA)
    backbone.add_adapter("reward_2", LORA)
    assert making.free_name(backbone, "reward") == "reward_3"
