"""What each method's rows sum to, by its own source on models that were never trained.

Of each form of a response: one that ended, one that was cut off, one of a single token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.config.run import PPOConfig
from bench.plugins.protocols import TokenSource, TrainingInputs
from bench.rl import masked_sum
from bench.stages.sources.paying import pay_by
from bench.suites.testbed.suite import Testbed
from bench.testing import check_token_source, rollouts_to_check
from bench.training.experience import Rollout
from bench.training.ppo import PPO, make_ppo
from benchmarks.credit.placing import Planned
from tests.methods.untrained import PAYING, source_of
from tests.tiny import LORA, stop_often

SCORE, CONSTANT, NOTHING = "score", "score up to a constant", "nothing in particular"
SUMS = {
    "abc": SCORE,
    "dense_reward": NOTHING,
    "fine_grained_ppo": SCORE,
    "fine_grained_rlhf": NOTHING,
    "gold_ppo": SCORE,
    "gold_token_ppo": SCORE,
    "grpo": SCORE,
    "ma_rlhf": SCORE,
    "ppo_rlhf": SCORE,
    "q_rm": NOTHING,
    "red": CONSTANT,
    "rloo": SCORE,
    "rto": NOTHING,
    "segment_ppo": SCORE,
    "tlcr": NOTHING,
    "token_ppo": SCORE,
}
PROMPTS = [prompt for prompt in Testbed().prompts("test", 2, 0) for _ in range(2)]
OUTPUTS = [
    f"{text}{more}"
    for text, more in zip(
        Testbed().references(PROMPTS),
        (" Whatever. And so on.", "", " So.", " He is old."),
        strict=True,
    )
]


def test_every_method_that_pays_says_what_its_rows_sum_to() -> None:
    missing, gone = sorted(set(PAYING) - set(SUMS)), sorted(set(SUMS) - set(PAYING))
    assert not missing, f"add to SUMS what the rows of {missing} sum to, and to docs/methods.md"
    assert not gone, f"take {gone} out of SUMS: no registered method of this name pays"


def model_scores(source: TokenSource, rollout: Rollout) -> Tensor:
    """(B,) R of the reward model behind the source; else what the source says."""
    model: Any = getattr(source, "model", None)
    return source.scores(rollout) if model is None else model.scores(rollout.batch)


@pytest.mark.parametrize("name", PAYING)
def test_rows_sum_to_what_is_declared_and_to_nothing_better(name: str, tmp_path: Path) -> None:
    planned = Planned.of(name)
    source, backbone = source_of(planned, tmp_path)
    assert source.row_sum == SUMS.get(name), f"SUMS[{name!r}] is not what its source declares"
    for form, rollout in rollouts_to_check(backbone.tokens, PROMPTS, OUTPUTS).items():
        check_token_source(source, rollout)
        mask, paid = rollout.batch.mask, source.paid(rollout)
        rewards = planned.method.rewards(paid, mask)
        sums = masked_sum(rewards, mask, dim=1)
        torch.testing.assert_close(sums, paid.sum(dim=1), atol=1e-5, rtol=1e-4)
        apart = sums - model_scores(source, rollout)
        if source.row_sum != SCORE:
            assert apart.abs().max() > 1e-3, form
        if source.row_sum == NOTHING:  # nor to R and a constant of the prompt
            assert (apart[::2] - apart[1::2]).abs().max() > 1e-3, form


def trainer(planned: Planned, folder: Path, tokens: int, **changes: Any) -> PPO:
    """The method's own trainer, before its first step: nothing is whitened, V is 0."""
    source, backbone = source_of(planned, folder)
    stop_often(backbone, bias=4.5)
    config = PPOConfig(
        batch_size=8,
        minibatch_size=8,
        max_new_tokens=tokens,
        missing_eos="subtract",
        missing_eos_penalty=1.0,
        value_init="zero",
        whiten_advantages=False,
        **changes,
    )
    pay = pay_by(source, planned.method)
    prompts = Testbed().prompts("ppo", 4, 0)
    advantage = planned.advantage
    return make_ppo(
        TrainingInputs(backbone, config, LORA, 0, prompts, pay=pay, advantage=advantage)
    )


@pytest.mark.parametrize("name", PAYING)
def test_the_mass_that_is_recorded_is_the_sum_of_sizes(name: str, tmp_path: Path) -> None:
    """Token by token, less 1 at the last one of a response that did not end."""
    made = trainer(Planned.of(name), tmp_path, tokens=6)
    rollout = made.rollout()
    assert 0 < rollout.finished.sum() < 8
    _, metrics = made.experience(rollout, 0.3)
    paid, mass = made.pay(rollout).tolist(), 0.0
    for row, length in enumerate(rollout.batch.lengths.tolist()):
        rewards = paid[row][:length]
        rewards[-1] -= 0.0 if rollout.finished[row] else 1.0
        mass += sum(map(abs, rewards))
    assert metrics["reward_mass"] == pytest.approx(mass / 8, rel=1e-5)


@pytest.mark.parametrize("name", PAYING)
def test_of_one_token_the_advantage_is_what_it_is_paid(name: str, tmp_path: Path) -> None:
    """With V = 0; without a value, less what the others to its prompt are paid."""
    made = trainer(Planned.of(name), tmp_path, tokens=1, kl_coef=0.0, kl_rate=0.0)
    rollout = made.rollout()
    experience, _ = made.experience(rollout, 0.0)
    assert rollout.batch.mask.shape == (8, 1)
    paid = (made.pay(rollout)[:, 0] - (~rollout.finished).float()).view(-1, made.advantage.samples)
    if not made.advantage.uses_value:
        assert experience.advantages.abs().max() > 1e-3
        assert experience.advantages.view(paid.shape).sum(dim=1).abs().max() < 1e-3
        return
    torch.testing.assert_close(experience.advantages, paid, atol=1e-5, rtol=1e-4)


def test_rloo_of_two_responses_is_one_less_the_other(tmp_path: Path) -> None:
    """K = 2: A = R_1 - R_2 and its opposite, at every token."""
    made = trainer(Planned.of("rloo", samples=2), tmp_path, tokens=6, kl_coef=0.0, kl_rate=0.0)
    rollout = made.rollout()
    experience, _ = made.experience(rollout, 0.0)
    scores = (made.pay(rollout).sum(dim=1) - (~rollout.finished).float()).tolist()
    for row, score in enumerate(scores):
        other = scores[row + 1 if row % 2 == 0 else row - 1]
        advantages = experience.advantages[row][rollout.batch.mask[row]]
        assert advantages.tolist() == pytest.approx([score - other] * len(advantages), abs=1e-5)
