"""What is measured: a random Llama on the device, under the preset of the paper's own experiment.

Lengths, batches, adapters and the optimisers' settings are the preset's; a shape says how large the
model is and how much of the work is done to measure a rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from bench.config.loading import load_config
from bench.config.run import PPOConfig, RunConfig
from bench.errors import UserError, unknown
from bench.models.backbone import Backbone
from bench.models.devices import pick_device, pick_dtype
from bench.models.tokens import Tokens
from bench.training.ppo import PPO
from benchmarks.gpu.machine import Taken, copy_bandwidth, matrix_flops, release
from benchmarks.peers.memory import WeightCount
from benchmarks.peers.ours import ppo_on
from benchmarks.work import Work, llama_config, prompts, word_tokenizer

PRESET = "paper"


@dataclass(frozen=True)
class Shape:
    """How large the model is, and how much is done with it.

    Attributes:
        work: sizes of the Llama.
        overrides: of the preset, as `--set` takes them.
        rollouts: responses of the PPO step that is measured.
        decoded: rows at which decoding is timed.
        decoded_tokens: the shorter and the longer decoding; a token's time is their difference.
        matrix, copied: the product's n, and the copy's bytes, that give the device's own limits.
        patience: factor on the seconds that questions have; more on a CPU, which nobody lends.
    """

    work: Work
    rollouts: int
    decoded: tuple[int, ...]
    decoded_tokens: tuple[int, int]
    matrix: int
    copied: int
    patience: float = 1.0
    overrides: tuple[str, ...] = ()


SHAPES = {
    "tiny": Shape(
        Work(hidden=64, layers=2, heads=4, ffn=176, vocabulary=512),
        rollouts=8,
        decoded=(2, 4),
        decoded_tokens=(4, 12),
        matrix=256,
        copied=2**24,
        patience=10.0,
        overrides=(
            "ppo.prompt_max_tokens=12",
            "ppo.max_new_tokens=8",
            "ppo.microbatch_size=4",
            "reward_model.microbatch_size=2",
            "sft.microbatch_size=2",
        ),
    ),
    # LLaMA-7B (arXiv:2302.13971, Table 2); the multiple of 256 that its MLP rounds up to.
    "7b": Shape(
        Work(hidden=4096, layers=32, heads=32, ffn=11008, vocabulary=32000),
        rollouts=64,
        decoded=(16, 64, 256),
        decoded_tokens=(32, 128),
        matrix=8192,
        copied=2**32,
    ),
}
SPREAD = 8  # prompts are up to twice that shorter than the longest: a real batch is padded


@dataclass
class Step:
    """A PPO step that was measured, for the questions behind it.

    Attributes:
        phases: what rollout, experience and update took.
    """

    phases: dict[str, Taken]


class Setting:
    """The device, the configuration and the model that all questions share.

    Attributes:
        shape: sizes.
        device: the first GPU, or the CPU.
        config: the preset, nothing but the shape's overrides changed.
        dtype: of the base: bfloat16 on a GPU.
        step: of the PPO step, once it was measured.
        graphs: whether rollouts decode as CUDA graphs: where they were found to be right.
    """

    def __init__(self, name: str) -> None:
        if name not in SHAPES:
            raise UserError(unknown("--shape", name, SHAPES))
        self.shape = SHAPES[name]
        self.device = pick_device("auto")
        if name != "tiny" and self.device.type != "cuda":
            raise UserError(
                f"--shape {name} needs a GPU, and this torch sees none; --shape tiny runs on a CPU"
            )
        self.dtype = pick_dtype("auto", self.device)
        self.config: RunConfig = load_config(PRESET, list(self.shape.overrides))
        self.step: Step | None = None
        self.graphs = False

    @cached_property
    def work(self) -> Work:
        """The shape's sizes with the preset's lengths."""
        ppo = self.config.ppo
        most, spread = ppo.prompt_max_tokens, min(SPREAD, (ppo.prompt_max_tokens or 0) // 8)
        if most is None:
            raise ValueError(f"preset {PRESET}: ppo.prompt_max_tokens is not set")
        return replace(
            self.shape.work,
            prompt_tokens=most - spread,
            prompt_spread=spread,
            response_tokens=ppo.max_new_tokens,
            prompts=self.shape.rollouts,
            pair_response=(ppo.max_new_tokens, ppo.max_new_tokens),
        )

    @property
    def backbone(self) -> Backbone:
        """The random model."""
        return self._made[0]

    @property
    def weights(self) -> WeightCount:
        """Counts copies of the base."""
        return self._made[1]

    @cached_property
    def _made(self) -> tuple[Backbone, WeightCount]:
        """The model, made where it lives, and the count of it before there are adapters."""
        torch.manual_seed(0)
        with torch.device(self.device):
            model = AutoModelForCausalLM.from_config(llama_config(self.work), dtype=self.dtype)
        backbone = Backbone(model, Tokens(word_tokenizer(self.work), "{prompt}"), self.device)
        backbone.recomputes = self.config.model.gradient_checkpointing
        # No id that can be drawn ends a response: all are of full length, whatever the weights.
        backbone.tokens.eos_ids = [self.work.vocabulary]
        return backbone, WeightCount(model)

    @cached_property
    def texts(self) -> list[str]:
        """A prompt for each rollout; the first is as long as the preset lets one be."""
        longest = replace(
            self.work,
            prompts=1,
            prompt_tokens=self.work.prompt_tokens + self.work.prompt_spread,
            prompt_spread=0,
        )
        return (prompts(longest) + prompts(self.work))[: self.work.prompts]

    def ppo(self, **changes: Any) -> PPO:
        """A trainer for `token_ppo` on the rollouts' prompts, the preset's PPO with `changes`."""
        config = self.config.ppo.model_copy(update=self.sizes | changes)
        self.backbone.graphs = self.graphs
        return ppo_on(self.backbone, self.texts, config, self.config.lora, "token")

    @property
    def sizes(self) -> dict[str, Any]:
        """What the PPO step that is measured changes of the preset's."""
        return {"batch_size": self.shape.rollouts, "rollout_batch_size": self.shape.rollouts}

    def measured_config(self) -> RunConfig:
        """The configuration of that step, for the count of its memory."""
        ppo: PPOConfig = self.config.ppo.model_copy(update=self.sizes)
        model = self.config.model.model_copy(
            update={"dtype": str(self.dtype).removeprefix("torch.")}
        )
        return self.config.model_copy(update={"ppo": ppo, "model": model})

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second of a copy within the device."""
        return self._limit(lambda: copy_bandwidth(self.device, self.shape.copied))

    @cached_property
    def flops(self) -> float:
        """FLOPs a second of a large matrix product in the base's precision."""
        return self._limit(lambda: matrix_flops(self.device, self.dtype, self.shape.matrix))

    def _limit(self, measure: Callable[[], float]) -> float:
        found = measure()
        release(self.device)
        return found

    def clear(self) -> None:
        """Take all adapters off the model, and give back what is not held any more."""
        if "_made" in vars(self):  # or asking for it would make a model
            backbone = self.backbone
            for name in list(getattr(backbone.model, "peft_config", ())):
                backbone.drop_adapter(name)
            backbone.model.requires_grad_(False)
        release(self.device)
