"""A tiny Llama with random weights and the testbed's tokenizer: real code paths in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from bench.config.run import LoRAConfig
from bench.models.backbone import Backbone
from bench.models.sequences import Sequences
from bench.models.tokens import Tokens
from bench.suites.testbed.suite import Testbed

LORA = LoRAConfig(r=4, alpha=8)


def tiny_backbone(seed: int = 0, hidden: int = 32, padded: int = 0) -> Backbone:
    """Two layers, hidden 32, the testbed's vocabulary and `padded` ids beyond it."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(Testbed.model_path)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + padded,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.2,  # far from uniform, so that an error shows
    )
    tokens = Tokens(tokenizer, Testbed.prompt_template)
    return Backbone(LlamaForCausalLM(config), tokens, torch.device("cpu"))


def stir(backbone: Backbone, adapter: str, seed: int = 1, scale: float = 0.1) -> None:
    """Give an adapter, whose output starts at 0, random weights."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.parameters(adapter):
            parameter.add_(scale * torch.randn(parameter.shape, generator=rng))


def stop_often(backbone: Backbone, bias: float = 5.8) -> None:
    """Make EOS about one token in seven, so that responses have unlike lengths."""
    head = backbone.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features), requires_grad=False)
    head.bias[backbone.tokens.eos_id] = bias


def random_rows(n: int = 6, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and responses of unlike lengths as token ids."""
    rng = torch.Generator().manual_seed(seed)

    def row(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (), generator=rng))
        return torch.randint(10, 1000, (length,), generator=rng).tolist()

    return [row(2, 9) for _ in range(n)], [row(1, 12) for _ in range(n)]


def random_batch(backbone: Backbone, n: int = 6, seed: int = 0) -> Sequences:
    """`random_rows`, padded."""
    return backbone.tokens.join(*random_rows(n, seed))


CHAT = (
    "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}"
    "{% if turn.role == 'assistant' %}<|eos|>\n{% endif %}{% endfor %}"
)


def tiny_classifier(
    folder: Path, *, chat: str | None = None, outputs: int = 1, pad: bool = True, seed: int = 7
) -> Path:
    """A folder with a sequence classifier of two layers, as the transformers library saves one.

    Args:
        folder: where to.
        chat: its tokenizer's chat template.
        outputs: numbers that it gives to a text.
        pad: whether its configuration names the id of padding.
        seed: of its weights.
    """
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(Testbed.model_path)
    tokenizer.chat_template = chat
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=160,
        num_labels=outputs,
        pad_token_id=tokenizer.pad_token_id if pad else None,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.5,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
