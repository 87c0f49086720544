"""The world's shape, the wording of prompts, and the splits."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.suites.testbed.language import CONSTRAINTS, PHRASINGS
from bench.suites.testbed.prompts import (
    EVALUATION_SPLITS,
    SIZE_SHARES,
    SPLITS,
    TRAINING_SPLITS,
    Request,
    draw_request,
    parse_prompt,
    render_prompt,
    sample_prompts,
)
from bench.suites.testbed.world import WORLD, build_world


def test_the_world_has_the_stated_size_and_is_the_same_each_time() -> None:
    assert sum(len(entity.facts) for entity in WORLD.entities) == 520
    assert len(WORLD.with_role("rlhf")) == 14
    assert len(WORLD.with_role("unseen")) == 13
    assert build_world() == WORLD


def test_misconceptions_are_wrong_and_as_frequent_as_stated() -> None:
    facts = [fact for entity in WORLD.entities for fact in entity.facts.values()]
    assert all(fact.misconception != fact.value for fact in facts)
    misconceived = [fact.error for fact in facts if fact.error > 0.03]
    assert 0.69 < len(misconceived) / len(facts) < 0.81
    assert all(0.30 <= error <= 0.65 for error in misconceived)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    entity = draw(st.sampled_from(WORLD.entities))
    attributes = draw(st.permutations(entity.attributes))
    size = draw(st.integers(1, 4))
    return Request(entity, tuple(attributes[:size]), draw(st.sampled_from(list(CONSTRAINTS))))


@given(requests(), st.integers(0, len(PHRASINGS) - 1))
def test_a_prompt_gives_its_request_back(request: Request, phrasing: int) -> None:
    assert parse_prompt(render_prompt(request, phrasing)) == request


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Hello there", "no phrasing fits"),
        ("Tell me the capital of Atlantis.", "Atlantis"),
        ("Tell me the young of France.", "'young' is no attribute of France"),
        ("Tell me the capital and capital of France.", "asked twice"),
        ("Tell me the capital of France. Use rhymes.", "Use rhymes."),
    ],
)
def test_what_is_not_understood_is_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_prompt(text)


def test_evaluation_prompts_are_in_no_training_split_nor_in_one_another() -> None:
    training = {p for split in TRAINING_SPLITS for p in sample_prompts(split, 30_000, 0)}
    evaluation = [p for split in EVALUATION_SPLITS for p in sample_prompts(split, 128, 0)]
    assert len(set(evaluation)) == len(evaluation)
    assert training.isdisjoint(evaluation)


def combination(prompt: str) -> tuple[str, frozenset[str], str]:
    request = parse_prompt(prompt)
    return request.entity.name, frozenset(request.attributes), request.constraint


@pytest.mark.parametrize(("split", "n"), [("validation", 128), ("test", 256), ("unseen", 572)])
def test_each_combination_is_asked_once_and_in_no_training_split(split: str, n: int) -> None:
    """Two prompts that ask the same would count as two, and intervals would be too narrow."""
    asked = [combination(prompt) for prompt in sample_prompts(split, 10**6, 0)]
    assert len(asked) == len(set(asked)) == n
    assert set(asked).isdisjoint(map(combination, sample_prompts("ppo", 10**6, 0)))


def test_every_fact_is_trained_on() -> None:
    trained = {combination(prompt) for prompt in sample_prompts("ppo", 10**6, 0)}
    times = Counter((name, attribute) for name, asked, _ in trained for attribute in asked)
    assert len(times) == 56
    assert min(times.values()) >= 5


def test_unseen_entities_are_asked_about_in_their_split_only() -> None:
    for split in SPLITS:
        roles = {parse_prompt(p).entity.role for p in sample_prompts(split, 100, 0)}
        assert roles == ({"unseen"} if split == "unseen" else {"rlhf"})


def test_pretraining_requests_keep_clear_of_evaluation() -> None:
    rng = random.Random(0)
    evaluation = {p for split in EVALUATION_SPLITS for p in sample_prompts(split, 2000, 0)}
    for entity in WORLD.with_role("rlhf"):
        for _ in range(50):
            request = draw_request(entity, rng)
            texts = {render_prompt(request, i) for i in range(len(PHRASINGS))}
            assert texts.isdisjoint(evaluation)


def test_seeds_move_training_splits_only() -> None:
    for split in SPLITS:
        same = sample_prompts(split, 50, 0) == sample_prompts(split, 50, 1)
        assert same == (split in EVALUATION_SPLITS)
        assert sample_prompts(split, 50, 3) == sample_prompts(split, 50, 3)


@pytest.mark.parametrize("split", SPLITS)
def test_a_smaller_sample_is_a_prefix_of_a_larger_one_and_none_holds_a_prompt_twice(
    split: str,
) -> None:
    """3400 pairs and 1800 prompts of PPO were about 3115 and 1724 prompts, drawn with repeats."""
    n = 128 if split in EVALUATION_SPLITS else 6400
    drawn = sample_prompts(split, n, 1)
    assert len(set(drawn)) == n
    assert drawn[:40] == sample_prompts(split, 40, 1)


def test_training_prompts_are_drawn_by_weight() -> None:
    """Of those drawn first; of all together, each comes once, most ask for many attributes."""
    asked = [len(parse_prompt(p).attributes) for p in sample_prompts("ppo", 1800, 0)]
    shares = {size: asked.count(size) / len(asked) for size in SIZE_SHARES}
    assert all(abs(shares[size] - share) < 0.07 for size, share in SIZE_SHARES.items())


def test_enough_preference_prompts_and_a_clear_end_of_the_others() -> None:
    assert len(sample_prompts("preference", 6400, 0)) == 6400
    assert len(sample_prompts("preference", 10**6, 0)) == 10_096
    with pytest.raises(ValueError, match="unknown split 'tset'"):
        sample_prompts("tset", 1, 0)
