"""This harness as a contender."""

from __future__ import annotations

from typing import Any, Literal

import torch

from bench.config.run import LoRAConfig, PPOConfig, RewardModelConfig
from bench.models.backbone import Backbone
from bench.models.heads import Granularity, RewardModel, ScalarHead
from bench.models.tokens import Tokens
from bench.training.ppo import PPO, new_value
from bench.training.reward_model import RewardSpec, train_reward_model
from benchmarks.peers.gate import Gate
from benchmarks.work import LORA, TEMPERATURE, Work, pairs, prompts, word_tokenizer

_PHASES = {"generation": "rollout", "scoring": "experience", "update": "update"}
_SCORER = "scorer"


def backbone_of(work: Work, model: Any) -> Backbone:
    """The base of every adapter; prompts are their own template."""
    return Backbone(model, Tokens(word_tokenizer(work), "{prompt}"), torch.device("cpu"))


def ppo_config(work: Work, value_model: Literal["separate", "shared"]) -> PPOConfig:
    """TRL 1.12's algorithm and defaults where it has any (see `trl_ppo`).

    TRL has no shared trunk: there the score is paid on the last token, our default, whose values
    generation reads off as it goes. Rollouts are not merged, for the memory's goal.
    """
    return PPOConfig(
        value_warmup_steps=0,
        batch_size=work.prompts,
        minibatch_size=work.minibatch,
        epochs=work.epochs,
        prompts=work.prompts,
        lr=work.lr,
        value_lr=work.lr,
        clip_range=0.2,
        value_clip_range=0.2,
        value_model=value_model,
        value_coef=0.1,
        gamma=1.0,
        gae_lambda=0.95,
        whiten_advantages=True,
        whiten_unbiased=True,
        temperature=TEMPERATURE,
        max_new_tokens=work.response_tokens,
        score_position="last" if value_model == "shared" else "first_pad",
        merge_rollouts=False,
        missing_eos_penalty=0.0,
        missing_eos="subtract",
        kl_kind="k1",
        kl_coef=0.05,
        kl_rate=0.0,
        max_grad_norm=None,
    )


def build_ppo(work: Work, backbone: Backbone, value_model: Literal["separate", "shared"]) -> PPO:
    """PPO against a reward model that is one more adapter on the same base."""
    return ppo_on(backbone, prompts(work), ppo_config(work, value_model), LORA, "sequence")


def ppo_on(
    backbone: Backbone,
    texts: list[str],
    config: PPOConfig,
    lora: LoRAConfig,
    granularity: Granularity,
) -> PPO:
    """PPO whose reward model and value are untrained adapters on the policy's own base."""
    backbone.add_adapter(_SCORER, lora)
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    scorer = RewardModel(backbone, _SCORER, head, granularity)
    value = new_value(backbone, lora, None, 0, config)
    return PPO(
        backbone, texts, lambda rollout: scorer.paid(rollout.batch), value, config, lora, seed=0
    )


def run_ppo(work: Work, model: Any, gate: Gate, value_model: Literal["separate", "shared"]) -> None:
    """PPO steps, one a command."""
    ppo: Any = build_ppo(work, backbone_of(work, model), value_model)
    for phase, method in _PHASES.items():
        setattr(ppo, method, gate.timed(phase, getattr(ppo, method)))
    while gate.go():
        before = ppo.tokens
        ppo.step()
        gate.counts["tokens"] = ppo.tokens - before


def run_reward_model(work: Work, model: Any, gate: Gate) -> None:
    """Epochs of reward modelling, one a command, tokenising included."""
    backbone, rows = backbone_of(work, model), pairs(work)
    config = RewardModelConfig(epochs=1, batch_size=work.pair_batch, lr=work.lr, warmup=0.0)
    while gate.go():
        counts = train_reward_model(backbone, rows, RewardSpec("sequence"), config, LORA, seed=0)[1]
        gate.counts["tokens"], gate.counts["pairs"] = counts["tokens"], counts["pairs"]
