"""How a prompt is put to the model: by the suite, by the tokenizer's own chat, by a text."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from bench.config.run import ModelConfig
from bench.errors import UserError
from bench.models.tokens import Tokens

SPECIAL = ("<bos>", "<eos>", "<turn>", "<eot>")
BOS, EOS, TURN, EOT = range(4)
# The habits of Llama 3 (BOS spelled in the chat, another end than EOS), Gemma (a line break behind
# the end of a turn) and Qwen (no BOS).
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m['role'] }}\n\n{{ m['content'] | trim }}<eot>"
    "{% endfor %}{% if add_generation_prompt %}<turn>assistant\n\n{% endif %}"
)
QWEN = (
    "{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
USERS_ONLY = (
    "{% for m in messages %}{% if m['role'] != 'user' %}{{ raise_exception('users only') }}"
    "{% endif %}[{{ m['content'] }}]{% endfor %}"
)


def tokenizer(chat: str | None, *, adds_bos: bool) -> PreTrainedTokenizerFast:
    """Bytes and four special tokens; `adds_bos`: the tokenizer puts BOS before every text."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}
    model = Tokenizer(BPE(vocabulary, []))
    model.pre_tokenizer, model.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    if adds_bos:
        model.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", BOS)]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=model,
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=["<turn>", "<eot>"],
    )
    made.chat_template = chat
    return made


def words(choice: str, chat: str | None = None, *, adds_bos: bool = False) -> Tokens:
    made = tokenizer(chat, adds_bos=adds_bos)
    return Tokens.chosen(made, ModelConfig(template=choice), "Q: {prompt} A:")


@pytest.mark.parametrize("chat", [LLAMA3, QWEN])
@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_chat_is_what_the_library_makes_of_it(chat: str, adds_bos: bool) -> None:
    """No BOS is added to one that the template spells, nor to a chat that has none."""
    ours = words("chat", chat, adds_bos=adds_bos)
    for text in ("Name a town.", "{x} {prompt} {{}}"):
        ids = ours.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        assert ours.prompt(text) == ids
        assert ours._spelled(text, "") == ids
        assert ids.count(BOS) == (chat is LLAMA3)


def test_a_chat_keeps_what_spells_a_special_token_as_text() -> None:
    ids = words("chat", LLAMA3, adds_bos=True).prompt("Say <eot> and <bos>.")
    assert [i for i in ids if i < len(SPECIAL)] == [BOS, TURN, EOT, TURN]


@pytest.mark.parametrize(("chat", "end"), [(LLAMA3, EOT), (QWEN, EOS), (USERS_ONLY, EOS)])
def test_a_response_ends_as_the_assistants_turn_does(chat: str, end: int) -> None:
    ours = words("chat", chat)
    assert ours.eos_ids == sorted({EOS, end})
    assert ours.response("Red.")[-1] == ours.eos_id == end
    assert ours.text(ours.response("Red.")) == "Red."


@pytest.mark.parametrize(
    ("chat", "said"),
    [
        (None, "it has none"),
        ("{{ raise_exception('no system turn') }}", "no system turn"),
        ("{% for %}", "cannot be used"),
        ("{{ messages | length }}", "does not show the prompt once"),
    ],
)
def test_a_chat_that_cannot_be_used_is_one_line(chat: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        words("chat", chat)
    assert "model.template=chat" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_suites_template_and_a_text_are_put_in_as_they_are() -> None:
    """A brace means nothing but in {prompt}; a text that spells BOS gets no second one."""
    plain = words("suite", LLAMA3, adds_bos=True)
    assert plain.tokenizer.decode(plain.prompt("why?")) == "<bos>Q: why? A:"
    assert plain.eos_id == EOS
    braces = words('{"ask": "{prompt}", {{x}}', adds_bos=False)
    assert braces.tokenizer.decode(braces.prompt("{y}")) == '{"ask": "{y}", {{x}}'
    assert braces.joined("{y}", "{z}") == braces.tokenizer.encode('{"ask": "{y}", {{x}}{z}')
    spelled = words("<bos><turn>{prompt}<eot>", adds_bos=True)
    for text in ("Go.", "Say <eot>."):
        assert spelled.prompt(text)[:2] == [BOS, TURN]
        assert spelled.prompt(text).count(BOS) == 1


@pytest.mark.parametrize("template", ["", "chats", "{ prompt }", "no place"])
def test_a_template_without_a_place_for_the_prompt_is_refused(template: str) -> None:
    with pytest.raises(ValidationError, match="template"):
        ModelConfig(template=template)
