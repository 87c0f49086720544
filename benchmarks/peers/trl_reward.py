"""TRL 1.16.0's RewardTrainer as a contender."""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.peers.gate import Gate
from benchmarks.peers.trl_ppo import PLAIN, lora_config, scalar_model
from benchmarks.work import Work, pairs, word_tokenizer


def build(work: Work, model: Any, folder: str) -> Any:
    """A RewardTrainer on tokenised pairs; the head is trained with the adapter."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    tokenizer = word_tokenizer(work)
    args = RewardConfig(
        **PLAIN,
        output_dir=folder,
        logging_strategy="no",
        num_train_epochs=1,
        learning_rate=work.lr,
        per_device_train_batch_size=work.pair_batch,
    )
    return RewardTrainer(
        model=scalar_model(work, model.model),
        args=args,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(tokenised(work, tokenizer)),
        peft_config=lora_config("SEQ_CLS", modules_to_save=["score"]),
    )


def tokenised(work: Work, tokenizer: Any) -> list[dict[str, list[int]]]:
    """The pairs as RewardTrainer's own preparation leaves them: prompt, response, EOS."""
    eos = tokenizer.eos_token_id
    return [
        {
            "chosen_ids": [*tokenizer.encode(f"{pair.prompt} {pair.chosen}"), eos],
            "rejected_ids": [*tokenizer.encode(f"{pair.prompt} {pair.rejected}"), eos],
        }
        for pair in pairs(work)
    ]


def run(work: Work, model: Any, gate: Gate) -> None:
    """Epochs of reward modelling, one a command; tokenising was done before."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(work, model, folder)
        while gate.go():
            trainer.train()
            gate.counts["pairs"] = work.pairs
