"""A problem of seconds: a random Llama of one layer, and what the tokens of a response earn.

A quarter of the words are lucky. No response ends before its last token, so that all are of one
length. The best response earns 1, and the share of lucky tokens among those that decide is what it
earns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from bench.config.run import LoRAConfig
from bench.models.backbone import Backbone
from bench.models.sequences import Sequences
from bench.models.tokens import Tokens
from bench.training.comparisons import Group
from benchmarks.work import Work, llama_config, word_tokenizer

SIZES = Work(hidden=16, layers=1, heads=2, ffn=32, vocabulary=18)
LORA = LoRAConfig(r=4, alpha=8)
LUCKY = 4  # ids below are lucky, of 16 words
PROMPTS = ["w1 w2", "w3", "w4 w5 w6", "w7"]
_NEVER = -60.0  # logit of EOS and padding


@dataclass(frozen=True)
class Problem:
    """What a token earns.

    Attributes:
        tokens: T of every response.
        deciding: how many of the first tokens decide; the others earn nothing, whatever they are.
    """

    tokens: int
    deciding: int

    def hits(self, batch: Sequences) -> Tensor:
        """(B, T) 1 of a lucky token that decides, -1 of another that does, 0 of the others."""
        decides = torch.arange(batch.mask.shape[1]) < self.deciding
        return torch.where(batch.responses < LUCKY, 1.0, -1.0) * (decides & batch.mask)

    def earned(self, batch: Sequences) -> Tensor:
        """(B, T) reward units, where they arise; a row sums to the response's score, 1 at most."""
        return (self.hits(batch) > 0).float() / self.deciding


def new_backbone(seed: int) -> Backbone:
    """The model, which all policies start from."""
    torch.manual_seed(seed)
    config = llama_config(SIZES)
    config.initializer_range = 0.3  # far from uniform, so that there is something to learn with
    model = LlamaForCausalLM(config)
    head = model.get_output_embeddings()
    bias = torch.zeros(SIZES.vocabulary)
    bias[-2:] = _NEVER
    head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return Backbone(model, Tokens(word_tokenizer(SIZES), "{prompt}"), torch.device("cpu"))


def given(problem: Problem, tokens: Tokens, n: int, seed: int, *, edits: bool) -> list[Group]:
    """Pairs of responses, the better one first.

    Args:
        problem: whose tokens earn.
        tokens: of the model.
        n: how many.
        seed: of all draws.
        edits: whether the better one is the other with its deciding tokens made lucky; else both
            are drawn, and their scores are apart.
    """
    rng = torch.Generator().manual_seed(seed)
    rows: list[Group] = []
    while len(rows) < n:
        prompt = tokens.prompt(PROMPTS[len(rows) % len(PROMPTS)])
        better, worse = torch.randint(SIZES.vocabulary - 2, (2, problem.tokens), generator=rng)
        if edits:
            lucky = torch.randint(LUCKY, (problem.deciding,), generator=rng)
            better = torch.cat([lucky, worse[problem.deciding :]])
        one, other = _scores(problem, tokens, prompt, [better.tolist(), worse.tolist()])
        if one > other:
            rows.append(Group(prompt, [better.tolist(), worse.tolist()], [0, 1]))
    return rows


def _scores(
    problem: Problem, tokens: Tokens, prompt: list[int], responses: Sequence[list[int]]
) -> list[float]:
    batch = tokens.join([prompt] * len(responses), list(responses))
    scores: list[float] = problem.earned(batch).sum(dim=1).tolist()
    return scores
