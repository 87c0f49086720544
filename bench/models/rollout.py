"""Sampling responses: a decode loop over any causal LM's key-value cache.

Finished responses leave the batch, so that no work goes to positions after EOS.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from bench.models.backbone import Backbone
from bench.models.sequences import pad_left, positions

COMPACT_BELOW = 0.75  # rows still running / rows in the batch at which the batch is cut down


@dataclass(frozen=True)
class Sampling:
    """How to draw tokens.

    Attributes:
        max_new_tokens: response tokens at most, EOS included.
        temperature: divides the logits; 0 is greedy.
        batch_size: prompts decoded together.
    """

    max_new_tokens: int
    temperature: float = 1.0
    batch_size: int = 128


@torch.inference_mode()
def sample(
    backbone: Backbone,
    adapter: str | None,
    prompts: list[list[int]],
    sampling: Sampling,
    generator: torch.Generator,
) -> list[list[int]]:
    """Draw one response a prompt.

    Args:
        backbone: the model.
        adapter: the policy's adapter; None samples from the reference.
        prompts: token ids.
        sampling: temperature and limits.
        generator: on the CPU; source of every draw, so that a seed gives the same text.

    Returns:
        Token ids of each response, EOS included where the model ended it.
    """
    responses: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    with backbone.using(adapter) as model:
        for start in range(0, len(order), sampling.batch_size):
            rows = order[start : start + sampling.batch_size]
            batch = [prompts[i] for i in rows]
            drawn = _decode(model, backbone, batch, sampling, generator)
            for i, response in zip(rows, drawn, strict=True):
                responses[i] = response
    return responses


def _decode(
    model: torch.nn.Module,
    backbone: Backbone,
    prompts: list[list[int]],
    sampling: Sampling,
    generator: torch.Generator,
) -> list[list[int]]:
    responses: list[list[int]] = [[] for _ in prompts]
    ids, attention = (x.to(backbone.device) for x in pad_left(prompts, backbone.tokens.pad_id))
    position = positions(attention)
    cache = DynamicCache()
    rows = list(range(len(prompts)))  # which prompt each row of the shrinking batch belongs to
    running = torch.ones(len(rows), dtype=torch.bool)
    for _ in range(sampling.max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=attention.long(),
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = draw(output.logits[:, -1], sampling.temperature, generator)
        for i in running.nonzero().flatten().tolist():
            responses[rows[i]].append(int(tokens[i]))
        running &= tokens != backbone.tokens.eos_id
        if not running.any():
            break
        if running.float().mean() < COMPACT_BELOW:
            kept = running.nonzero().flatten()
            cache.batch_select_indices(kept.to(backbone.device))
            attention, position = attention[kept], position[kept]
            tokens, running = tokens[kept], running[kept]
            rows = [rows[i] for i in kept.tolist()]
        ids = tokens.unsqueeze(1).to(backbone.device)
        attention = torch.cat([attention, attention.new_ones(len(rows), 1)], dim=1)
        position = position[:, -1:] + 1
    return responses


def draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """(B,) tokens drawn from (B, V) logits at `temperature` (0: the most likely), on the CPU."""
    logits = logits.float().cpu()
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits / temperature, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
