"""The work that is measured: a random Llama, a tokenizer of words, prompts and pairs. No download.

EOS is as likely as the work says, for every contender, because the model has a constant direction:
column 0 of the embeddings is large and no layer writes much to it, so column 0 of the output
weights shifts a token's logit by about the same number whatever the text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.config.run import LoRAConfig
from bench.data import Preference

LORA = LoRAConfig(r=8, alpha=16, target_modules=["q_proj", "v_proj"])
EOS, PAD = "<eos>", "<pad>"
TEMPERATURE = 0.7  # of the rollouts: TRL's default
_NEVER = -60.0  # logit shift of a token that is not drawn


@dataclass(frozen=True)
class Work:
    """Sizes of what is trained, the same for every contender.

    Attributes:
        hidden, layers, heads, ffn, vocabulary: of the Llama; output weights not tied.
        prompts: a PPO step's.
        prompt_tokens: mean length; lengths are uniform over it plus or minus `prompt_spread`.
        response_tokens: drawn at most; without EOS every response has as many.
        eos_rate: chance of EOS at every token, at `TEMPERATURE`; 0: never drawn.
        epochs, minibatch: of a PPO step.
        lr: of every optimiser.
        pairs, pair_batch: of the reward model.
        pair_response: (shortest, longest) response of a pair, EOS included.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    ffn: int = 344
    vocabulary: int = 1024
    prompts: int = 64
    prompt_tokens: int = 24
    prompt_spread: int = 4
    response_tokens: int = 48
    eos_rate: float = 0.0
    epochs: int = 2
    minibatch: int = 32
    lr: float = 1e-4
    pairs: int = 512
    pair_batch: int = 32
    pair_response: tuple[int, int] = (24, 56)


def word_tokenizer(work: Work) -> Any:
    """One token a word w0, w1, ...; the last two ids of the vocabulary are EOS and pad."""
    words = [*(f"w{i}" for i in range(work.vocabulary - 2)), EOS, PAD]
    model = WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, padding_side="left"
    )


def llama_config(work: Work) -> LlamaConfig:
    """The shape of policy, value and reward model."""
    return LlamaConfig(
        vocab_size=work.vocabulary,
        hidden_size=work.hidden,
        intermediate_size=work.ffn,
        num_hidden_layers=work.layers,
        num_attention_heads=work.heads,
        max_position_embeddings=2048,
        eos_token_id=work.vocabulary - 2,
        pad_token_id=work.vocabulary - 1,
        bos_token_id=None,
        tie_word_embeddings=False,
        num_labels=1,
        use_cache=True,
    )


def causal_model(work: Work, seed: int = 0) -> LlamaForCausalLM:
    """A random model that draws EOS at `work.eos_rate`, pad never, and words about evenly."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(llama_config(work))
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 8.0
        constant = math.sqrt(work.hidden)  # column 0 after the last norm
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[work.vocabulary - 2, 0] = _eos_logit(work) / constant
        model.lm_head.weight[work.vocabulary - 1, 0] = _NEVER / constant
    return model


def _eos_logit(work: Work) -> float:
    if work.eos_rate == 0:
        return _NEVER
    odds = work.eos_rate / (1 - work.eos_rate) * (work.vocabulary - 2)
    return TEMPERATURE * math.log(odds)


def prompts(work: Work, seed: int = 0) -> list[str]:
    """As many texts as a PPO step takes, with lengths in `prompt_tokens` +- `prompt_spread`."""
    low, high = work.prompt_tokens - work.prompt_spread, work.prompt_tokens + work.prompt_spread
    generator = torch.Generator().manual_seed(seed)
    return [_text(work, low, high, generator) for _ in range(work.prompts)]


def pairs(work: Work, seed: int = 0) -> list[Preference]:
    """Pairs whose two responses have nothing in common; EOS is not in the texts."""
    low, high = (length - 1 for length in work.pair_response)
    generator = torch.Generator().manual_seed(seed + 1)
    return [
        Preference(
            prompt=prompt,
            chosen=_text(work, low, high, generator),
            rejected=_text(work, low, high, generator),
        )
        for prompt in prompts(replace(work, prompts=work.pairs), seed)
    ]


def _text(work: Work, low: int, high: int, generator: torch.Generator) -> str:
    length = int(torch.randint(low, high + 1, (), generator=generator))
    ids = torch.randint(work.vocabulary - 2, (length,), generator=generator)
    return " ".join(f"w{i}" for i in ids.tolist())
