"""Reward model training: each objective must find a planted preference."""

from __future__ import annotations

import random

import pytest
import torch

from bench.config import RewardModelConfig
from bench.data import Preference
from bench.models.sequences import Sequences
from bench.training.reward_model import (
    Objective,
    normalise,
    preference_accuracy,
    tokenise_pairs,
    train_reward_model,
)
from tests.tiny import LORA, tiny_backbone

WORDS = ["red", "blue", "green", "old", "new", "warm", "cold", "near", "far", "tall"]
OBJECTIVES = [Objective("sequence"), Objective("token", "eq3"), Objective("token", "eq4")]


def planted_pairs(n: int, seed: int) -> list[Preference]:
    """Sentences, rejected where one word was replaced by "lemon"."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(n):
        words = rng.choices(WORDS, k=rng.randint(3, 8))
        spoilt = list(words)
        spoilt[rng.randrange(len(words))] = "lemon"
        pairs.append(Preference(prompt="Go.", chosen=" ".join(words), rejected=" ".join(spoilt)))
    return pairs


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{o.granularity}-{o.loss}")
def test_a_planted_preference_is_learned(objective: Objective) -> None:
    backbone = tiny_backbone()
    config = RewardModelConfig(epochs=2, batch_size=16, lr=1e-2)
    model, counts = train_reward_model(
        backbone, planted_pairs(240, 0), objective, config, LORA, seed=0
    )
    accuracy = preference_accuracy(model, planted_pairs(100, 1))
    assert sum(accuracy) / len(accuracy) > 0.9
    assert counts["pairs"] == 240
    assert counts["steps"] == 30


def test_a_token_model_blames_the_right_token() -> None:
    backbone = tiny_backbone()
    config = RewardModelConfig(epochs=2, batch_size=16, lr=1e-2)
    model, _ = train_reward_model(
        backbone, planted_pairs(240, 0), Objective("token"), config, LORA, seed=0
    )
    pairs = planted_pairs(40, 1)
    batch = batch_of_rejected(backbone.tokens, pairs)
    normalise(model, batch)
    scores = model.token_scores(batch)
    hits = 0
    for i, pair in enumerate(pairs):
        pieces = backbone.tokens.pieces(batch.responses[i, : int(batch.lengths[i])].tolist())
        worst = int(scores[i, : len(pieces)].argmin())
        start = len("".join(pieces[:worst]))
        lemon = pair.rejected.index("lemon")
        hits += lemon - 1 <= start <= lemon + 5
    assert hits > 30


def batch_of_rejected(tokens: object, pairs: list[Preference]) -> Sequences:
    """The rejected responses as a batch."""
    from bench.models.backbone import Tokens

    assert isinstance(tokens, Tokens)
    return tokens.join(
        [tokens.prompt(pair.prompt) for pair in pairs],
        [tokens.response(pair.rejected) for pair in pairs],
    )


def test_identical_pairs_are_left_out_and_counted() -> None:
    backbone = tiny_backbone()
    same = Preference(prompt="Go.", chosen="red", rejected="red")
    pairs = [same, *planted_pairs(7, 0)]
    assert len(tokenise_pairs(backbone, pairs)) == 7
    config = RewardModelConfig(epochs=1, batch_size=4)
    _, counts = train_reward_model(backbone, pairs, Objective("token"), config, LORA, seed=0)
    assert (counts["pairs"], counts["identical"]) == (7, 1)


def test_changed_masks_mark_the_difference_on_both_sides() -> None:
    backbone = tiny_backbone()
    (pair,) = tokenise_pairs(
        backbone, [Preference(prompt="Go.", chosen="red blue", rejected="red lemon blue")]
    )
    assert sum(pair.chosen_changed) == 0
    assert sum(pair.rejected_changed) == len(pair.rejected) - len(pair.chosen)


def test_equal_scores_count_one_half() -> None:
    backbone = tiny_backbone()
    config = RewardModelConfig(epochs=1, batch_size=4)
    model, _ = train_reward_model(
        backbone, planted_pairs(4, 0), Objective("sequence"), config, LORA, seed=0
    )
    same = Preference(prompt="Go.", chosen="red", rejected="red")
    assert preference_accuracy(model, [same]) == [0.5]


def test_training_leaves_the_reference_alone_and_repeats_itself() -> None:
    found = []
    for _ in range(2):
        backbone = tiny_backbone()
        batch = batch_of_rejected(backbone.tokens, planted_pairs(4, 2))
        before = backbone.logprobs(batch, None)
        config = RewardModelConfig(epochs=1, batch_size=4)
        model, _ = train_reward_model(
            backbone, planted_pairs(16, 0), Objective("token"), config, LORA, seed=3
        )
        assert torch.equal(backbone.logprobs(batch, None), before)
        found.append(model.token_scores(batch))
    assert torch.equal(found[0], found[1])
