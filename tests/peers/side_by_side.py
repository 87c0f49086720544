"""One step of TRL 1.12.0's PPOTrainer and of ours on the same model, tokens and scores.

TRL's own `train` runs; only what it draws (the responses) and what it asks (the scores) is given to
it, and its local variables are read where it whitens the advantages and where it calls backward.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlamaForSequenceClassification

from bench.config.loading import load_config
from bench.config.run import LoRAConfig, PPOConfig
from bench.rl import kl_estimate, sequence_rewards
from bench.training.experience import Experience, Rollout, reward_tokens
from bench.training.ppo import PPO, new_value
from benchmarks.peers.trl_ppo import PLAIN
from tests.tiny import stir, tiny_backbone

REASON = "needs trl==1.12.0, the last release with PPOTrainer: tox -e trl"
ppo_trainer = pytest.importorskip(
    "trl.experimental.ppo.ppo_trainer", reason=REASON, exc_type=ImportError
)

LORA = LoRAConfig(r=4, alpha=8, target_modules=["q_proj", "v_proj"])
ROWS, WIDTH, MINIBATCH, EPOCHS = 16, 9, 8, 2
LR = 1e-3  # the preset's 3e-6 moves nothing in one step


@dataclass
class Given:
    """The batch: prompts and responses of unlike lengths, and a score each."""

    prompts: list[list[int]]
    responses: list[list[int]]
    scores: Tensor


@dataclass
class Seen:
    """What TRL computed: tensors before the update, losses of every minibatch, logged metrics."""

    experience: dict[str, Tensor] = field(default_factory=dict)
    losses: list[tuple[float, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


def preset(**changes: Any) -> PPOConfig:
    """`trl-1.12` at the size of this test."""
    size = {
        "batch_size": ROWS,
        "minibatch_size": MINIBATCH,
        "epochs": EPOCHS,
        "lr": LR,
        "value_lr": LR,
        "value_init": "zero",
        "max_new_tokens": WIDTH,
    }
    return load_config("trl-1.12").ppo.model_copy(update=size | changes)


def given() -> Given:
    """Row 0 has no EOS, row 1 has its EOS in the last column, row 2 is nothing but EOS."""
    eos = tiny_backbone().tokens.eos_id
    generator = torch.Generator().manual_seed(3)

    def words(count: int) -> list[int]:
        return torch.randint(10, 1000, (count,), generator=generator).tolist()

    lengths = [0, WIDTH - 1, 0, *(1 + i % (WIDTH - 1) for i in range(ROWS - 3))]
    responses = [[*words(length), eos] for length in lengths]
    responses[0] = words(WIDTH)
    prompts = [words(2 + i % 5) for i in range(ROWS)]
    return Given(prompts, responses, torch.randn(ROWS, generator=generator))


def our_ppo(config: PPOConfig, rows: Given) -> PPO:
    """Policy and value adapters away from 0, so that KL, values and their gradients are too."""
    backbone = tiny_backbone()
    value = new_value(backbone, LORA, None, 0, config)
    pay = lambda rollout: sequence_rewards(rows.scores, rollout.batch.mask)
    ppo = PPO(backbone, ["unused"], pay, value, config, LORA, 0)
    stir(backbone, "policy", seed=1)
    stir(backbone, "value", seed=2)
    with torch.no_grad():
        value.head.weight.normal_(generator=torch.Generator().manual_seed(4)).mul_(0.1)
    return ppo


def our_rollout(ppo: PPO, rows: Given) -> Rollout:
    """The given responses as if the policy had drawn them."""
    batch = ppo.backbone.tokens.join(rows.prompts, rows.responses)
    finished = [row[-1] == ppo.backbone.tokens.eos_id for row in rows.responses]
    with torch.no_grad():
        logprobs = ppo.backbone.logprobs(batch, "policy", ppo.config.temperature)
    unused = [""] * ROWS
    zeros = torch.zeros_like(logprobs)
    return Rollout(unused, unused, batch, torch.tensor(finished), logprobs, zeros)


def our_rewards(ppo: PPO, rollout: Rollout, experience: Experience) -> tuple[Tensor, Tensor]:
    """(B, T) rewards and KL."""
    kl = kl_estimate(experience.logprobs, experience.ref_logprobs, ppo.config.kl_kind)
    rewards = reward_tokens(
        ppo.pay(rollout),
        kl,
        rollout.batch.mask,
        rollout.finished,
        ppo.config,
        ppo.config.kl_coef,
    )
    return rewards.total, kl


def peft_config(task: str) -> LoraConfig:
    """`LORA` for PEFT."""
    modules = list(LORA.target_modules)
    return LoraConfig(r=LORA.r, lora_alpha=LORA.alpha, target_modules=modules, task_type=task)


def adapter_weights(model: torch.nn.Module) -> list[Tensor]:
    """The adapter of a PEFT model, in the order of `Backbone.parameters`."""
    return [p for name, p in model.named_parameters() if "lora_" in name]


def scalar_model() -> LlamaForSequenceClassification:
    """A model with one output a token on the base."""
    base = tiny_backbone().model
    base.config.num_labels = 1
    model = LlamaForSequenceClassification(base.config)
    model.model.load_state_dict(base.model.state_dict())
    return model.requires_grad_(False)


def trl_value(ppo: PPO) -> LlamaForSequenceClassification:
    """Our value function as a model of TRL's."""
    model = get_peft_model(scalar_model(), peft_config("SEQ_CLS")).get_base_model()
    copy(ppo.backbone.parameters("value"), adapter_weights(model))
    model.score.requires_grad_(True)
    copy([ppo.value.head.weight.unsqueeze(0)], [model.score.weight])
    return model


@torch.no_grad()
def copy(source: list[Tensor], target: list[Tensor]) -> None:
    for old, new in zip(source, target, strict=True):
        new.copy_(old)


def trl_trainer(ppo: PPO, rows: Given, folder: Path, batches: int = 1, **options: Any) -> Any:
    """A PPOTrainer whose policy and value have our weights; its data are `batches` x the rows."""
    from datasets import Dataset

    tokenizer = ppo.backbone.tokens.tokenizer
    tokenizer.padding_side = "left"
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "num_sample_generations": 0,
        "per_device_train_batch_size": ROWS,
        "num_mini_batches": ROWS // MINIBATCH,
        "num_ppo_epochs": EPOCHS,
        "total_episodes": ROWS,
        "learning_rate": LR,
        "response_length": WIDTH,
        "stop_token": "eos",
        "missing_eos_penalty": ppo.config.missing_eos_penalty,
    }
    trainer = ppo_trainer.PPOTrainer(
        args=ppo_trainer.PPOConfig(**(PLAIN | settings | options)),
        processing_class=tokenizer,
        model=tiny_backbone().model,
        ref_model=None,
        reward_model=scalar_model(),
        value_model=trl_value(ppo),
        train_dataset=Dataset.from_list([{"input_ids": ids} for ids in rows.prompts * batches]),
        peft_config=peft_config("CAUSAL_LM"),
    )
    copy(ppo.backbone.parameters("policy"), adapter_weights(trainer.policy_model))
    return trainer


def train(trainer: Any, rows: Given, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Run TRL's `train` on the given responses and scores, rows in order; what it computed."""
    seen = Seen()
    _give(trainer, rows, monkeypatch)
    whiten, backward = ppo_trainer.masked_whiten, trainer.accelerator.backward

    def see_experience(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
        whitened = whiten(values, mask, shift_mean)
        if shift_mean:  # of the advantages, not of the rewards
            names = ("kl", "rewards", "values", "returns", "padding_mask", "padding_mask_p1")
            train_locals = sys._getframe(1).f_locals
            seen.experience = {name: train_locals[name].clone() for name in names}
            seen.experience["advantages"] = whitened
        return whitened

    def see_losses(loss: Tensor, **options: Any) -> None:
        train_locals = sys._getframe(1).f_locals
        seen.losses.append((train_locals["pg_loss"].item(), train_locals["vf_loss"].item()))
        backward(loss, **options)

    monkeypatch.setattr(ppo_trainer, "masked_whiten", see_experience)
    monkeypatch.setattr(trainer.accelerator, "backward", see_losses)
    monkeypatch.setattr(trainer, "log", seen.metrics.update)
    trainer.train()
    return seen


def _give(trainer: Any, rows: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patch what TRL draws: the order of rows, the responses and the scores."""
    pad, temperature = trainer.processing_class.pad_token_id, trainer.args.temperature + 1e-7
    padded = torch.tensor([row + [pad] * (WIDTH - len(row)) for row in rows.responses])
    get_reward = ppo_trainer.get_reward

    def generation(model: Any, queries: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        assert [row[row != pad].tolist() for row in queries] == rows.prompts
        ids = torch.cat([queries, padded], dim=1)
        with torch.no_grad():
            logits = ppo_trainer.forward(model, ids, pad).logits
        return ids, logits[:, queries.shape[1] - 1 : -1] / temperature

    def reward(model: Any, *arguments: Any) -> tuple[Any, ...]:
        if model is trainer.reward_model:
            return None, rows.scores.clone(), None
        return get_reward(model, *arguments)

    monkeypatch.setattr(ppo_trainer, "batch_generation", generation)
    monkeypatch.setattr(ppo_trainer, "get_reward", reward)
    in_order(monkeypatch)


def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides take rows as they come."""
    monkeypatch.setattr(np.random, "permutation", np.arange)
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
