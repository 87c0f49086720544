"""What a rollout is worth, by hand."""

from __future__ import annotations

import torch

from bench.config.run import PPOConfig
from bench.training.experience import reward_tokens


def test_missing_eos_then_position_then_kl_then_whitening() -> None:
    """Every step shows where the one before it left the score; b = .5, p = 1 in place of a score.

    Row 1 ends, row 2 is cut off; each has a pad to which first_pad moves what is at its end::

        paid      [1,   2,   0,  0]  [.5,   1,    3,   0]
        no EOS    [1,   2,   0,  0]  [0,    0,   -1,   0]
        position  [1,   0,   2,  0]  [0,    0,    0,  -1]
        KL        [.9, -.2,  2,  0]  [-.1, -.1,  -.1, -1]
    """
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    paid = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.5, 1.0, 3.0, 0.0]])
    kl = torch.tensor([[0.2, 0.4, 9.0, 9.0], [0.2, 0.2, 0.2, 9.0]])
    config = PPOConfig(missing_eos="replace", missing_eos_penalty=1.0, score_position="first_pad")
    finished = torch.tensor([True, False])
    rewards = reward_tokens(paid, kl, mask, finished, config, 0.5)
    earned = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, -1.0]])
    total = torch.tensor([[0.9, -0.2, 2.0, 0.0], [-0.1, -0.1, -0.1, -1.0]])
    states = torch.tensor([[True, True, True, False], [True, True, True, True]])
    torch.testing.assert_close(rewards.paid, earned)
    torch.testing.assert_close(rewards.total, total)
    assert torch.equal(rewards.states, states)

    shifted = config.model_copy(update={"whiten_rewards": "shift"})
    whitened = reward_tokens(paid, kl, mask, finished, shifted, 0.5)
    counted = total[states].double()
    expected = (counted - counted.mean()) / counted.std(correction=0)
    torch.testing.assert_close(whitened.total[states].double(), expected)
    torch.testing.assert_close(whitened.paid, earned)

    as_loss = config.model_copy(update={"kl_penalty": "loss"})
    torch.testing.assert_close(reward_tokens(paid, kl, mask, finished, as_loss, 0.5).total, earned)
