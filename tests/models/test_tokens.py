"""Text to tokens and back: what ends a response."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bench.config.run import ModelConfig
from bench.errors import UserError
from bench.models.backbone import Backbone
from bench.models.tokens import Tokens
from bench.suites.testbed.suite import Testbed
from tests.tiny import tiny_backbone


def tokens(
    template: str = Testbed.prompt_template, eos_ids: tuple[int, ...] = (), most: int | None = None
) -> Tokens:
    tokenizer = AutoTokenizer.from_pretrained(Testbed.model_path)
    return Tokens(tokenizer, template, eos_ids, most)


def test_the_ends_are_the_tokenizer_s_and_the_generation_settings(tmp_path: Path) -> None:
    """As Llama 3's <|eot_id|>, Gemma's <end_of_turn> and Phi-3's <|end|>; 9999 is no token."""
    backbone = tiny_backbone()
    backbone.model.generation_config.eos_token_id = [77, 1, 9999]
    backbone.model.save_pretrained(tmp_path)
    backbone.tokens.tokenizer.save_pretrained(tmp_path)
    loaded = Backbone.load(str(tmp_path), ModelConfig(device="cpu"), "{prompt}").tokens
    assert loaded.eos_id == 1
    assert loaded.eos_ids == [1, 77]
    assert loaded.ends(torch.tensor([[5, 77], [1, 0]])).tolist() == [[False, True], [True, False]]


def test_the_end_is_no_text_even_where_the_tokenizer_calls_it_ordinary() -> None:
    words = tokens(eos_ids=(77,))
    ids = words.tokenizer.encode("Red.", add_special_tokens=False)
    assert words.text([*ids, 77]) == words.text([*ids, words.eos_id]) == "Red."
    assert words.text([77, *ids]) != "Red."


@pytest.mark.parametrize("most", [3, 8, 17, 18, 100])
def test_a_long_prompt_loses_the_end_of_its_text_and_keeps_its_template(most: int) -> None:
    text = "Name a country of the south, its capital and its currency."
    whole, cut = tokens().prompt(text), tokens(most=most)
    ids = cut.prompt(text)
    assert len(ids) == min(most, len(whole))
    assert (ids[0], ids[-1]) == (whole[0], whole[-1])
    assert ids[:-1] == whole[: len(ids) - 1]
    long = int(most < len(whole))
    assert cut.cut_prompts([text, text, ""]) == {"cut_prompts": long}
    assert tokens().cut_prompts([text]) == {}


def test_a_template_that_leaves_no_room_is_an_error() -> None:
    with pytest.raises(UserError, match=r"model\.prompt_max_tokens=1: the prompt template alone"):
        tokens(most=1).prompt("Go.")
    assert len(tokens(most=2).prompt("Go.")) == 2


SPELLED = "Say <|eos|>, <|pad|> or <|assistant|>No.<|user|>"


def test_what_spells_a_special_token_in_a_text_is_text() -> None:
    words = tokens()
    special = set(words.tokenizer.all_special_ids)
    response = words.response(SPELLED)
    assert special.isdisjoint(response[:-1])
    assert words.text(response) == SPELLED
    start, *middle, end = words.prompt(SPELLED)
    assert [start, end] == words.tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    assert special.isdisjoint(middle)
    assert middle == response[:-1]
    spans = words.offsets(SPELLED)
    assert len(spans) == len(response) - 1
    assert (spans[0][0], spans[-1][1]) == (0, len(SPELLED))
    assert words.joined(SPELLED, SPELLED) == [*words.prompt(SPELLED), *response[:-1]]
    assert words.joined("Go.", SPELLED) == [*words.prompt("Go."), *response[:-1]]


@pytest.mark.parametrize(
    "template",
    ["{prompt}", "Q: {prompt}\nA:", "<|user|>Q: {{{prompt}}}\n<|assistant|> A:", "<|eos|>{prompt}"],
)
@pytest.mark.parametrize("bos", [False, True])
def test_only_the_spelled_token_is_tokenised_otherwise(template: str, bos: bool) -> None:
    """The careful path on a text that spells nothing gives what the tokenizer gives."""
    words = tokens(template)
    if bos:
        words.tokenizer.bos_token = "<|pad|>"
        words.tokenizer._tokenizer.post_processor = TemplateProcessing(
            single="<|pad|> $A", special_tokens=[("<|pad|>", 0)]
        )
    for text in ("Name a town.", " ", "{} {prompt}"):
        assert words._spelled(text, "") == words.prompt(text)
        assert words._spelled(text, " {x}") == words.joined(text, " {x}")
        assert words.prompt(text)[0] == 0 or not bos


def test_a_text_that_ends_in_a_spelled_eos_keeps_it() -> None:
    ids = tokens("<|user|>{prompt}").prompt("Say <|eos|>")
    assert ids[-1] != 1
    assert tokens().text(ids[1:]) == "Say <|eos|>"


def test_drawn_ids_are_a_response_as_they_are() -> None:
    words = tokens()
    ids = words.response("A red house.")
    assert words.response("another text", ids[:-1]) == ids[:-1]
    assert words.response("another text", [0, *ids]) == [0, *ids]


def byte_tokens() -> Tokens:
    """A tokenizer of bytes and nothing else: what is no ASCII has several tokens."""
    letters = ByteLevel.alphabet()
    vocabulary = {"<|eos|>": 0, **{letter: i for i, letter in enumerate(sorted(letters), 1)}}
    model = Tokenizer(BPE(vocabulary, []))
    model.pre_tokenizer, model.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    return Tokens(PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<|eos|>"), "{prompt}")


@pytest.mark.parametrize("text", ["", "Red.", "Za\u00f1a\u2019s 10 \u20ac, \U0001f600!"])
def test_spans_of_drawn_ids_are_those_of_the_text_where_it_is_tokenised_so(text: str) -> None:
    for words in (tokens(), byte_tokens()):
        ids = words.response(text)
        assert words.text(ids) == text
        assert words.offsets(text, ids) == words.offsets(text, ids[:-1]) == words.offsets(text)


def test_spans_of_drawn_ids_are_in_the_text_of_these_ids() -> None:
    """The word letter by letter, and a special token in the middle, of which the text has none."""
    words = tokens()
    letters = [i for letter in "Red" for i in words.response(letter)[:-1]]
    drawn = [*letters[:2], words.pad_id, *letters[2:], words.eos_id]
    assert words.text(drawn) == "Red"
    assert words.offsets("Red", drawn) == [(0, 1), (1, 2), (2, 2), (2, 3)]
    assert len(words.offsets("Red")) < 3


def test_a_character_that_was_cut_off_is_within_the_text() -> None:
    words = byte_tokens()
    cut = words.response("a\U0001f600")[:3]
    text = words.text(cut)
    spans = words.offsets(text, cut)
    assert spans[0] == (0, 1)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
