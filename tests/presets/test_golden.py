"""Where the presets differ: the same small rollout through PPO's own code, by hand for each.

Two responses, T = 3. The first is "a EOS" and one pad; the second "a b c" did not end::

    log pi - log pi_ref   [ 1.0 -0.5   . ]    values [ 1.0  0.5  0.25 ]    score 2
                          [-0.5  1.0  0.0]           [ 0.0  1.0  2.0  ]    score 3

The second value of .25 is that of the state behind EOS; it counts only where the score is paid
there. What stands at padding is NaN or far away, so that it shows if it is read.
"""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.config.loading import load_config
from bench.config.run import PPOConfig
from bench.models.sequences import Sequences
from bench.rl import kl_estimate, sequence_rewards
from bench.training.advantages import GAE
from bench.training.experience import Experience, Rewards, reward_tokens
from bench.training.optimisation import adamw, rate_factor, step
from bench.training.ppo import _controller
from bench.training.updates import Learner
from tests.presets import PRESETS

NAN = math.nan
LOGPROBS = torch.tensor([[-1.0, -2.0, 50.0], [-1.0, -1.0, -1.0]])
REF_LOGPROBS = torch.tensor([[-2.0, -1.5, 0.0], [-0.5, -2.0, -1.0]])
VALUES = torch.tensor([[1.0, 0.5, 0.25], [0.0, 1.0, 2.0]])
SCORES = torch.tensor([2.0, 3.0])
MASK = torch.tensor([[True, True, False], [True, True, True]])
FINISHED = torch.tensor([True, False])


def settings(preset: str) -> PPOConfig:
    return load_config(preset).ppo


def paid(config: PPOConfig) -> Rewards:
    kl = kl_estimate(LOGPROBS, REF_LOGPROBS, config.kl_kind)
    scores = sequence_rewards(SCORES, MASK)
    return reward_tokens(scores, kl, MASK, FINISHED, config, config.kl_coef)


def assert_table(found: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected).float(), atol=2e-5, rtol=0)


def advantages_of(
    rewards: Rewards, values: Tensor, mask: Tensor, config: PPOConfig
) -> tuple[Tensor, Tensor]:
    """By GAE, of a rollout of which it looks at the mask alone."""
    rollout: Any = SimpleNamespace(batch=SimpleNamespace(mask=mask))
    return GAE(config).estimate(rewards, values, rollout)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_kl_is_clamped_at_0_by_alpacafarm_alone(preset: str) -> None:
    """k1 is the difference itself: [1, -.5] and [-.5, 1, 0]; clamped: [1, 0] and [0, 1, 0]."""
    kl = kl_estimate(LOGPROBS, REF_LOGPROBS, settings(preset).kl_kind)
    low = 0.0 if preset == "alpacafarm" else -0.5
    assert kl[MASK].tolist() == [1.0, low, low, 1.0, 0.0]


@pytest.mark.parametrize(
    ("preset", "earned"),
    [
        # the score on the last token, and an end that is missing costs nothing
        ("alpacafarm", [[0, 2, 0], [0, 0, 3]]),
        ("instructgpt", [[0, 2, 0], [0, 0, 3]]),
        ("fine-grained-rlhf", [[0, 2, 0], [0, 0, 3]]),
        # the score on the last token; without an end it is -1, whatever it was
        ("lm-human-preferences", [[0, 2, 0], [0, 0, -1]]),
        # the score on the first pad, on the last token where there is none; -1 without an end
        ("tldr-details", [[0, 0, 2], [0, 0, -1]]),
        # the same place; without an end 1 comes off: 3 - 1
        ("trl-1.12", [[0, 0, 2], [0, 0, 2]]),
    ],
)
def test_where_the_score_is_paid_and_what_a_missing_end_costs(preset, earned) -> None:
    rewards = paid(settings(preset))
    assert_table(rewards.paid, earned)
    behind_eos = preset in ("tldr-details", "trl-1.12")
    assert rewards.states.tolist() == [[True, True, behind_eos], [True, True, True]]


@pytest.mark.parametrize(
    ("preset", "total"),
    [
        ("instructgpt", [[-0.02, 2.01, 0], [0.01, -0.02, 3]]),
        ("tldr-details", [[-0.05, 0.025, 2], [0.025, -0.05, -1]]),
        ("trl-1.12", [[-0.05, 0.025, 2], [0.025, -0.05, 2]]),
    ],
)
def test_rewards_that_are_not_whitened(preset, total) -> None:
    """Score less b KL, b = .02 or .05: 2 - .02 (-.5) = 2.01; 0 - .05 (-.5) = .025."""
    assert_table(paid(settings(preset)).total, total)


def test_rewards_whitened_with_padding_and_without() -> None:
    """All three keep the mean, (r - m) / s + m, with the population's variance.

    alpacafarm, b = .0067, KL clamped, the pad counts as a sixth number::

        r = [-.0067 2 0] [0 -.0067 3]    m = 4.9866 / 6 = .8311    s = 1.214889
        (2 - .8311) / 1.214889 + .8311 = 1.79325

    lm-human-preferences, b = .15, -1 instead of 3, five numbers::

        r = [-.15 2.075] [.075 -.15 -1]    m = .85 / 5 = .17    s = 1.020955
        (2.075 - .17) / 1.020955 + .17 = 2.03590

    fine-grained-rlhf, b = .3, five numbers::

        r = [-.3 2.15] [.15 -.3 3]    m = 4.7 / 5 = .94    s = 1.371641
        (2.15 - .94) / 1.371641 + .94 = 1.82215
    """
    with_padding = paid(settings("alpacafarm")).total[MASK]
    assert_table(with_padding, [0.14149, 1.79325, 0.147, 0.14149, 2.61637])
    without = paid(settings("lm-human-preferences")).total
    assert_table(without, [[-0.14343, 2.0359, 0], [0.07695, -0.14343, -0.97599]])
    fine = paid(settings("fine-grained-rlhf")).total
    assert_table(fine, [[0.03597, 1.82215, 0], [0.36405, 0.03597, 2.44185]])


@pytest.mark.parametrize(
    ("preset", "returns"),
    [
        ("alpacafarm", [[1.93474, 1.79325, 0], [2.90486, 2.75786, 2.61637]]),
        ("instructgpt", [[1.9145, 2.01, 0], [2.8435, 2.93, 3]]),
        ("lm-human-preferences", [[1.81567, 2.0359, 0], [-0.79514, -0.97062, -0.97599]]),
        ("tldr-details", [[1.81562, 1.9375, 2], [-0.78, -0.9, -1]]),
        ("trl-1.12", [[1.81562, 1.9375, 2], [1.9275, 1.95, 2]]),
        ("fine-grained-rlhf", [[1.79202, 1.82215, 0], [2.74699, 2.45573, 2.44185]]),
    ],
)
def test_returns_with_lambda_1_or_95_and_a_state_behind_eos(preset, returns) -> None:
    """A_t = r_t + V_{t+1} - V_t + lambda A_{t+1}, the return A_t + V_t.

    alpacafarm, lambda 1: the rewards still to come, values cancel::

        .14149 + 1.79325 = 1.93474

    instructgpt, lambda .95::

        A = [-.02 + .5 - 1 + .95 (1.51), 2.01 - .5] = [.9145, 1.51]    returns [1.9145, 2.01]

    trl-1.12, lambda .95, the score 2 on the pad, whose value is .25::

        A_3 = 2 - .25 = 1.75                          return 2
        A_2 = .025 + .25 - .5 + .95 (1.75) = 1.4375   return 1.9375
        A_1 = -.05 + .5 - 1 + .95 (1.4375) = .815625  return 1.815625
    """
    config = settings(preset)
    assert_table(advantages_of(paid(config), VALUES, MASK, config)[1], returns)


@pytest.mark.parametrize(
    ("preset", "advantages"),
    [
        ("alpacafarm", [[-0.34452, 0.0458, 0], [1.80044, 0.55164, -0.69115]]),
        ("instructgpt", [[-1.02846, -0.18382, 0], [1.70758, 0.4119, -0.90719]]),
        ("lm-human-preferences", [[0.88956, 1.31848, 0], [-0.06974, -0.76978, -1.36852]]),
        ("tldr-details", [[0.91007, 1.28712, 0], [-0.05737, -0.73644, -1.40338]]),
        ("trl-1.12", [[-0.29158, 0.56983, 0], [1.24856, -0.10545, -1.42136]]),
        ("fine-grained-rlhf", [[-0.7109, -0.03759, 0], [1.77207, 0.13207, -1.15565]]),
    ],
)
def test_whitened_advantages(preset, advantages) -> None:
    """(A - m) / s over the five tokens; alpacafarm counts the pad too, trl-1.12 divides by n - 1.

    alpacafarm: A = [.93474 1.29325 0] [2.90486 1.75786 .61637], six numbers::

        m = 7.50708 / 6 = 1.25118    s^2 = .843621    (.93474 - 1.25118) / .918488 = -.34452

    tldr-details: A = [.815625 1.4375] [-.78 -1.9 -3], the pad's 1.75 left out, n = 5::

        m = -3.426875 / 5 = -.685375    s^2 = 2.720271    1.500999 / 1.649324 = .91007

    trl-1.12: A = [.815625 1.4375] [1.9275 .95 0], n - 1 = 4::

        m = 5.130625 / 5 = 1.026125    s^2 = 2.084743 / 4 = .521186    -.2105 / .721932 = -.29158
    """
    config = settings(preset)
    assert_table(advantages_of(paid(config), VALUES, MASK, config)[0], advantages)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_losses_means_divide_by(preset: str) -> None:
    """Five response tokens in two rows of three: alpacafarm divides both losses by 6.

    The others divide the policy's by the 5 tokens, the value's by the 5 states, or by 6 where the
    state behind EOS is one.
    """
    config = settings(preset)
    rewards = paid(config)
    advantages, returns = advantages_of(rewards, VALUES, MASK, config)
    prompted = torch.cat([torch.ones(2, 1, dtype=torch.bool), MASK], dim=1)
    batch = Sequences(prompted.long(), prompted, MASK, torch.arange(2))
    experience = Experience(
        batch, rewards.states, LOGPROBS, REF_LOGPROBS, VALUES, advantages, returns
    )
    learner = Learner.__new__(Learner)
    learner.config = config.model_copy(update={"microbatch_size": 1})
    shares = [(p.token_share, p.state_share) for p in learner._parts(experience, torch.arange(2))]
    tokens = 6 if preset == "alpacafarm" else 5
    first = 3 if preset in ("tldr-details", "trl-1.12") else 2
    states = 6 if preset == "alpacafarm" else first + 3
    assert sorted(shares) == [(2 / tokens, first / states), (3 / tokens, 3 / states)]


def test_values_at_padding_change_nothing() -> None:
    """Where the score is paid on the last token, the state behind it is never looked at."""
    values = VALUES.clone()
    values[0, 2] = NAN
    for preset in PRESETS:
        config = settings(preset)
        if config.score_position == "last":
            same = advantages_of(paid(config), values, MASK, config)
            for found, expected in zip(
                same, advantages_of(paid(config), VALUES, MASK, config), strict=True
            ):
                assert torch.equal(found, expected)


def test_the_adaptive_controller_of_lm_human_preferences() -> None:
    """coef (1 + e 512 / 10000), e = clip(KL / 6 - 1, -.2, .2), from .15.

    KL 12: e = 1, clipped .2:     .15 (1 + .01024)     = .151536
    KL 0: e = -1, clipped -.2:    .151536 (1 - .01024) = .149984271...
    KL 6.6: e = .1:               times 1.00512        = .150752191...
    """
    controller = _controller(settings("lm-human-preferences"))
    assert controller.update(12.0) == pytest.approx(0.151536, rel=1e-9)
    assert controller.update(0.0) == pytest.approx(0.151536 * 0.98976, rel=1e-9)
    assert controller.update(6.6) == pytest.approx(0.151536 * 0.98976 * 1.00512, rel=1e-9)


@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "lm-human-preferences"])
def test_the_coefficient_of_the_others_is_fixed(preset: str) -> None:
    controller = _controller(settings(preset))
    assert controller.update(100.0) == controller.update(0.0) == settings(preset).kl_coef


@pytest.mark.parametrize(
    ("preset", "rate"),
    [
        ("alpacafarm", 0.75e-5),
        ("lm-human-preferences", 0.75e-5),
        ("tldr-details", 2.25e-6),
        ("trl-1.12", 2.25e-6),
        ("fine-grained-rlhf", 0.75e-5),
    ],
)
def test_a_linear_rate_after_30_of_120_steps(preset, rate) -> None:
    """1 - 30 / 120 = .75 of the first rate, 1e-5 or 3e-6."""
    config = settings(preset)
    factor = rate_factor(config.lr_schedule, 30, 120)
    assert config.lr * factor == pytest.approx(rate)
    assert config.value_lr * factor == pytest.approx(rate)


def test_a_constant_rate_and_a_cosine() -> None:
    """InstructGPT's stays at 9e-6. The cosine, which no preset takes: (1 + cos(pi / 4)) / 2."""
    config = settings("instructgpt")
    assert config.value_lr * rate_factor(config.lr_schedule, 30, 120) == pytest.approx(9e-6)
    assert rate_factor("cosine", 30, 120) == pytest.approx(0.8535534)


def test_a_rate_that_rises_first() -> None:
    """Two steps of rise in eight: 1/2, 1, then six from 1 to 0; a schedule may end behind the run.

    Linear after 5 of 8 steps: (8 - 5) / (8 - 2) = .5, and so is the cosine, half way. Steps before
    the first, in which only the value learns, have the first one's rate.
    """
    assert [rate_factor("linear", i, 8, 2) for i in (-3, 0, 1, 2, 5, 8)] == [0.5, 0.5, 1, 1, 0.5, 0]
    assert rate_factor("cosine", 5, 8, 2) == pytest.approx(0.5)
    assert rate_factor("constant", 0, 8, 2) == 0.5
    learner = Learner.__new__(Learner)
    learner.policy_optimiser, learner.value_optimiser = (
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2)
    )
    options = {"lr_schedule": "linear", "lr_schedule_steps": 11, "warmup_steps": 1}
    learner.config = PPOConfig(steps=6, lr=1e-3, value_lr=1e-2, **options)
    learner._set_rates(6)  # (11 - 6) / (11 - 1)
    assert learner.policy_optimiser.param_groups[0]["lr"] == pytest.approx(5e-4)
    assert learner.value_optimiser.param_groups[0]["lr"] == pytest.approx(5e-3)


def moved(config: PPOConfig, gradients: list[float]) -> float:
    """How far AdamW with the preset's constants goes at rate 1."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimiser = adamw([([weight], 1.0)], eps=config.adam_eps, beta2=config.adam_beta2)
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        step(optimiser, [weight], None)
    return -weight.item()


@pytest.mark.parametrize("preset", PRESETS)
def test_adams_eps(preset: str) -> None:
    """The first step is g / (|g| + eps): with g = 1e-5 a half at eps 1e-5, .999 at eps 1e-8."""
    small = preset in ("trl-1.12", "instructgpt")
    assert moved(settings(preset), [1e-5]) == pytest.approx(1 / 1.001 if small else 0.5)


@pytest.mark.parametrize("preset", PRESETS)
def test_adams_beta_2(preset: str) -> None:
    """Gradients 1, then 0: m = .09 / .19 = .473684, v = beta / (1 + beta), the step m / sqrt(v).

    beta .999: .473684 / sqrt(.499750) = .670057; beta .95: .473684 / sqrt(.487179) = .678648.
    """
    second = 0.678648 if preset == "instructgpt" else 0.670057
    assert moved(settings(preset), [1.0, 0.0]) == pytest.approx(1.0 + second, abs=2e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_whether_gradients_are_clipped(preset: str) -> None:
    """A gradient of 3 moves a weight by 1 where the norm is held to 1, otherwise by 3."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([3.0])
    norm = step(torch.optim.SGD([weight], lr=1.0), [weight], settings(preset).max_grad_norm)
    clipped = preset in ("alpacafarm", "instructgpt")
    assert norm == 3.0
    assert -weight.item() == pytest.approx(1.0 if clipped else 3.0)
