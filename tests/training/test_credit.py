"""Token credit: the same reward a response, paid at the token that earned it or at the end.

The first token decides: if its id is below 256 the response earns 1, whatever follows. Both methods
are paid the same for the same response, with the same hyperparameters; `token_ppo` at the first
token, `ppo_rlhf` at the last one, from where every token of the response looks equally responsible.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.config.run import PPOConfig
from bench.plugins.protocols import Method
from bench.rl import sequence_rewards
from bench.training.experience import Rollout
from bench.training.ppo import PPO, new_value
from methods.ppo_rlhf import PPORLHF
from methods.token_ppo import TokenPPO
from tests.tiny import LORA, tiny_backbone

CONFIG = PPOConfig(
    steps=30,
    value_warmup_steps=2,
    batch_size=32,
    minibatch_size=16,
    epochs=2,
    max_new_tokens=16,
    lr=1e-2,
    value_lr=1e-2,
    kl_coef=0.0,
    kl_rate=0.0,
    missing_eos_penalty=0.0,
    missing_eos="subtract",
    eval_every=100,
)
PROMPTS = ["Say red.", "Say blue, please.", "Go.", "Name a colour that you like."]
SEEDS = 4


def at_the_token(rollout: Rollout) -> Tensor:
    """(B, T) 1 at the first token of a lucky response."""
    paid = torch.zeros(rollout.batch.mask.shape)
    paid[:, 0] = (rollout.batch.responses[:, 0] < 256).float()
    return paid


def at_the_end(rollout: Rollout) -> Tensor:
    """(B, T) 1 at the last token of a lucky response."""
    return sequence_rewards((rollout.batch.responses[:, 0] < 256).float(), rollout.batch.mask)


def curve(method: Method, seed: int) -> list[float]:
    """Share of lucky responses in each step's rollout."""
    backbone = tiny_backbone()
    source = at_the_token if isinstance(method, TokenPPO) else at_the_end
    value = new_value(backbone, LORA, None, seed, CONFIG)
    pay = lambda rollout: method.rewards(source(rollout), rollout.batch.mask)
    ppo = PPO(backbone, PROMPTS, pay, value, CONFIG, LORA, seed)
    rows: list[dict[str, float]] = []
    ppo.run(lambda: {"score": 0.0}, rows.append)
    return [row["reward"] for row in rows[1:]]


@pytest.mark.slow
@pytest.mark.long
def test_paid_at_the_token_the_answer_is_found_sooner() -> None:
    token, sequence = (
        torch.tensor([curve(method, seed) for seed in range(SEEDS)])  # (seeds, steps)
        for method in (TokenPPO(TokenPPO.Options()), PPORLHF(PPORLHF.Options()))
    )
    early, late = slice(0, 3), slice(-6, None)
    assert (token[:, early].mean() - sequence[:, early].mean()).abs() < 0.05
    gains = [curves[:, late].mean(1) - curves[:, early].mean(1) for curves in (token, sequence)]
    assert gains[0].mean() > 0.2  # measured: .30
    assert gains[0].mean() > 2 * gains[1].mean()  # measured: .05
    assert (gains[0] > gains[1]).float().mean() >= 0.75  # seed by seed, same start
