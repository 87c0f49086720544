"""Ways to tell what was better than expected, in the trainer that uses them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.config.loading import load_config
from bench.config.run import PPOConfig
from bench.errors import UserError
from bench.plugins.protocols import Advantage
from bench.running.plan import make_plan
from bench.training.advantages import GAE, Group, LeaveOneOut, MacroGAE, Values
from bench.training.ppo import PPO, new_value
from tests.tiny import LORA, tiny_backbone
from tests.training.test_ppo import (
    PROMPTS,
    SMALL,
    by_token,
    lucky,
    mean_score,
    run,
    share_of_lucky,
)


def trainer(config: PPOConfig, advantage: Advantage, source: Any = mean_score) -> PPO:
    backbone = tiny_backbone()
    value = new_value(backbone, LORA, None, 0, config) if advantage.uses_value else None
    pay = lambda rollout: source(backbone, rollout)
    return PPO(backbone, PROMPTS, pay, value, config, LORA, 0, advantage=advantage)


@pytest.mark.parametrize("shared", [False, True])
def test_one_token_an_action_is_plain_ppo(shared: bool) -> None:
    config = SMALL.model_copy(update={"value_model": "shared" if shared else "separate"})
    assert run(trainer(config, MacroGAE(config, 1))) == run(trainer(config, GAE(config)))


def test_values_with_all_of_v_are_gae_that_looks_no_further() -> None:
    """c = 1 is gamma = 0: A = r - V, and V learns r; but for the rounding of (r - V) + V."""
    config = SMALL.model_copy(update={"gamma": 0.0})
    plain, found = (
        trainer(c, a, by_token) for c, a in ((config, GAE(config)), (SMALL, Values(SMALL, 1.0)))
    )
    rollout = plain.rollout()
    one, other = (ppo.experience(rollout, 0.1)[0] for ppo in (plain, found))
    torch.testing.assert_close(one.advantages, other.advantages, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.returns, other.returns, atol=1e-6, rtol=1e-6)


def test_without_a_value_nothing_of_one_is_trained_or_told() -> None:
    ppo = trainer(SMALL, LeaveOneOut(SMALL, 4))
    rows = run(ppo)
    assert ppo.backbone.adapters == {"policy"}
    assert not {"value_loss", "explained_variance", "value_grad_norm"} & set(rows[-1])
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]  # and no step warms one up


def test_an_interrupted_run_without_a_value_goes_on(tmp_path: Any) -> None:
    whole, states = trainer(SMALL, Group(SMALL, 4)), []
    rows = run(whole, on_checkpoint=lambda state: states.append(torch.save(state, tmp_path / "a")))
    assert len(states) == 2
    first: list[dict[str, float]] = []

    class Stop(Exception):
        pass

    def stop(state: dict[str, Any]) -> None:
        torch.save(state, tmp_path / "b")
        raise Stop

    ppo = trainer(SMALL, Group(SMALL, 4))
    with pytest.raises(Stop):
        ppo.run(lambda: {"score": share_of_lucky(ppo)}, first.append, stop)
    again = trainer(SMALL, Group(SMALL, 4))
    again.restore(torch.load(tmp_path / "b", weights_only=True))
    assert run(again) == [row for row in rows if row["step"] > 2]


def test_responses_to_a_prompt_stand_side_by_side() -> None:
    ppo = trainer(SMALL, LeaveOneOut(SMALL, 4))
    rollout = ppo.rollout()
    assert len(rollout.prompts) == SMALL.batch_size
    groups = [rollout.prompts[i : i + 4] for i in range(0, 16, 4)]
    assert all(len(set(group)) == 1 for group in groups)
    assert len({group[0] for group in groups}) == 4
    outputs = [tuple(rollout.outputs[i : i + 4]) for i in range(0, 16, 4)]
    assert any(len(set(group)) > 1 for group in outputs)  # drawn, not copied


def test_every_token_of_a_response_has_the_response_s_advantage() -> None:
    config = SMALL.model_copy(update={"whiten_advantages": False, "kl_coef": 0.0})
    ppo = trainer(config, LeaveOneOut(config, 4))
    rollout = ppo.rollout()
    experience, _ = ppo.experience(rollout, 0.0)
    mask = rollout.batch.mask
    for row in range(len(rollout.prompts)):
        assert len(set(experience.advantages[row][mask[row]].tolist())) == 1
    sums = experience.advantages[:, 0].view(4, 4).sum(dim=1)
    torch.testing.assert_close(sums, torch.zeros(4), atol=1e-5, rtol=0)
    assert float(lucky(ppo.backbone, rollout).sum()) > 0


def test_groups_that_do_not_fit_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="16 responses are no groups of 5"):
        trainer(SMALL, Group(SMALL, 5))


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_they_are_refused_when_the_run_is_planned(method: str) -> None:
    config = load_config("testbed", [f"method={method}", "reward.samples=7"])
    with pytest.raises(UserError, match=r"ppo.batch_size=64: it must be a multiple of the 7 resp"):
        make_plan(config)
