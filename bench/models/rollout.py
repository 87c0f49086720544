"""Sampling responses: a decode loop over any causal LM's key-value cache.

Finished responses leave the batch, so that no work goes to positions after EOS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.errors import Diverged
from bench.models import processes
from bench.models.backbone import Backbone, decoder_of, too_long
from bench.models.fast.cache import preallocated_cache, select_rows
from bench.models.fast.graphs import FixedDecoding, recorded, taken
from bench.models.sequences import pad_left, positions

if TYPE_CHECKING:
    from bench.config.run import ModelConfig

_DIVERGED = "the logits of a rollout are not numbers: the run diverged"
COMPACT_BELOW = 0.75  # rows still running / rows in the batch at which the batch is cut down


@dataclass(frozen=True)
class Sampling:
    """How to draw tokens.

    Attributes:
        max_new_tokens: response tokens at most, EOS included.
        temperature: divides the logits; 0 is greedy.
        batch_size: prompts decoded together; the cache of keys and values holds so many. It
            decides no draw: every response has random numbers of its own.
        merge: add the adapter into the weights meanwhile, for a copy of those that carry one;
            None: in float32 only (in bfloat16 the sum is rounded, and another policy drawn from).
    """

    max_new_tokens: int
    temperature: float = 1.0
    batch_size: int = 128
    merge: bool | None = None

    @classmethod
    def of(cls, config: ModelConfig, max_new_tokens: int, temperature: float = 1.0) -> Sampling:
        """What is drawn outside of PPO's rollouts."""
        return cls(max_new_tokens, temperature, config.decode_batch_size or cls.batch_size)


@dataclass
class Draw:
    """One response.

    Attributes:
        ids: its tokens, EOS included where the model ended it.
        logprobs: of each token under the distribution that it was drawn from, nats.
        entropies: of each of those distributions, nats.
        values: of each state in which a token was drawn, where a value function was given.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def sample(
    backbone: Backbone,
    adapter: str | None,
    prompts: list[list[int]],
    sampling: Sampling,
    generator: torch.Generator,
) -> list[list[int]]:
    """Draw one response a prompt; token ids, EOS included where the model ended it.

    Takes what `draw_responses` takes.
    """
    return [drawn.ids for drawn in draw_responses(backbone, adapter, prompts, sampling, generator)]


@torch.inference_mode()
def draw_responses(
    backbone: Backbone,
    adapter: str | None,
    prompts: list[list[int]],
    sampling: Sampling,
    generator: torch.Generator,
    value: Callable[[Tensor], Tensor] | None = None,
) -> list[Draw]:
    """Draw one response a prompt.

    Args:
        backbone: the model.
        adapter: the policy's adapter; None samples from the reference.
        prompts: token ids.
        sampling: temperature and limits.
        generator: on the CPU; source of every draw, so that a seed gives the same text on every
            device, but where a number falls within rounding of two tokens' border.
        value: (B, d) last hidden states to (B,) values, read off the same pass.

    Returns:
        The responses with what was measured of each draw, in the order of `prompts`.

    Raises:
        Diverged: if the model gives a token of no known probability.
        UserError: a prompt and `max_new_tokens` do not fit the model's context.
    """
    longest = max(map(len, prompts), default=0) + sampling.max_new_tokens
    if longest > (most := backbone.within(longest)):
        raise too_long(longest, most)
    responses = [Draw()] * len(prompts)
    # Prompts of like length go together, so that little is padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    numbers = _numbers(len(prompts), sampling, generator)
    with _policy(backbone, adapter, sampling) as model, _last_states(model) as last:
        read = None if value is None else lambda: value(last[0])

        def decode(own: list[int]) -> list[Draw]:
            drawn: list[Draw] = []
            for start in range(0, len(own), sampling.batch_size):
                rows = own[start : start + sampling.batch_size]
                batch = [prompts[i] for i in rows]
                loop = _decode_fixed if backbone.graphs else _decode
                drawn += loop(model, backbone, batch, sampling, numbers[rows], read)
            return drawn

        for i, response in zip(order, processes.share_out(order, decode), strict=True):
            responses[i] = response
    return responses


def _numbers(n: int, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """(n, T) the uniform number in [0, 1) that decides each row's every draw.

    They are drawn before anything is decoded, so that a response does not depend on which others
    are decoded with it, in which order, or by which process. Greedy decoding draws none.
    """
    if sampling.temperature == 0:
        return torch.zeros(n, sampling.max_new_tokens, dtype=torch.float64)
    return torch.rand(n, sampling.max_new_tokens, generator=generator, dtype=torch.float64)


@contextmanager
def _last_states(model: Any) -> Iterator[list[Tensor]]:
    """A list that holds the (B, d) last state of the newest pass; of no other layer and token."""
    last: list[Tensor] = []

    def keep(_: torch.nn.Module, args: Any, output: Any) -> None:
        last[:] = [output.last_hidden_state[:, -1]]

    hook = decoder_of(model).register_forward_hook(keep)
    try:
        yield last
    finally:
        hook.remove()


def _policy(
    backbone: Backbone, adapter: str | None, sampling: Sampling
) -> AbstractContextManager[Any]:
    merge = sampling.merge
    if merge is None:
        merge = backbone.model.dtype == torch.float32
    if processes.in_step():  # what it would be added into is not all here
        merge = False
    return backbone.merged(adapter) if merge and adapter else backbone.using(adapter)


def _decode(
    model: torch.nn.Module,
    backbone: Backbone,
    prompts: list[list[int]],
    sampling: Sampling,
    numbers: Tensor,
    value: Callable[[], Tensor] | None,
) -> list[Draw]:
    """Draw the responses of one batch at each row's own numbers (B, T)."""
    # Padded on the left, all rows draw their next token in the same column.
    ids, attention = (x.to(backbone.device) for x in pad_left(prompts, backbone.tokens.pad_id))
    position = positions(attention)
    cache = preallocated_cache(backbone.model.config, ids.shape[1] + sampling.max_new_tokens)
    rows = torch.arange(len(prompts))  # which prompt each row of the shrinking batch belongs to
    running = torch.ones(len(rows), dtype=torch.bool)
    columns = []  # one a step: rows, running, tokens, log-probabilities, entropies
    for step in range(sampling.max_new_tokens):
        # The first pass reads the prompts; later ones the tokens just drawn, the rest is cached.
        output = model(
            input_ids=ids,
            attention_mask=attention.long(),
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1, : backbone.vocabulary]
        found = draw(logits, sampling.temperature, numbers[rows, step].to(backbone.device))
        tokens, *measured = (x.cpu() for x in found)
        if value is not None:
            measured.append(value().cpu())
        # A finished row that is still in the batch goes on behind its EOS: that is not used.
        if measured[0][running].isnan().any():
            raise Diverged(_DIVERGED)
        columns.append((rows, running.clone(), tokens, *measured))  # the EOS itself counts
        running &= ~backbone.tokens.ends(tokens)
        if not processes.anywhere(bool(running.any())):
            break
        # Finished rows leave several at a time, for cutting the cache down copies it. The last
        # ones stay where another process still needs this one's company.
        if running.any() and running.float().mean() < COMPACT_BELOW:
            kept = running.nonzero().flatten()
            select_rows(cache, kept.to(backbone.device))
            attention, position = attention[kept], position[kept]
            tokens, running, rows = tokens[kept], running[kept], rows[kept]
        ids = tokens.unsqueeze(1).to(backbone.device)
        attention = torch.cat([attention, attention.new_ones(len(rows), 1)], dim=1)
        position = position[:, -1:] + 1
    return _gather(len(prompts), columns)


def _decode_fixed(
    model: torch.nn.Module,
    backbone: Backbone,
    prompts: list[list[int]],
    sampling: Sampling,
    numbers: Tensor,
    value: Callable[[], Tensor] | None,
) -> list[Draw]:
    """What `_decode` does, a token as one CUDA graph."""

    def choose(logits: Tensor, own: Tensor) -> tuple[Tensor, ...]:
        return draw(logits[:, : backbone.vocabulary], sampling.temperature, own)

    ids, attention = (x.to(backbone.device) for x in pad_left(prompts, backbone.tokens.pad_id))
    ends = torch.tensor(backbone.tokens.eos_ids, device=backbone.device)
    record = recorded if backbone.device.type == "cuda" else taken
    decoding = FixedDecoding(
        model, ids, attention, positions(attention), numbers, ends, choose, value, record
    )
    decoding.run()
    lengths = decoding.lengths.tolist()
    responses = []
    columns = [column.tolist() for column in decoding.columns]
    for i, length in enumerate(lengths):
        responses.append(Draw(*(column[i][:length] for column in columns)))
    if any(number != number for response in responses for number in response.logprobs):
        raise Diverged(_DIVERGED)
    return responses


def _gather(n: int, columns: list[tuple[Tensor, ...]]) -> list[Draw]:
    """Rows of tokens from the steps' columns; a row's columns end with its last running one."""
    responses = [Draw() for _ in range(n)]
    for rows, running, *measured in columns:
        kept = running.tolist()
        for row, keep, *numbers in zip(
            rows.tolist(), kept, *(column.tolist() for column in measured), strict=True
        ):
            if keep:
                drawn = responses[row]
                lists = (drawn.ids, drawn.logprobs, drawn.entropies, drawn.values)
                for numbers_so_far, number in zip(
                    lists, numbers, strict=False
                ):  # values: if measured
                    numbers_so_far.append(number)
    return responses


def draw(logits: Tensor, temperature: float, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens drawn from (B, V) logits at `temperature` (0: the most likely); all (B,).

    The draw inverts the cumulative distribution at one uniform number a row: `numbers` (B,),
    float64 in [0, 1). Returned with it: the token's log-probability and the distribution's entropy,
    nats (at temperature 0 those of temperature 1, since greedy has none). Of logits with a NaN both
    are NaN, the token any.
    """
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    probabilities = logprobs.exp()
    if temperature == 0:
        tokens = logprobs.argmax(dim=-1)
    else:
        # In float64, or the tail would vanish beside 1; times the last sum, which is not quite 1;
        # and `right`, so that a token of probability 0 is never drawn.
        cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
        point = numbers.unsqueeze(1) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, point, right=True).squeeze(1)
        tokens = tokens.clamp(max=logits.shape[1] - 1)  # NaN is above them all, where no token is
    chosen = logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1)
    entropy = -(probabilities * logprobs.clamp(min=torch.finfo(torch.float32).min)).sum(dim=-1)
    return tokens, chosen, entropy
