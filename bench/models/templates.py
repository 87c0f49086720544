"""How a prompt is put to the model: the suite's template, the tokenizer's own chat, or a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import UserError

PROMPT = "{prompt}"  # stands for the prompt's text; no other brace means anything
_ANSWER = "{response}"


@dataclass(frozen=True)
class Template:
    """A template, and what the tokenizer has to do with it.

    Attributes:
        text: in which `PROMPT` stands for the prompt; special tokens are spelled.
        whole: it spells all its special tokens, BOS among them, so that the tokenizer adds none.
        end: id that a complete response ends in; None: the tokenizer's EOS.
    """

    text: str
    whole: bool = False
    end: int | None = None


def chosen(choice: str, own: str, tokenizer: Any) -> Template:
    """The template that `model.template` names.

    Args:
        choice: "suite", "chat", or a text with `PROMPT`.
        own: the suite's template.
        tokenizer: of the model.

    Raises:
        UserError: "chat", and the tokenizer has no chat template or one that cannot be used.
    """
    if choice == "suite":
        return Template(own)
    if choice != "chat":
        bos = tokenizer.bos_token
        return Template(choice, whole=bool(bos) and choice.startswith(bos))
    asked = {"role": "user", "content": PROMPT}
    text = rendered(tokenizer, [asked], opens=True)
    if text.count(PROMPT) != 1:
        raise _unusable(tokenizer, "it does not show the prompt once, as it is")
    return Template(text, whole=True, end=_end_of_turn(tokenizer, asked))


def rendered(tokenizer: Any, messages: Sequence[dict[str, str]], *, opens: bool) -> str:
    """A chat as text.

    Args:
        tokenizer: whose chat template it is.
        messages: {"role", "content"} of each turn.
        opens: whether the assistant's turn is opened behind them.

    Raises:
        UserError: there is no chat template, or it does not take these turns.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise _unusable(tokenizer, "it has none")
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=opens
        )
    except Exception as error:  # a template is a program, and may raise anything
        raise _unusable(tokenizer, " ".join(str(error).split())[:200]) from error
    return str(text)


def _end_of_turn(tokenizer: Any, asked: dict[str, str]) -> int | None:
    """The special token right behind an answer: Llama 3's <|eot_id|>, Gemma's <end_of_turn>.

    It need not be the tokenizer's EOS. None: there is none, or the template takes no answers.
    """
    try:
        text = rendered(tokenizer, [asked, {"role": "assistant", "content": _ANSWER}], opens=False)
    except UserError:
        return None
    behind = tokenizer.encode(text.partition(_ANSWER)[2], add_special_tokens=False)
    added = tokenizer.added_tokens_decoder
    ends = bool(behind) and behind[0] in added and added[behind[0]].special
    return behind[0] if ends else None


def _unusable(tokenizer: Any, why: str) -> UserError:
    return UserError(
        f"model.template=chat: the chat template of the tokenizer {tokenizer.name_or_path} cannot "
        f"be used: {why}; set model.template to suite, or to a text with {PROMPT}"
    )
