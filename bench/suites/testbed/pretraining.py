"""The testbed's tokenizer and its pretrained bases, from nothing; `base` is the command.

1. Write a synthetic web: half passages, half prompt and answer, all with the web's errors. No
   prompt of an evaluation split is in it, and no prompt at all about an "unseen" entity, which only
   passages mention.
2. Train a byte-level BPE of 1024 on it; larger bases take the shipped one.
3. Pretrain a small Llama in float32. Batches hold documents of like length, so hardly a position is
   padding. The learning rate ends at 15 % of its peak, not at 0: SFT finishes the anneal on the
   demonstrations, and a network that is not quite settled learns faster there.

All sizes read the same documents in the same order (as in Pythia, arXiv:2304.01373), so that they
differ in size alone: each fact is seen equally often. Data are scaled with parameters where there
is more to learn from more of them; this world is the same however much is written about it.
"""

# A script that people watch: printing is its interface.
# ruff: noqa: T201

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.suites.testbed.language import PHRASINGS
from bench.suites.testbed.prompts import draw_request, render_prompt
from bench.suites.testbed.world import WORLD, WORLD_SEED
from bench.suites.testbed.writer import write, write_passage

PAD, EOS, USER, ASSISTANT = "<|pad|>", "<|eos|>", "<|user|>", "<|assistant|>"
VOCABULARY = 1024
MAX_LENGTH = 256
DOCUMENTS = 110_000
BATCH = 64
PEAK_LR = 3e-3
FINAL_LR_SHARE = 0.15
WARM_UP_STEPS = 60
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
GRADIENT_CLIP = 1.0


@dataclass(frozen=True)
class Size:
    """The shape of a base: width of its hidden states, layers, attention heads."""

    hidden: int
    layers: int
    heads: int

    @property
    def peak_lr(self) -> float:
        """`PEAK_LR` over the width: what AdamW takes for hidden weights (arXiv:2203.03466)."""
        return PEAK_LR * SIZES[SHIPPED].hidden / self.hidden


SHIPPED = "testbed"
SIZES = {SHIPPED: Size(128, 4, 4), "testbed-m": Size(256, 6, 8), "testbed-l": Size(512, 8, 8)}
"""By name, 922,752, 5,008,640 and 25,829,888 parameters."""


def write_corpus(documents: int, seed: int = WORLD_SEED) -> list[str]:
    """The synthetic web, every second document an answered prompt.

    Args:
        documents: how many.
        seed: source of all choices.
    """
    rng = random.Random(f"corpus:{seed}")
    askable = WORLD.with_role("rlhf", "other")
    corpus = []
    for i in range(documents):
        if i % 2:
            request = draw_request(rng.choice(askable), rng)
            prompt = render_prompt(request, rng.randrange(len(PHRASINGS)))
            corpus.append(f"{USER}{prompt}{ASSISTANT}{write(request, rng)}{EOS}")
        else:
            corpus.append(write_passage(rng) + EOS)
    return corpus


def train_tokenizer(corpus: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose special tokens are never split or produced by plain text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, EOS, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def new_model(
    tokenizer: PreTrainedTokenizerFast, size: Size, seed: int = WORLD_SEED
) -> LlamaForCausalLM:
    """The untrained base, on the CPU, where a seed gives the same weights on every machine."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.hidden * 43 // 16,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(documents: list[list[int]], pad: int, seed: int) -> Iterator[torch.Tensor]:
    """Each document once, in random batches of like length, padded right.

    Args:
        documents: token ids, the shorter the better packed.
        pad: id to fill with.
        seed: of the order.

    Yields:
        ids (BATCH, S).
    """
    rng = random.Random(seed)
    order = rng.sample(range(len(documents)), len(documents))
    window = 32 * BATCH  # sorted inside a window only, so lengths stay mixed over time
    groups: list[list[int]] = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda i: len(documents[i]))
        chunk = [near[i : i + BATCH] for i in range(0, len(near), BATCH)]
        groups += rng.sample(chunk, len(chunk))
    for group in groups:
        width = min(MAX_LENGTH, max(len(documents[i]) for i in group))
        rows = [(documents[i] + [pad] * width)[:width] for i in group]
        yield torch.tensor(rows)


def learning_rate(step: int, steps: int, peak: float = PEAK_LR) -> float:
    """Linear warm-up, then a cosine from the peak to `FINAL_LR_SHARE` of it."""
    if step < WARM_UP_STEPS:
        return peak * (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    cosine = 0.5 * (1.0 + math.cos(math.pi * done))
    return peak * (FINAL_LR_SHARE + (1.0 - FINAL_LR_SHARE) * cosine)


def pretrain(
    model: LlamaForCausalLM, documents: list[list[int]], pad: int, peak_lr: float = PEAK_LR
) -> dict[str, float]:
    """One epoch of next-token prediction, in float32 where the model is.

    bfloat16 would buy nothing: a step of some 3000 tokens is one of the calls that a GPU waits for.

    Args:
        model: trained in place.
        documents: token ids.
        pad: the padding id; its positions carry no loss.
        peak_lr: highest learning rate.

    Returns:
        tokens, steps, seconds and the mean loss (nats per token) of the last 100 steps.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak_lr, betas=BETAS, weight_decay=WEIGHT_DECAY
    )
    steps = math.ceil(len(documents) / BATCH)
    started, tokens = time.monotonic(), 0
    losses: list[torch.Tensor] = []
    model.train()
    for step, ids in enumerate(batches(documents, pad, WORLD_SEED)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak_lr)
        tokens += int((ids != pad).sum())
        ids = ids.to(model.device)
        targets = ids[:, 1:].masked_fill(ids[:, 1:] == pad, -100)
        # Right padding under a causal mask is never attended to: no attention mask is needed.
        logits = model(input_ids=ids[:, :-1]).logits
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimizer.step()
        losses.append(loss.detach())  # read rarely: a GPU is waited for each time
        if step % 50 == 0 or step + 1 == steps:
            seconds = time.monotonic() - started
            left = seconds / (step + 1) * (steps - step - 1)
            print(
                f"step {step + 1}/{steps} loss {loss.item():.3f} {tokens} tokens, "
                f"{seconds:.0f} s, {left:.0f} s left",
                flush=True,
            )
    return {
        "tokens": tokens,
        "steps": steps,
        "seconds": round(time.monotonic() - started, 1),
        "final_loss": round(torch.stack(losses[-100:]).mean().item(), 4),
    }


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Store both under `out`: weights as fp16, to be loaded as float32 unless told otherwise."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    model.half().save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # safetensors writes 0600
    path = out / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = "float32"  # half the file, but no fp16 arithmetic by accident on a CPU
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
