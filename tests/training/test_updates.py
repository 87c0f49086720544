"""PPO's updates: what must not depend on the split, and what each option changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.config.run import PPOConfig
from bench.models import rollout as rollout_module
from bench.models.backbone import Backbone
from bench.models.heads import RewardModel, ScalarHead
from bench.models.names import POLICY
from bench.training.experience import Experience, Rollout
from bench.training.ppo import PPO, new_value
from bench.training.updates import _Log, _runs
from tests.tiny import LORA, random_rows, stir, stop_often, tiny_backbone

BASE = PPOConfig(
    steps=10,
    value_warmup_steps=0,
    batch_size=8,
    minibatch_size=8,
    max_new_tokens=10,
    lr=1e-2,
    value_lr=1e-2,
    kl_rate=0.0,
    value_model="separate",
)
PROMPTS = ["Say red.", "Say blue, please.", "Go.", "Name a colour that you like."]


def trainer(backbone: Backbone | None = None, demonstrations: Any = (), **options: Any) -> PPO:
    """A PPO with a policy and a value away from where they start."""
    backbone = backbone or tiny_backbone()
    stop_often(backbone)
    config = BASE.model_copy(update=options)
    value = new_value(backbone, LORA, None, 0, config)
    source = lambda rollout: ((rollout.batch.responses < 256) & rollout.batch.mask).float()
    ppo = PPO(backbone, PROMPTS, source, value, config, LORA, 0, demonstrations)
    stir(backbone, POLICY, scale=0.02)
    with torch.no_grad():
        value.head.weight.normal_(generator=torch.Generator().manual_seed(4)).mul_(0.1)
    return ppo


def experience(ppo: PPO, kl_coef: float = 0.1) -> Experience:
    result, _ = ppo.experience(ppo.rollout(), kl_coef)
    assert len(set(result.batch.lengths.tolist())) > 2
    return result


def weights(ppo: PPO) -> list[Tensor]:
    parameters = [*ppo.learner.policy_parameters, *ppo.learner.value_parameters]
    return [p.detach().clone() for p in parameters]


def moved(ppo: PPO, **update: Any) -> tuple[list[Tensor], dict[str, float]]:
    metrics = ppo.update(experience(ppo), policy=True)
    return weights(ppo), metrics


@pytest.mark.parametrize("value_model", ["separate", "shared"])
@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("more", [{}, {"count_padding": True}, {"score_position": "first_pad"}])
def test_micro_batches_add_up_to_the_minibatch(
    value_model: str, size: int, more: dict[str, Any]
) -> None:
    """8 x 1, 3 + 3 + 2 and 2 x 4 give the gradient and the numbers of 1 x 8."""
    plain, split = {}, {}
    for results, microbatch in ((plain, None), (split, size)):
        # Adam would turn a gradient's rounding into a whole step: look at gradients' norms
        ppo = trainer(value_model=value_model, microbatch_size=microbatch, adam_eps=1.0, **more)
        results["weights"], results["metrics"] = moved(ppo)
    for name, value in plain["metrics"].items():
        assert split["metrics"][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    for ours, theirs in zip(split["weights"], plain["weights"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_minibatch_takes_as_many_rows_as_fit() -> None:
    """Of at most 10 tokens: 4 + 5, then 9, then 12 (alone, it does not fit), then 1 + 1."""
    assert _runs([4, 5, 9, 12, 1, 1], 10) == [2, 1, 1, 2]
    ppo = trainer(minibatch_tokens=12)
    whole = experience(ppo)
    order = list(ppo.learner._order(whole))
    assert sorted(int(i) for index in order for i in index) == list(range(8))
    for index in order:
        assert len(index) == 1 or int(whole.batch.lengths[index].sum()) <= 12


def test_padding_counts_where_it_is_asked_to() -> None:
    """The policy loss divides by all of (B, T) instead of the counted tokens."""
    options = {"whiten_advantages": False}
    counted, padded = trainer(**options), trainer(count_padding=True, **options)
    batch = experience(counted)
    share = batch.batch.mask.float().mean().item()
    losses = [p.update(batch, policy=True)["policy_loss"] for p in (counted, padded)]
    assert losses[1] == pytest.approx(losses[0] * share, rel=1e-5)


def test_kl_in_the_loss_leaves_the_reward_alone_and_pulls_to_the_reference() -> None:
    # A small rate: Adam's first steps are as long as the rate, whatever the gradient.
    in_reward, in_loss = trainer(), trainer(kl_penalty="loss", kl_kind="k2", lr=3e-4)
    rollout = in_reward.rollout()
    paid, free = (p.experience(rollout, 5.0)[0] for p in (in_reward, in_loss))
    assert not torch.allclose(paid.returns, free.returns)

    def distance(ppo: PPO) -> float:
        gap = ppo.backbone.logprobs(free.batch, POLICY) - ppo.backbone.logprobs(free.batch, None)
        return gap.square().sum().item()

    before = distance(in_loss)
    flat = replace(free, advantages=torch.zeros_like(free.advantages))
    for _ in range(5):
        in_loss.learner.update(flat, policy=True, done=0, kl_coef=5.0)
    assert distance(in_loss) < 0.7 * before


def test_ptx_raises_the_demonstrations_likelihood() -> None:
    rows = list(zip(*random_rows(4), strict=True))
    ppo = trainer(demonstrations=rows, ptx_coef=1.0)
    batch = ppo.backbone.tokens.join([p for p, _ in rows], [r for _, r in rows])
    still = experience(ppo)
    flat = replace(still, advantages=torch.zeros_like(still.advantages))
    before = ppo.backbone.logprobs(batch, POLICY).sum().item()
    metrics = [ppo.update(flat, policy=True) for _ in range(5)]
    assert ppo.backbone.logprobs(batch, POLICY).sum().item() > before + 1.0
    assert metrics[-1]["ptx_loss"] < metrics[0]["ptx_loss"]


def test_ptx_in_micro_batches_is_ptx() -> None:
    rows = list(zip(*random_rows(4), strict=True))
    losses = []
    for size in (None, 3):
        ppo = trainer(demonstrations=rows, ptx_coef=1.0, microbatch_size=size)
        log = _Log()
        ppo.learner._pretrain(log)
        loss = float(sum(log.open["ptx_loss"]))
        losses.append(
            (loss, [p.grad.clone() for p in ppo.learner.policy_parameters if p.grad is not None])
        )
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)
    for whole, parts in zip(losses[0][1], losses[1][1], strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_ptx_without_demonstrations_is_refused() -> None:
    with pytest.raises(ValueError, match="demonstrations"):
        trainer(ptx_coef=1.0)


@pytest.mark.parametrize("value_model", ["separate", "shared"])
def test_rollouts_decoded_a_few_at_a_time_are_the_same_rollouts(
    value_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each response has draws of its own; the cache never holds more rows than asked for."""
    decode, sizes, found = rollout_module._decode, [], []

    def counted(model: Any, backbone: Any, prompts: list[Any], *rest: Any) -> Any:
        sizes.append(len(prompts))
        return decode(model, backbone, prompts, *rest)

    monkeypatch.setattr(rollout_module, "_decode", counted)
    for size in (8, 3):
        ppo = trainer(rollout_batch_size=size, value_model=value_model)
        found.append(experience(ppo))
    assert sizes == [8, 3, 3, 2]
    assert torch.equal(found[0].batch.ids, found[1].batch.ids)
    for name in ("logprobs", "ref_logprobs", "values", "returns"):
        got, wanted = getattr(found[1], name), getattr(found[0], name)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value_model", ["separate", "shared"])
def test_too_far_from_the_old_policy_the_updates_end(value_model: str) -> None:
    options = {"minibatch_size": 2, "epochs": 4, "lr": 5e-2, "value_model": value_model}
    free = trainer(**options)
    far = free.update(experience(free), policy=True)["approx_kl"]
    ppo = trainer(stop_kl=far / 100, **options)
    batch = experience(ppo)
    before = ppo.backbone.logprobs(batch.batch, POLICY)
    ppo.update(batch, policy=True)
    steps = int(ppo.learner.policy_optimiser.state_dict()["state"][0]["step"])
    assert 1 <= steps < 16
    assert int(ppo.learner.value_optimiser.state_dict()["state"][0]["step"]) == 16
    assert not torch.equal(ppo.backbone.logprobs(batch.batch, POLICY), before)


def test_rates_follow_the_schedule() -> None:
    """Of 10 steps 5 are done: linear 1/2, cosine (1 + cos(pi / 2)) / 2 = 1/2; 2 done: .8, .9045."""
    for kind, done, factor in (
        ("linear", 5, 0.5),
        ("cosine", 5, 0.5),
        ("linear", 2, 0.8),
        ("cosine", 2, 0.9045085),
        ("constant", 9, 1.0),
    ):
        ppo = trainer(lr_schedule=kind)
        ppo.done = done
        assert ppo.update(experience(ppo), policy=True)["lr"] == pytest.approx(1e-2 * factor)


@pytest.mark.parametrize("value_model", ["separate", "shared"])
def test_in_the_warm_up_the_value_alone_learns(value_model: str) -> None:
    ppo = trainer(value_model=value_model)
    batch = experience(ppo)
    policy = [p.detach().clone() for p in ppo.learner.policy_parameters]
    losses = [ppo.update(batch, policy=False)["value_loss"] for _ in range(5)]
    assert losses[-1] < losses[0]
    for parameter, before in zip(ppo.learner.policy_parameters, policy, strict=True):
        assert torch.equal(parameter, before)


def test_the_shared_value_reads_the_policy_s_hidden_states() -> None:
    """One pass for both heads gives the log-probabilities and the values of two."""
    ppo = trainer(value_model="shared")
    assert ppo.value.adapter == POLICY
    assert len(ppo.learner.value_parameters) == 1  # the head
    batch = ppo.rollout().batch
    logprobs, hidden = ppo.backbone.logprobs_and_hidden(batch, POLICY)
    torch.testing.assert_close(logprobs, ppo.backbone.logprobs(batch, POLICY))
    states = torch.nn.functional.pad(batch.mask, (1, 0), value=True)
    torch.testing.assert_close(
        ppo.value.read(hidden)[states], ppo.value.states(batch)[states], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("position", ["last", "first_pad"])
def test_values_read_in_generation_are_those_of_a_second_pass(position: str) -> None:
    """On a shared trunk; where the state behind EOS counts they come from a second pass anyway."""
    ppo = trainer(value_model="shared", score_position=position)
    rollout = ppo.rollout()
    assert (rollout.values is None) == (position == "first_pad")
    kept, _ = ppo.experience(rollout, 0.1)
    again, _ = ppo.experience(replace(rollout, values=None), 0.1)
    mask = rollout.batch.mask
    assert again.values[mask].abs().max() > 0.01
    torch.testing.assert_close(kept.values[mask], again.values[mask], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kept.returns, again.returns, rtol=1e-4, atol=1e-5)


def reward_model(backbone: Backbone) -> RewardModel:
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward", seed=9)
    rng = torch.Generator().manual_seed(2)
    head = ScalarHead(backbone.hidden_size, scale=3.0, generator=rng)
    model = RewardModel(backbone, "reward", head, "token")
    model.mean, model.std = 0.7, 2.0
    return model


def test_where_the_value_starts() -> None:
    backbone = tiny_backbone()
    model = reward_model(backbone)
    rows = backbone.tokens.join(*random_rows(5))
    starts = {}
    for init in ("reward_model", "reward_trunk", "zero"):
        config = BASE.model_copy(update={"value_init": init})
        value = new_value(backbone, LORA, model, 0, config)
        starts[init] = value.states(rows)[:, 1:] * rows.mask  # each has seen its token, as r_t has
        same = all(
            torch.equal(a, b)
            for a, b in zip(
                backbone.parameters("reward"), backbone.parameters("value"), strict=True
            )
        )
        assert same == (init != "zero")
    torch.testing.assert_close(starts["reward_model"], model.token_scores(rows))
    assert not starts["reward_trunk"].any()
    assert not starts["zero"].any()


def test_the_state_behind_eos_is_trained_where_the_score_is_paid_there() -> None:
    """A response shorter than the batch has one more state, whose return is its whole score."""
    ppo = trainer(score_position="first_pad", whiten_advantages=False)
    score = 3.0
    ppo.pay = lambda rollout: torch.where(
        torch.arange(rollout.batch.mask.shape[1]) == rollout.batch.lengths.unsqueeze(1) - 1,
        score,
        0.0,
    )
    rollout: Rollout = ppo.rollout()
    result, _ = ppo.experience(rollout, 0.0)
    lengths, width = rollout.batch.lengths.tolist(), rollout.batch.mask.shape[1]
    short = [i for i, n in enumerate(lengths) if n < width]
    assert short
    direct = ppo.value.states(rollout.batch)
    for i in short:
        assert result.states[i].sum() == lengths[i] + 1
        assert result.returns[i, lengths[i]].item() == pytest.approx(score)
        assert result.values[i, lengths[i]].item() == pytest.approx(
            direct[i, lengths[i]].item(), abs=1e-5
        )
    ppo.update(result, policy=True)


def test_a_coefficient_of_0_stays_0() -> None:
    ppo = trainer(kl_coef=0.0, kl_rate=0.2)
    ppo.step()
    assert ppo.controller.coef == 0.0


def test_without_a_limit_gradients_are_not_clipped() -> None:
    """The clipped step is the free one, scaled by limit / norm (with a big eps Adam is SGD)."""
    free, clipped = (
        trainer(max_grad_norm=limit, adam_eps=1e6, lr=1e6, value_lr=1e6) for limit in (None, 1e-3)
    )
    before = weights(free)
    batch = experience(free)
    norms = [p.update(batch, policy=True)["policy_grad_norm"] for p in (free, clipped)]
    assert norms[0] == pytest.approx(norms[1])
    assert norms[0] > 1e-3
    n = len(free.learner.policy_parameters)
    for ours, theirs, start in list(zip(weights(clipped), weights(free), before, strict=True))[:n]:
        torch.testing.assert_close(
            ours - start, (theirs - start) * 1e-3 / norms[0], rtol=1e-2, atol=1e-6
        )
