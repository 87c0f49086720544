"""Which ways of placing a score leave the expected policy gradient as it is: all trajectories.

A response of at most three of three tokens, of which token 0 ends it: 15 responses, each with its
probability under a random policy and a random score R. The expected gradient is a sum over them,
nothing is drawn. A score at the end gives that of E[R]; so does every placement that pays a token
by what is known when it is drawn. One that shares out R by what comes later does not, although its
rows sum to R.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from bench.rl import attention_shares, gae, growth_of_mean, masked_sum, sequence_rewards

LENGTH, WORDS = 3, 3
Placement = Callable[[Tensor, Tensor], Tensor]


def responses() -> list[tuple[int, ...]]:
    """All of them; 0 ends one, as does the third token."""
    found = {
        row[: row.index(0) + 1] if 0 in row else row for row in product(range(WORDS), repeat=LENGTH)
    }
    return sorted(found)


ROWS = responses()
PREFIXES = sorted({row[:t] for row in ROWS for t in range(len(row) + 1)})
MASK = torch.arange(LENGTH) < torch.tensor([len(row) for row in ROWS])[:, None]
RNG = torch.Generator().manual_seed(0)
SCORES = torch.randn(len(PREFIXES), generator=RNG, dtype=torch.float64)  # R of every prefix
LOGITS = torch.randn(len(PREFIXES), WORDS, generator=RNG, dtype=torch.float64)
TOKENS = torch.randn(WORDS, generator=RNG, dtype=torch.float64)  # r of a token, wherever it stands


def at(rows: list[tuple[int, ...]], table: Tensor) -> Tensor:
    """The table's entries for these prefixes."""
    return table[torch.tensor([PREFIXES.index(row) for row in rows])]


def states(table: Tensor, shift: int) -> Tensor:
    """(B, T) the table before (0) or behind (1) each token."""
    padded = [[row[: t + shift] for t in range(LENGTH)] for row in ROWS]
    return torch.stack([at(row, table) for row in padded]).masked_fill(~MASK, 0.0)


def logprobs(logits: Tensor) -> Tensor:
    """(B, T)."""
    taken = torch.tensor([[*row, 0, 0, 0][:LENGTH] for row in ROWS])
    before = torch.tensor([[PREFIXES.index(row[:t]) for t in range(LENGTH)] for row in ROWS])
    return logits.log_softmax(-1)[before, taken].masked_fill(~MASK, 0.0)


def gradient_of_expected(scores: Tensor) -> Tensor:
    """d E[R] / d logits."""
    logits = LOGITS.clone().requires_grad_()
    expected = (logprobs(logits).sum(dim=1).exp() * scores).sum()
    return torch.autograd.grad(expected, logits)[0]


def policy_gradient(rewards: Tensor, values: Tensor, gae_lambda: float = 1.0) -> Tensor:
    """E[sum_t A_t d log pi_t / d logits], A by GAE with gamma = 1."""
    logits = LOGITS.clone().requires_grad_()
    advantages, _ = gae(rewards, values, MASK, gamma=1.0, gae_lambda=gae_lambda)
    logs = logprobs(logits)
    weight = logs.detach().sum(dim=1, keepdim=True).exp()
    return torch.autograd.grad((weight * advantages * logs).sum(), logits)[0]


def exact_values(rewards: Tensor) -> Tensor:
    """(B, T) E[what is paid from here on] of each state."""
    weight = logprobs(LOGITS).sum(dim=1).exp()
    ahead = rewards.flip(1).cumsum(dim=1).flip(1)
    found = torch.zeros_like(rewards)
    for i, row in enumerate(ROWS):
        for t in range(len(row)):
            same = torch.tensor([other[:t] == row[:t] and len(other) > t for other in ROWS])
            found[i, t] = (weight * ahead[:, t])[same].sum() / weight[same].sum()
    return found


R = states(SCORES, 1).gather(1, MASK.sum(dim=1, keepdim=True) - 1).squeeze(1)
AT_THE_END = sequence_rewards(R, MASK)
TOKEN_REWARDS = torch.stack(
    [TOKENS[torch.tensor([*row, 0, 0, 0][:LENGTH])] for row in ROWS]
).masked_fill(~MASK, 0.0)
MEANS = masked_sum(TOKEN_REWARDS, MASK, dim=1) / MASK.sum(dim=1)
PREFIX_DIFFERENCES = states(SCORES, 1) - states(SCORES, 0)
BY_ATTENTION = attention_shares(TOKEN_REWARDS.exp(), MASK).double() * R[:, None]


def test_all_responses_are_there_once() -> None:
    assert len(ROWS) == 15
    assert logprobs(LOGITS).sum(dim=1).exp().sum().item() == pytest.approx(1.0)


def test_with_exact_values_red_s_advantages_are_those_of_the_score_at_the_end() -> None:
    """Token by token of every response, gamma = lambda = 1 or any other lambda."""
    for gae_lambda in (1.0, 0.95, 0.0):
        one, other = (
            gae(paid, exact_values(paid), MASK, gamma=1.0, gae_lambda=gae_lambda)[0]
            for paid in (AT_THE_END, PREFIX_DIFFERENCES)
        )
        torch.testing.assert_close(one, other)
        assert one[MASK].abs().min() > 1e-6


@pytest.mark.parametrize(
    ("paid", "scores"),
    [
        (AT_THE_END, R),
        (PREFIX_DIFFERENCES, R),  # red
        (0.3 * PREFIX_DIFFERENCES + 0.7 * AT_THE_END, R),  # red, share=.3
        (growth_of_mean(TOKEN_REWARDS, MASK), MEANS),  # token_ppo, assignment=growth
    ],
    ids=["end", "red", "red .3", "growth"],
)
@pytest.mark.parametrize("known", ["nothing", "anything", "exact"])
def test_paid_by_what_is_known_the_expected_gradient_stays(
    paid: Tensor, scores: Tensor, known: str
) -> None:
    """With gamma = lambda = 1, whatever the value function of the states says."""
    values = {
        "nothing": torch.zeros_like(paid),
        "anything": states(SCORES.flip(0), 0),
        "exact": exact_values(paid),
    }[known]
    expected = gradient_of_expected(scores)
    torch.testing.assert_close(policy_gradient(paid, values), expected)
    assert expected.norm() > 1e-2


def test_with_a_wrong_value_and_a_lower_lambda_the_place_matters() -> None:
    nothing = torch.zeros_like(AT_THE_END)
    one, other = (
        policy_gradient(paid, nothing, gae_lambda=0.5) for paid in (AT_THE_END, PREFIX_DIFFERENCES)
    )
    assert (one - other).norm() > 0.1 * gradient_of_expected(R).norm()


@pytest.mark.parametrize(
    ("paid", "scores"),
    [(BY_ATTENTION, R), (TOKEN_REWARDS / MASK.sum(dim=1, keepdim=True), MEANS)],
    ids=["abc", "token_ppo"],
)
def test_shared_out_by_what_comes_later_it_does_not(paid: Tensor, scores: Tensor) -> None:
    """Rows sum to the score, and yet what a token is paid depends on tokens after it.

    Those are not credited with what they add to an earlier token's share.
    """
    torch.testing.assert_close(paid.sum(dim=1), scores)
    expected = gradient_of_expected(scores)
    apart = policy_gradient(paid, exact_values(paid)) - expected
    assert apart.norm() > 0.03 * expected.norm()  # measured: .60 and .06
