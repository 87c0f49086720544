"""DPO's loss and gradient beside TRL 1.12.0's DPOTrainer: the same model, tokens and numbers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor

from bench.config.run import LoRAConfig, OfflineConfig
from bench.training.comparisons import Group
from bench.training.offline import Offline
from bench.training.offline_losses import DPO
from tests.tiny import stir, tiny_backbone

REASON = "needs trl==1.12.0: tox -e trl"
dpo_trainer = pytest.importorskip("trl.trainer.dpo_trainer", reason=REASON, exc_type=ImportError)

LORA = LoRAConfig(r=4, alpha=8, target_modules=["q_proj", "v_proj"])
ROWS = 8


def given() -> list[Group]:
    """Pairs of unlike lengths, one side's EOS missing now and then."""
    rng, eos = random.Random(3), tiny_backbone().tokens.eos_id

    def words(low: int, high: int) -> list[int]:
        return rng.choices(range(10, 1000), k=rng.randint(low, high))

    return [
        Group(words(2, 6), [[*words(0, 8), eos], words(1, 9) + [eos] * (i % 2)], [0, 1])
        for i in range(ROWS)
    ]


def adapter(model: Any) -> list[Tensor]:
    return [p for name, p in model.named_parameters() if "lora_" in name]


def trl_trainer(ours: Offline, beta: float, folder: Path) -> Any:
    """A DPOTrainer whose policy has our weights."""
    from datasets import Dataset

    trainer = dpo_trainer.DPOTrainer(
        model=tiny_backbone().model,
        args=dpo_trainer.DPOConfig(
            output_dir=str(folder),
            beta=beta,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        processing_class=ours.backbone.tokens.tokenizer,
        train_dataset=Dataset.from_list([{"prompt": "Go.", "chosen": "red", "rejected": "blue"}]),
        peft_config=LoraConfig(
            r=LORA.r,
            lora_alpha=LORA.alpha,
            target_modules=["q_proj", "v_proj"],
            task_type="CAUSAL_LM",
        ),
    )
    with torch.no_grad():
        for old, new in zip(ours.parameters, adapter(trainer.model), strict=True):
            new.copy_(old)
    return trainer


@pytest.mark.parametrize("beta", [0.1, 0.5])
@pytest.mark.parametrize("microbatch", [None, 3])
def test_loss_and_gradient(beta: float, microbatch: int | None, tmp_path: Path) -> None:
    config = OfflineConfig(batch_size=ROWS, microbatch_size=microbatch)
    ours = Offline(tiny_backbone(), given(), DPO(beta), config, LORA, seed=0)
    stir(ours.backbone, "policy")
    trainer = trl_trainer(ours, beta, tmp_path)
    pairs = [
        {"prompt_ids": g.prompt, "chosen_ids": g.responses[0], "rejected_ids": g.responses[1]}
        for g in ours.groups
    ]
    theirs = trainer.compute_loss(trainer.model, trainer.data_collator(pairs))
    expected = torch.autograd.grad(theirs, adapter(trainer.model))

    found: list[Tensor] = []
    ours.descent.optimiser.register_step_pre_hook(
        lambda *_: found.extend(p.grad.clone() for p in ours.parameters if p.grad is not None)
    )
    ours.descent.max_grad_norm = float("inf")
    row = ours.step(ours.groups)
    assert row["loss"] == pytest.approx(theirs.item(), rel=1e-5)
    assert abs(row["loss"] - 0.6931) > 1e-3  # the policies are not the reference
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-6)
