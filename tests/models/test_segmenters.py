"""Where responses are cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import UserError
from bench.models.heads import RewardModel, ScalarHead
from bench.models.segmenters import (
    Entropy,
    NGrams,
    Places,
    Segments,
    Sentences,
    Separators,
    Subsentences,
)
from bench.rl import entropy
from tests.tiny import LORA, random_batch, stir, tiny_backbone


def batch_of(backbone: Any, *texts: str) -> Any:
    tokens = backbone.tokens
    return tokens.join([tokens.prompt("Go.")] * len(texts), [tokens.response(t) for t in texts])


def pieces(backbone: Any, batch: Any, ends: torch.Tensor, row: int) -> list[str]:
    """The segments' texts."""
    ids, found, start = batch.response_ids[row], [], 0
    for end in [*ends[row].nonzero().flatten().tolist(), len(ids) - 1]:
        found.append("".join(backbone.tokens.pieces(ids[start : end + 1])))
        start = end + 1
    return found


def test_sentences_and_separators() -> None:
    backbone = tiny_backbone()
    batch = batch_of(backbone, "Red. Blue?! Far", "Red, and blue, and far.", "Red")
    ends = Sentences(backbone).ends(batch)
    assert pieces(backbone, batch, ends, 0) == ["Red.", " Blue?!", " Far<|eos|>"]
    assert pieces(backbone, batch, ends, 1) == ["Red, and blue, and far.<|eos|>"]
    assert not ends[2].any()
    ends = Separators(backbone, [","]).ends(batch)
    assert pieces(backbone, batch, ends, 1) == ["Red,", " and blue,", " and far.<|eos|>"]
    assert not ends[0].any()


def test_subsentences_are_long_on_both_sides() -> None:
    """A short part is one with what follows; the last word and its EOS are no part."""
    backbone = tiny_backbone()
    text = "Red, the old town is cold; and the new one is far, too. Blue, and near."
    batch = batch_of(backbone, text, "")
    ends = Subsentences(backbone).ends(batch)
    assert pieces(backbone, batch, ends, 0) == [
        "Red, the old town is cold;",
        " and the new one is far, too.",
        " Blue, and near.<|eos|>",
    ]
    assert not ends[1].any()
    finer = Subsentences(backbone, least=1).ends(batch)
    assert pieces(backbone, batch, finer, 0)[-2:] == [" Blue,", " and near.<|eos|>"]
    coarsest = Subsentences(backbone, least=99).ends(batch)
    assert torch.equal(coarsest, Sentences(backbone).ends(batch))


def test_a_segmenter_s_wrong_option_is_one_line() -> None:
    segments = Segments("bench.models.segmenters:NGrams", {"m": 3})
    with pytest.raises(
        UserError, match=r"the segmenter NGrams cannot be made with {'m': 3}: .*'m'"
    ):
        segments.segmenter(tiny_backbone())


def test_ngrams_leave_no_segment_for_eos_alone() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone, 8)
    for n in (1, 3):
        ends = NGrams(backbone, n).ends(batch)
        assert not (ends & ~batch.mask).any()
        whole = (torch.arange(1, ends.shape[1] + 1) % n == 0) & batch.mask
        assert (ends == whole).all()  # random ids end in no EOS
    eos = batch_of(backbone, "red")
    length = int(eos.lengths[0])
    assert not NGrams(backbone, length - 1).ends(eos).any()
    with pytest.raises(ValueError, match="segments of 0 tokens"):
        NGrams(backbone, 0)


def test_entropy_cuts_behind_the_token_after_which_the_model_is_unsure() -> None:
    """By the full logits of the base, whatever adapter it carries."""
    backbone = tiny_backbone()
    batch = random_batch(backbone, 6)
    unsure = entropy(backbone.logits(batch, None).detach())  # (B, T) of the distribution of token t
    middle = float(unsure[batch.mask].median())
    ends = Entropy(backbone, middle).ends(batch)
    for row in range(6):
        length = int(batch.lengths[row])
        expected = (unsure[row, 1:length] > middle).tolist()
        assert ends[row, : length - 1].tolist() == expected
        assert not ends[row, length - 1 :].any()  # the last one ends a segment as it is
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    assert torch.equal(Entropy(backbone, middle).ends(batch), ends)
    assert Entropy(backbone, 0.0).ends(batch).sum() > ends.sum()
    assert not Entropy(backbone, 1e9).ends(batch).any()


def test_entropies_do_not_depend_on_the_other_rows() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone, 5)
    whole = backbone.entropies(batch, None)
    assert (whole.masked_select(~batch.mask) == 0).all()
    for row in range(5):
        one = batch.rows([row])
        alone = backbone.entropies(one, None)[0]
        torch.testing.assert_close(whole[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_a_reward_model_keeps_how_it_cuts(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    segments = Segments("bench.models.segmenters:NGrams", {"n": 2})
    head = ScalarHead(backbone.hidden_size)
    model = RewardModel(backbone, "reward", head, "segment", segments)
    model.mean, model.std, model.places = 0.5, 2.0, Places(1.0, 2.0, 3.0, 4.0, 0.5)
    model.save(tmp_path, {})
    again = RewardModel.load(backbone, "again", tmp_path)
    assert (again.segments, again.places) == (segments, model.places)
    batch = random_batch(backbone, 6)
    torch.testing.assert_close(again.paid(batch), model.paid(batch))
    old = json.loads((tmp_path / "reward_model.json").read_text())
    for later in ("segments", "places"):
        del old[later]
    (tmp_path / "reward_model.json").write_text(json.dumps(old))
    assert RewardModel.load(backbone, "old", tmp_path).segments == Segments()


def test_places_by_hand() -> None:
    places = Places(mean_slope=2.0, mean_intercept=1.0, std_slope=1.0, std_intercept=1.0)
    p = torch.tensor([1.0, torch.e**-0.5])
    found = places.normalised(torch.tensor([4.0, 4.0]), p)
    torch.testing.assert_close(found, torch.tensor([3.0, 8.0]))  # 3 / 1 and 4 / .5
    floor = Places(0.0, 0.0, 1.0, 1.0, least_std=0.1)
    assert floor.normalised(torch.tensor([1.0]), torch.tensor([1e-9])).item() == pytest.approx(10)
