"""One step beside TRL 1.12.0's PPOTrainer: the same model, tokens and scores, the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.peers.side_by_side import (
    EPOCHS,
    LR,
    MINIBATCH,
    ROWS,
    WIDTH,
    adapter_weights,
    given,
    our_ppo,
    our_rewards,
    our_rollout,
    preset,
    train,
    trl_trainer,
)

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def same(ours: Tensor, theirs: Tensor, mask: Tensor) -> None:
    torch.testing.assert_close(ours[mask], theirs[mask], **CLOSE)


OPTIONS = [
    pytest.param({}, {}, id="defaults"),
    pytest.param({"kl_kind": "k3"}, {"kl_estimator": "k3"}, id="k3"),
    pytest.param({"whiten_rewards": "scale"}, {"whiten_rewards": True}, id="whitened rewards"),
    pytest.param({"gamma": 0.9, "gae_lambda": 0.7}, {"gamma": 0.9, "lam": 0.7}, id="discounted"),
    pytest.param(
        {"clip_range": 0.01, "value_clip_range": 0.01},
        {"cliprange": 0.01, "cliprange_value": 0.01},
        id="clipped",
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), OPTIONS)
def test_kl_rewards_advantages_and_returns(
    ours: dict[str, Any], theirs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = given()
    ppo = our_ppo(preset(**ours), rows)
    seen = train(trl_trainer(ppo, rows, tmp_path, **theirs), rows, monkeypatch)
    rollout = our_rollout(ppo, rows)
    experience, metrics = ppo.experience(rollout, ppo.config.kl_coef)
    rewards, kl = our_rewards(ppo, rollout, experience)
    trl, tokens, states = seen.experience, rollout.batch.mask, experience.states

    assert torch.equal(tokens, ~trl["padding_mask"])
    assert torch.equal(states, ~trl["padding_mask_p1"])
    behind = [int(len(response) < WIDTH) for response in rows.responses]
    assert (states.sum(1) - tokens.sum(1)).tolist() == behind
    same(kl, trl["kl"], tokens)
    same(rewards, trl["rewards"], states)
    same(experience.values, trl["values"], states)
    same(experience.returns, trl["returns"], states)
    same(experience.advantages, trl["advantages"].masked_fill(~tokens, 0), states)
    assert metrics["kl"] == pytest.approx(seen.metrics["objective/kl"], rel=1e-4)


@pytest.mark.parametrize(("ours", "theirs"), OPTIONS)
def test_losses_and_weights_after_one_step(
    ours: dict[str, Any], theirs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = given()
    ppo = our_ppo(preset(**ours), rows)
    trainer = trl_trainer(ppo, rows, tmp_path, **theirs)
    before = [p.clone() for p in adapter_weights(trainer.model)]
    seen = train(trainer, rows, monkeypatch)
    experience, _ = ppo.experience(our_rollout(ppo, rows), ppo.config.kl_coef)
    metrics = ppo.update(experience, policy=True)

    assert len(seen.losses) == EPOCHS * ROWS // MINIBATCH
    policy_loss, value_loss = (sum(loss) / len(loss) for loss in zip(*seen.losses, strict=True))
    assert metrics["policy_loss"] == pytest.approx(policy_loss, abs=1e-5, rel=1e-4)
    assert metrics["value_loss"] == pytest.approx(value_loss, rel=1e-4)
    trained = [
        *zip(ppo.backbone.parameters("policy"), adapter_weights(trainer.policy_model), strict=True),
        *zip(ppo.backbone.parameters("value"), adapter_weights(trainer.value_model), strict=True),
        (ppo.value.head.weight, trainer.value_model.score.weight[0]),
    ]
    for mine, other in trained:
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)
    moved = [
        (new - old).abs().max()
        for old, new in zip(before, adapter_weights(trainer.model), strict=True)
    ]
    assert min(moved) > LR


def test_trl_ignores_max_grad_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: TRL takes max_grad_norm (1.0 by default) and clips nothing, so the preset has none.

    Under plain SGD a gradient cut to 1e-6 could hardly move a weight.
    """
    rows = given()
    ends = []
    for norm in (1e-6, 1e6):
        trainer = trl_trainer(
            our_ppo(preset(), rows), rows, tmp_path, optim="sgd", max_grad_norm=norm
        )
        before = [p.clone() for p in adapter_weights(trainer.model)]
        with monkeypatch.context() as patch:
            train(trainer, rows, patch)
        ends.append(adapter_weights(trainer.model))
    moved = sum((a - b).square().sum() for a, b in zip(before, ends[0], strict=True)).sqrt()
    assert moved > 100 * LR * 1e-6 * EPOCHS * ROWS / MINIBATCH
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


ACCUMULATION = [
    pytest.param(ROWS, 2, EPOCHS * ROWS // MINIBATCH, id="one micro-batch: a step a minibatch"),
    pytest.param(4, 2, EPOCHS, id="accumulating: a step an epoch"),
    pytest.param(4, 1, EPOCHS * ROWS // 4, id="last batch of the data: a step a micro-batch"),
]


@pytest.mark.parametrize(("micro_batch", "batches", "steps"), ACCUMULATION)
def test_trl_drops_minibatches_under_accumulation(
    micro_batch: int, batches: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect: with gradient_accumulation_steps > 1, num_mini_batches does not count steps.

    Accelerate steps once in gradient_accumulation_steps micro-batches, and TRL makes those the
    whole batch, so that all minibatches of an epoch end in one step; on the last batch that the
    data loader has, Accelerate steps at every micro-batch instead. One micro-batch a minibatch
    avoids both, which is what the equality above and `benchmarks.peers` use.
    """
    rows = given()
    trainer = trl_trainer(
        our_ppo(preset(), rows),
        rows,
        tmp_path,
        batches,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=ROWS // micro_batch,
    )
    taken: list[int] = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: taken.append(1))
    train(trainer, rows, monkeypatch)
    assert len(taken) == steps
