"""TRL 1.12.0's PPOTrainer as a contender: its own loop, stepped through its data loader."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForSequenceClassification

from benchmarks.peers.gate import Gate
from benchmarks.work import LORA, Work, llama_config, prompts, word_tokenizer

# A trainer of TRL's on a CPU in float32 that writes and reports nothing.
PLAIN: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}


def lora_config(task: str, **options: Any) -> LoraConfig:
    """The adapter that every contender trains, for PEFT."""
    return LoraConfig(
        r=LORA.r,
        lora_alpha=LORA.alpha,
        lora_dropout=0.0,
        target_modules=list(LORA.target_modules),
        task_type=task,
        **options,
    )


def scalar_model(work: Work, trunk: Any) -> Any:
    """A model with one output a token on `trunk`, as TRL's trainers want it."""
    scalar = LlamaForSequenceClassification(llama_config(work))
    scalar.model = trunk
    return scalar.eval().requires_grad_(False)


def value_model(work: Work, model: Any) -> Any:
    """LoRA layers inside the plain class, which PPOTrainer takes apart by attribute."""
    adapter = lora_config("SEQ_CLS")
    value = get_peft_model(scalar_model(work, deepcopy(model.model)), adapter).get_base_model()
    value.score.requires_grad_(True)
    return value


class Gated:
    """A data loader that hands out a batch for every step that is asked for."""

    class Stop(Exception):
        """No more steps are wanted."""

    def __init__(self, loader: Any, gate: Gate) -> None:
        self.loader, self.gate = loader, gate

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            if not self.gate.go():
                raise Gated.Stop
            yield batch


def arguments(work: Work, folder: str, **more: Any) -> Any:
    """The task in TRL's words; what is left out has TRL's default.

    One micro-batch is the whole batch: with smaller ones TRL drops optimiser steps
    (tests/peers/test_trl_ppo.py). Checkpointing and bfloat16, both on by default, are off.
    """
    from trl.experimental.ppo import PPOConfig

    settings: dict[str, Any] = {
        "output_dir": folder,
        "num_sample_generations": 0,
        "learning_rate": work.lr,
        "per_device_train_batch_size": work.prompts,
        "num_mini_batches": work.prompts // work.minibatch,
        "num_ppo_epochs": work.epochs,
        "response_length": work.response_tokens,
        "stop_token": "eos" if work.eos_rate else None,
        "total_episodes": 10**9,
    }
    return PPOConfig(**(PLAIN | settings | more))


def build(work: Work, model: Any, folder: str) -> Any:
    """A PPOTrainer with LoRA policy, LoRA value and a reward model of the same size."""
    from datasets import Dataset
    from trl.experimental.ppo import PPOTrainer

    tokenizer = word_tokenizer(work)
    rows = [{"input_ids": tokenizer.encode(text)} for text in prompts(work)]
    return PPOTrainer(
        args=arguments(work, folder),
        processing_class=tokenizer,
        model=model,
        ref_model=None,
        reward_model=scalar_model(work, deepcopy(model.model)),
        value_model=value_model(work, model),
        train_dataset=Dataset.from_list(rows),
        peft_config=lora_config("CAUSAL_LM"),
    )


def _time_phases(gate: Gate) -> None:
    """Time TRL's own functions; what they leave of a step is the update."""
    from trl.experimental.ppo import ppo_trainer

    ppo_trainer.batch_generation = _count_tokens(
        gate, gate.timed("generation", ppo_trainer.batch_generation)
    )
    ppo_trainer.get_reward = gate.timed("scoring", ppo_trainer.get_reward)
    forward = ppo_trainer.forward
    scoring = gate.timed("scoring", forward)
    ppo_trainer.forward = lambda *args: (
        forward(*args) if torch.is_grad_enabled() else scoring(*args)
    )
    ppo_trainer.gc = SimpleNamespace(collect=gate.timed("gc", gc.collect))


def _count_tokens(gate: Gate, generation: Any) -> Any:
    """`generation`, which pads what is behind EOS: everything else of it is response tokens."""

    def counted(
        model: Any, queries: Any, chunk: int, pad_token_id: int, config: Any
    ) -> tuple[Any, Any]:
        ids, logits = generation(model, queries, chunk, pad_token_id, config)
        gate.counts["tokens"] = int((ids[:, queries.shape[1] :] != pad_token_id).sum())
        return ids, logits

    return counted


def run(work: Work, model: Any, gate: Gate) -> None:
    """PPO steps, one a command."""
    _time_phases(gate)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(work, model, folder)
        trainer.dataloader = Gated(trainer.dataloader, gate)
        try:
            trainer.train()
        except Gated.Stop:
            return
