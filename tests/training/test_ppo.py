"""PPO: what must hold exactly; that each method learns is in tests/methods/test_learning.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.config.run import PPOConfig
from bench.errors import Diverged
from bench.models.backbone import Backbone
from bench.models.heads import ValueModel
from bench.models.names import POLICY
from bench.rl import payments, sequence_rewards
from bench.training.experience import Rollout, reward_tokens
from bench.training.ppo import PPO, new_value
from tests.tiny import LORA, stir, tiny_backbone

PROMPTS = ["Say red.", "Say blue, please.", "Go.", "Name a colour that you like."]
SMALL = PPOConfig(
    steps=4,
    value_warmup_steps=1,
    batch_size=16,
    minibatch_size=8,
    max_new_tokens=6,
    eval_every=2,
    lr=1e-2,
    value_lr=1e-2,
    missing_eos="subtract",  # these models hardly ever end, and would be paid nothing else
)


def lucky(backbone: Backbone, rollout: Rollout) -> Tensor:
    """(B, T) 1 where a token's id is below 256."""
    return ((rollout.batch.responses < 256) & rollout.batch.mask).float()


def trainer(
    config: PPOConfig = SMALL,
    source: Callable[[Backbone, Rollout], Tensor] = lucky,
    seed: int = 0,
) -> PPO:
    backbone = tiny_backbone()
    value = new_value(backbone, LORA, None, seed, config)

    pay = lambda rollout: source(backbone, rollout)
    return PPO(backbone, PROMPTS, pay, value, config, LORA, seed)


def share_of_lucky(ppo: PPO) -> float:
    rollout = ppo.rollout()
    return float(lucky(ppo.backbone, rollout).sum() / rollout.batch.mask.sum())


def run(ppo: PPO, **callbacks: Any) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    ppo.run(lambda: {"score": share_of_lucky(ppo)}, rows.append, **callbacks)
    return rows


def mean_score(backbone: Backbone, rollout: Rollout) -> Tensor:
    """(B, T) the share of lucky tokens, at the end."""
    shares = lucky(backbone, rollout).sum(1) / rollout.batch.lengths
    return sequence_rewards(shares, rollout.batch.mask)


def by_token(backbone: Backbone, rollout: Rollout) -> Tensor:
    """(B, T) as a token model pays: r_t / T, with r_t = 1 of a lucky token."""
    return lucky(backbone, rollout) / rollout.batch.lengths.unsqueeze(1)


ONE_MINIBATCH = {"minibatch_size": 16, "epochs": 1}


def test_at_step_0_kl_is_0_and_the_ratio_1() -> None:
    """Exactly, where both passes are the same; within rounding, where generation's is kept."""
    exact = SMALL.model_copy(update=ONE_MINIBATCH | {"rollout_logprobs": "forward"})
    for config, tolerance in ((exact, 0.0), (SMALL.model_copy(update=ONE_MINIBATCH), 1e-4)):
        ppo = trainer(config)
        experience, metrics = ppo.experience(ppo.rollout(), 0.1)
        assert abs(metrics["kl"]) <= tolerance
        row = ppo.update(experience, policy=True)
        assert row["clip_fraction"] == 0.0
        assert abs(row["ratio_max"] - 1.0) <= (tolerance or 1e-6)
        assert abs(row["ratio_mean"] - 1.0) <= (tolerance or 1e-6)


def test_kept_logprobs_give_the_experience_of_a_second_pass() -> None:
    ppo = trainer()
    ppo.done = 0
    ppo.step()
    rollout = ppo.rollout()
    kept, kept_metrics = ppo.experience(rollout, 0.1)
    ppo.config = SMALL.model_copy(update={"rollout_logprobs": "forward"})
    again, again_metrics = ppo.experience(rollout, 0.1)
    assert kept_metrics["kl"] != 0.0
    for name, value in again_metrics.items():
        assert kept_metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    for name in ("logprobs", "advantages", "returns"):
        torch.testing.assert_close(getattr(kept, name), getattr(again, name), rtol=1e-3, atol=1e-4)


def test_the_reference_stays_and_the_warm_up_moves_the_value_alone() -> None:
    ppo = trainer()
    batch = ppo.rollout().batch
    reference = ppo.backbone.logprobs(batch, None)
    ppo.step()
    assert torch.equal(ppo.backbone.logprobs(batch, POLICY), reference)
    assert ppo.value.values(batch).abs().max() > 0
    ppo.done = 0
    ppo.step()
    assert not torch.equal(ppo.backbone.logprobs(batch, POLICY), reference)
    assert torch.equal(ppo.backbone.logprobs(batch, None), reference)


def test_an_unfinished_response_pays_at_its_last_token() -> None:
    nothing = lambda backbone, rollout: torch.zeros(rollout.batch.mask.shape)
    ppo = trainer(source=nothing)
    rollout = ppo.rollout()
    rewards = reward_tokens(
        ppo.pay(rollout),
        torch.zeros(rollout.batch.mask.shape),
        rollout.batch.mask,
        rollout.finished,
        SMALL,
        0.1,
    )
    assert not rollout.finished.all()
    for i, finished in enumerate(rollout.finished.tolist()):
        last = int(rollout.batch.lengths[i]) - 1
        paid = rewards.total[i]
        assert paid.sum().item() == paid[last].item() == (0.0 if finished else -1.0)


@pytest.mark.parametrize("kl_coef", [0.0, 5.0])
@pytest.mark.parametrize("changes", [{}, {"whiten_rewards": "shift"}, {"kl_penalty": "loss"}])
def test_what_is_logged_as_reward_never_holds_the_kl(
    changes: dict[str, Any], kl_coef: float
) -> None:
    """It is what is paid less 1 for a missing EOS; the mass is the sum of the sizes."""
    signed = lambda backbone, rollout: lucky(backbone, rollout) - 0.25 * rollout.batch.mask
    ppo = trainer(SMALL.model_copy(update=changes), source=signed)
    stir(ppo.backbone, POLICY)  # far from the reference
    rollout = ppo.rollout()
    _, metrics = ppo.experience(rollout, kl_coef)
    earned = ppo.pay(rollout)
    last = (rollout.batch.lengths - 1).unsqueeze(1)
    earned = earned.scatter_add(1, last, -(~rollout.finished).float().unsqueeze(1))
    assert metrics["kl"] > 1.0
    assert metrics["reward"] == pytest.approx(earned.sum(1).mean().item(), abs=1e-5)
    assert metrics["reward_mass"] == pytest.approx(earned.abs().sum(1).mean().item(), abs=1e-5)
    assert metrics["reward_mass"] > abs(metrics["reward"])
    paid = ppo.pay(rollout)  # what a missing EOS costs is no place of the method's
    assert metrics["payments"] == pytest.approx(payments(paid, rollout.batch.mask).mean().item())


def test_a_seed_repeats_a_run() -> None:
    first, second = run(trainer()), run(trainer())
    assert first == second
    assert first != run(trainer(seed=1))


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(tmp_path: Any) -> None:
    whole = run(trainer())

    class Interrupted(Exception):
        pass

    def stop(state: dict[str, Any]) -> None:
        torch.save(state, tmp_path / "state.pt")
        raise Interrupted

    ppo = trainer()
    with pytest.raises(Interrupted):
        run(ppo, on_checkpoint=stop)
    again = trainer(seed=0)
    again.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(again) == [row for row in whole if row["step"] > 2]


def test_the_value_of_the_best_checkpoint_is_kept_and_saved(tmp_path: Any) -> None:
    ppo, seen = trainer(), []

    def validate() -> dict[str, float]:
        assert ppo.value is not None
        seen.append((ppo.done, [p.detach().clone() for p in ppo.learner.value_parameters]))
        return {"score": 1.0 if ppo.done == 2 else 0.0}

    ppo.run(validate, lambda row: None)
    at = dict(seen)
    assert all(map(torch.equal, ppo.learner.value_parameters, at[2]))
    assert not all(map(torch.equal, at[2], at[4]))
    ppo.save_value(tmp_path / "value")
    batch = ppo.rollout().batch
    expected = ppo.value.values(batch).detach()
    torch.testing.assert_close(
        ValueModel.load(ppo.backbone, tmp_path / "value").values(batch), expected
    )


def test_the_best_checkpoint_is_kept() -> None:
    """Validation says 0, then 1, then 0: the policy ends as it was at the 1."""
    ppo = trainer()
    scores = iter([0.0, 1.0, 0.0])
    kept: list[list[Tensor]] = []

    def validate() -> dict[str, float]:
        kept.append([p.detach().clone() for p in ppo.learner.policy_parameters])
        return {"score": next(scores)}

    best = ppo.run(validate, lambda row: None)
    assert (best.step, best.score) == (2, 1.0)
    for parameter, expected in zip(ppo.learner.policy_parameters, kept[1], strict=True):
        assert torch.equal(parameter, expected)


def test_the_controller_raises_the_price_of_kl_above_target() -> None:
    ppo = trainer(SMALL.model_copy(update={"kl_target": 1e-3, "kl_rate": 0.1}))
    stir(ppo.backbone, POLICY)  # far from the reference
    ppo.done = 0
    before = ppo.controller.coef
    ppo.step()
    assert ppo.controller.coef == pytest.approx(1.1 * before)
    ppo.controller.update(0.0)
    assert ppo.controller.coef == pytest.approx(1.1 * before * 0.95)


def test_a_nan_reward_is_a_diverged_run() -> None:
    ppo = trainer(source=lambda backbone, rollout: lucky(backbone, rollout) * float("nan"))
    with pytest.raises(Diverged, match="diverged"):
        run(ppo)


def test_a_response_is_finished_by_any_of_the_model_s_ends() -> None:
    ppo = trainer()
    ppo.backbone.tokens.eos_ids = [1, *range(512, 768)]  # a quarter of the vocabulary
    rollout = ppo.rollout()
    last = rollout.batch.responses.gather(1, rollout.batch.lengths.unsqueeze(1) - 1).squeeze(1)
    ended = (last >= 512) & (last < 768)
    assert ended.any()
    assert rollout.finished[ended].all()


def test_prompts_are_all_used_before_one_comes_again() -> None:
    ppo = trainer(SMALL.model_copy(update={"batch_size": 2}))
    drawn = ppo._next_prompts() + ppo._next_prompts()
    assert sorted(drawn) == [0, 1, 2, 3]
