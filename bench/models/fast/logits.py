"""The LM head at few states at a time: logits of all tokens are never held at once.

A vocabulary of 152,000 makes 600 kB of logits a token in float32, and log-softmax and its gradient
as much again: of a micro-batch that is more than checkpointed layers keep. Here the head works on
chunks, and the backward computes a chunk's logits once more instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.models.fast.forwards import forwards

LOGITS_AT_ONCE = 2**25  # 128 MiB in float32; what fits is computed in one go, and kept


def logits_of(model: Any, output: Any, states: Tensor) -> Tensor:
    """(n, V) logits of (n, d) last hidden states, by the model's own forward.

    Its decoder answers with `states` meanwhile: a model may scale or cap what its head gives
    (Cohere, Gemma 2), and does so in that forward alone.

    Args:
        model: decoder and head, adapters in its layers or not.
        output: an answer of the decoder, for whatever else the forward looks at.
        states: last hidden states, of any tokens.

    Raises:
        RuntimeError: the model's forward asks neither of its two decoders.
    """
    answer = type(output)(**{**output, "last_hidden_state": states.unsqueeze(0)})
    asked = []

    def forward(*_: Any, **__: Any) -> Any:
        asked.append(True)
        return answer

    ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)  # nobody reads them
    # OPT's forward asks the inner one, the others' the whole.
    with forwards(dict.fromkeys((model.base_model, model.get_decoder()), forward)):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    if not asked:
        raise RuntimeError(f"{type(model).__name__} reads its head's input from elsewhere")
    return logits


def chunk_size(vocabulary: int) -> int:
    """Tokens whose logits are held at once."""
    return max(1, LOGITS_AT_ONCE // vocabulary)


def in_chunks(
    function: Callable[[Tensor, Tensor], Tensor], states: Tensor, tokens: Tensor, vocabulary: int
) -> Tensor:
    """`function` of (n, d) states and (n,) tokens, `chunk_size` of them at a time.

    Args:
        function: gives (n,) numbers; runs once more in the backward where there are several chunks.
        states: last hidden states.
        tokens: the ids whose log-probabilities are asked for.
        vocabulary: V, the logits that a state has.
    """
    size = chunk_size(vocabulary)
    if len(tokens) <= size:
        return function(states, tokens)
    parts = zip(states.split(size), tokens.split(size), strict=True)
    # Nothing random happens in them, so that no generator's state needs to be kept either.
    found = [
        checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False) for part in parts
    ]
    return torch.cat(found)
