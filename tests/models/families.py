"""Model families as people have them: tiny, of random weights, with tokenizers of the same habits.

Everything is built here, by the `tokenizers` library, and saved as a folder in the shape that such
a model has on the hub, so that what loads it is what would load the real one. What matters is not
the size but what each family does differently: whether a BOS is put before a text, whether a space
is (SentencePiece's "▁"), which token ends a response and how many do, whether there is padding,
how the chat is spelled, and how far the model's vocabulary is padded beyond the tokenizer's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from bench.suites.testbed.suite import Testbed

WORDS = 500  # tokens that are learned from the testbed's demonstrations, bytes and specials aside
PADDED = 24  # ids of the model beyond those of the tokenizer, where a family has such
SIZE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,  # far from uniform, so that an error shows
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2}
# Windows shorter than a prompt and its response, so that they cut attention off.
WINDOWED = {"sliding_window": 16}

_TURNS = "{% for m in messages %}"
MISTRAL = (
    "{{ bos_token }}" + _TURNS + "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}" + _TURNS + "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML = (
    _TURNS + "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}" + _TURNS + "<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI3 = (
    _TURNS + "<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A family's habits.

    Attributes:
        model: with "Config" behind it, the class of its settings.
        tokenizer: the class that its tokenizer_config.json names.
        pieces: "sentencepiece" with a space before a text's first word, "spaces" without it, or
            "bytes".
        eos: the tokenizer's.
        ends: what ends a response by the model's generation settings.
        settings: of the model.
        first: special tokens in front of the vocabulary.
        last: those behind it.
        bos: a special token; None: the tokenizer has none. `pad` likewise.
        adds_bos: whether the tokenizer puts BOS before every text.
        chat: its chat template.
        padded: ids of the model that no token has.
    """

    model: str
    tokenizer: str
    pieces: str
    eos: str
    ends: tuple[str, ...]
    settings: dict[str, Any]
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    bos: str | None = None
    pad: str | None = None
    adds_bos: bool = False
    chat: str | None = None
    padded: int = 0

    @property
    def template(self) -> str:
        """For `model.template`: the family's own chat, if it has one."""
        return "suite" if self.chat is None else "chat"


_END = "<|endoftext|>"
_TEXT = ("<|begin_of_text|>", "<|end_of_text|>")
_LLAMA: dict[str, Any] = {
    "tokenizer": "LlamaTokenizer",
    "pieces": "sentencepiece",
    "first": ("<unk>", "<s>", "</s>"),
    "bos": "<s>",
    "eos": "</s>",
    "adds_bos": True,
    "ends": ("</s>",),
    "settings": SIZE | GROUPED,
}
_QWEN: dict[str, Any] = {
    "tokenizer": "Qwen2Tokenizer",
    "pieces": "bytes",
    "last": (_END, "<|im_start|>", "<|im_end|>"),
    "eos": "<|im_end|>",
    "pad": _END,
    "ends": ("<|im_end|>", _END),
    "chat": CHATML,
    "padded": PADDED,
}
_GEMMA: dict[str, Any] = {
    "tokenizer": "GemmaTokenizer",
    "pieces": "spaces",
    "first": ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"),
    "last": ("<start_of_turn>", "<end_of_turn>"),
    "bos": "<bos>",
    "eos": "<eos>",
    "pad": "<pad>",
    "adds_bos": True,
    "ends": ("<eos>", "<end_of_turn>"),
    "chat": GEMMA,
}
_GEMMA_SIZE = SIZE | GROUPED | WINDOWED | {"head_dim": 8, "query_pre_attn_scalar": 8}
FAMILIES = {
    "llama": Family("Llama", **_LLAMA),
    "llama3": Family(
        "Llama",
        "PreTrainedTokenizerFast",
        "bytes",
        last=(*_TEXT, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        bos=_TEXT[0],
        eos="<|eot_id|>",
        adds_bos=True,
        ends=(_TEXT[1], "<|eot_id|>"),
        chat=LLAMA3,
        settings=SIZE | GROUPED,
    ),
    "qwen2": Family("Qwen2", settings=SIZE | GROUPED | {"tie_word_embeddings": True}, **_QWEN),
    "qwen3": Family("Qwen3", settings=SIZE | GROUPED | {"head_dim": 16}, **_QWEN),
    "mistral": Family(
        "Mistral", **_LLAMA | {"chat": MISTRAL, "settings": SIZE | GROUPED | WINDOWED}
    ),
    "gemma2": Family("Gemma2", settings=_GEMMA_SIZE, **_GEMMA),
    "gemma3": Family(
        "Gemma3Text", settings=_GEMMA_SIZE | {"sliding_window_pattern": 2}, padded=PADDED, **_GEMMA
    ),
    "gpt2": Family(
        "GPT2",
        "GPT2Tokenizer",
        "bytes",
        last=(_END,),
        bos=_END,
        eos=_END,
        ends=(_END,),
        settings={
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 256,
            "initializer_range": 0.2,
        },
    ),
    "neox": Family(
        "GPTNeoX",
        "GPTNeoXTokenizer",
        "bytes",
        first=(_END, "<|padding|>"),
        bos=_END,
        eos=_END,
        pad=_END,
        ends=(_END,),
        settings=SIZE,
        padded=PADDED,
    ),
    "phi3": Family(
        "Phi3",
        **_LLAMA
        | {
            "last": (_END, "<|assistant|>", "<|end|>", "<|user|>"),
            "eos": _END,
            "pad": _END,
            "adds_bos": False,
            "ends": (_END, "<|assistant|>", "<|end|>"),
            "chat": PHI3,
            "settings": SIZE,
            "padded": PADDED,
        },
    ),
}


def save(name: str, folder: Path, seed: int = 0) -> Family:
    """Write a family's model and tokenizer into a folder."""
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family)
    tokenizer.save_pretrained(folder)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    said |= {"tokenizer_class": family.tokenizer, "add_bos_token": family.adds_bos}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))

    ids = tokenizer.convert_tokens_to_ids
    special = {
        f"{part}_token_id": None if token is None else ids(token)
        for part, token in (("bos", family.bos), ("eos", family.eos), ("pad", family.pad))
    }
    config = getattr(transformers, f"{family.model}Config")(
        vocab_size=len(tokenizer) + family.padded, **special, **family.settings
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[ids(token) for token in family.ends],
        bos_token_id=special["bos_token_id"],
        pad_token_id=special["pad_token_id"],
    )
    model.save_pretrained(folder)
    return family


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """Its tokenizer."""
    made = _bytes(family) if family.pieces == "bytes" else _sentencepiece(family)
    special = [*family.first, *family.last]
    # Phi-3's swallow the white space behind them.
    swallows = family.chat is PHI3
    made.add_special_tokens(
        [
            AddedToken(t, special=True, normalized=False, rstrip=swallows and "|" in t)
            for t in special
        ]
    )
    if family.adds_bos:
        made.post_processor = TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, made.token_to_id(family.bos))]
        )
    named = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad}
    named["unk_token"] = "<unk>" if "<unk>" in special else None
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        clean_up_tokenization_spaces=False,
        **{part: token for part, token in named.items() if token is not None},
    )
    tokenizer.chat_template = family.chat
    return tokenizer


def _sentencepiece(family: Family) -> Tokenizer:
    """As converted from SentencePiece: "▁" is a space, and an unknown character its bytes."""
    learned, merges = _learned("▁")
    pieces = [*family.first, *(f"<0x{byte:02X}>" for byte in range(256)), *learned]
    made = Tokenizer(
        BPE(
            {piece: i for i, piece in enumerate(pieces)}, merges,
            unk_token="<unk>", fuse_unk=True, byte_fallback=True,
        )
    )  # fmt: skip
    spaces = normalizers.Replace(" ", "▁")
    decoded = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if family.pieces == "spaces":
        made.normalizer, made.decoder = spaces, decoders.Sequence(decoded)
    else:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
        made.decoder = decoders.Sequence([*decoded, decoders.Strip(" ", 1, 0)])
    return made


def _bytes(family: Family) -> Tokenizer:
    """Byte-level BPE."""
    learned, merges = _learned("bytes")
    made = Tokenizer(BPE({piece: i for i, piece in enumerate([*family.first, *learned])}, merges))
    words = pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    made.decoder = decoders.ByteLevel()
    return made


@cache
def _learned(kind: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges, learned from what the testbed's writer answers."""
    made = Tokenizer(BPE())
    letters: list[str] = []
    if kind == "bytes":
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = BpeTrainer(
        vocab_size=WORDS, initial_alphabet=letters, special_tokens=[], show_progress=False
    )
    texts = [text for pair in Testbed().demonstrations(400, 0) for text in pair]
    made.train_from_iterator(texts, trainer)
    model = json.loads(made.to_str())["model"]
    return list(model["vocab"]), [tuple(pair) for pair in model["merges"]]
