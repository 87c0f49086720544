"""Text to token ids and back: the tokenizer, the prompt template, and what ends a response."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from rapidfuzz.distance import Prefix
from torch import Tensor

from bench.errors import UserError
from bench.models.sequences import Sequences, join
from bench.models.templates import PROMPT, Template, chosen

if TYPE_CHECKING:
    from bench.config.run import ModelConfig

SENTENCE_ENDS = (".", "!", "?", "\n")


class Tokens:
    """A tokenizer with a prompt template: text to ids and back.

    Args:
        tokenizer: of the model's library.
        template: how a prompt is put to the model; as a text, "{prompt}" stands for the prompt.
        eos_ids: what else than the tokenizer's EOS ends a response of this model.
        prompt_max_tokens: longer prompts lose the end of their text; None: they do not.

    Attributes:
        eos_id: is put behind a response that is complete, and scored like any other token of it:
            the tokenizer's EOS, or the end of a turn in the tokenizer's own chat template.
        eos_ids: each ends a response: that one, the tokenizer's, and what the model says.
        pad_id: fills up batches; which positions are padding is known from masks alone.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str | Template,
        eos_ids: Iterable[int] = (),
        prompt_max_tokens: int | None = None,
    ) -> None:
        if isinstance(template, str):
            template = Template(template)
        self.tokenizer = tokenizer
        self.template = template.text
        self._adds_special = not template.whole
        self.prompt_max_tokens = prompt_max_tokens
        if tokenizer.eos_token_id is None:
            raise UserError(f"the tokenizer {tokenizer.name_or_path} has no EOS token: set one")
        eos: int = tokenizer.eos_token_id
        self.eos_id = eos if template.end is None else template.end
        self.eos_ids = sorted({eos, self.eos_id, *(i for i in eos_ids if i < self.size)})
        self.pad_id: int = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @classmethod
    def chosen(
        cls, tokenizer: Any, config: ModelConfig, own: str, eos_ids: Iterable[int] = ()
    ) -> Tokens:
        """With the template and the limit that the configuration chooses; `own` is the suite's.

        Raises:
            UserError: the tokenizer's chat template is asked for and cannot be used.
        """
        template = chosen(config.template, own, tokenizer)
        return cls(tokenizer, template, eos_ids, config.prompt_max_tokens)

    @cached_property
    def size(self) -> int:
        """Ids from 0 on that the tokenizer can read; a model's vocabulary may be padded beyond."""
        return 1 + max(self.tokenizer.get_vocab().values())

    def ends(self, ids: Tensor) -> Tensor:
        """Which of the ids end a response; bool, same shape."""
        return torch.isin(ids, torch.tensor(self.eos_ids, device=ids.device))

    def prompt(self, text: str) -> list[int]:
        """Ids of the prompt in its template, BOS included where the tokenizer has one.

        The template's special tokens are special; what spells one in the text is text.

        Raises:
            UserError: the template alone is longer than `prompt_max_tokens`.
        """
        ids, most = self._templated(text), self.prompt_max_tokens
        if most is None or len(ids) <= most:
            return ids
        spans = self.offsets(text)
        kept = len(spans)
        while len(ids) > most:
            kept -= len(ids) - most
            if kept < 0:
                raise UserError(
                    f"model.prompt_max_tokens={most}: the prompt template alone is longer"
                )
            ids = self._templated(text[: spans[kept - 1][1]] if kept else "")
        return ids

    def cut_prompts(self, texts: Iterable[str]) -> dict[str, int]:
        """{"cut_prompts"}: how many different ones `prompt_max_tokens` cuts; {}: it is None."""
        most = self.prompt_max_tokens
        if most is None:
            return {}
        return {"cut_prompts": sum(len(self._templated(text)) > most for text in set(texts))}

    def joined(self, prompt: str, response: str) -> list[int]:
        """Ids of the prompt in its template and of the response behind it, as one text."""
        return self._templated(prompt, response)

    def response(
        self, text: str, drawn: list[int] | None = None, *, edit_of: list[int] | None = None
    ) -> list[int]:
        """Ids of a response: what is trained on, paid and evaluated, whatever the granularity.

        What a model of the run drew is the ids that it drew: with EOS if it finished, without if it
        was cut off. Any other text is complete and ends in EOS; but an edit ends as its original
        does, lest the EOS alone tell the two apart.

        Args:
            text: of the response.
            drawn: its ids, where they are known.
            edit_of: the ids that the edited response was drawn as, where they are known.
        """
        if drawn is not None:
            return drawn
        ids, end = self._plain(text), self.eos_id
        if edit_of is not None:
            end = edit_of[-1]
            if end not in self.eos_ids and ids:
                return ids
        return [*ids, end if end in self.eos_ids else self.eos_id]

    def _plain(self, text: str) -> list[int]:
        """Ids of text as text: what spells a special token is none."""
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def _templated(self, text: str, behind: str = "") -> list[int]:
        if self._special.search(text) or self._special.search(behind):
            return self._spelled(text, behind)
        whole = self.template.replace(PROMPT, text) + behind
        ids: list[int] = self.tokenizer.encode(whole, add_special_tokens=self._adds_special)
        added_end = self._adds_special and len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id
        return ids[:-1] if added_end else ids

    def _spelled(self, text: str, behind: str) -> list[int]:
        """The same where a text spells special tokens: the template's alone are ones.

        What stands between two of those is tokenised by itself. A tokenizer does the same, but
        one that puts a space before a text's first word puts it here before each part's.
        """
        parts = self._special.split(self.template)  # text, token, text, ...
        parts[::2] = [part.replace(PROMPT, text) for part in parts[::2]]
        parts[-1] += behind
        bare, framed = (
            self.tokenizer.encode("a", add_special_tokens=x) for x in (False, self._adds_special)
        )
        ids: list[int] = framed[: framed.index(bare[0])]  # BOS, where the tokenizer adds it
        for i, part in enumerate(parts):
            ids += [self.tokenizer.convert_tokens_to_ids(part)] if i % 2 else self._plain(part)
        return ids

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """The special tokens as they are spelled, the longest first; a group for `split`."""
        added = self.tokenizer.added_tokens_decoder.values()
        spelled = sorted((t.content for t in added if t.special), key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, spelled)) or '(?!)'})")

    def text(self, ids: list[int]) -> str:
        """The text of a response, special tokens left out."""
        ended = bool(ids) and ids[-1] in self.eos_ids  # an end of turn may be no special token
        return str(self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True))

    def pieces(self, ids: list[int]) -> list[str]:
        """One readable piece of text a token."""
        return [str(self.tokenizer.decode([i])) for i in ids]

    def offsets(self, text: str, drawn: list[int] | None = None) -> list[tuple[int, int]]:
        """Character span in the text of each token of `response(text, drawn)`, a last EOS left out.

        Each byte of a character of several tokens has the character's span; a special token among
        drawn ids, of which the text shows nothing, has an empty one.
        """
        if drawn is not None:
            return self._drawn_offsets(drawn)
        encoded = self.tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
        )
        return [(start, end) for start, end in encoded["offset_mapping"]]

    def _drawn_offsets(self, ids: list[int]) -> list[tuple[int, int]]:
        """Each token has what the text of all tokens up to it has more than that of those before.

        A token by itself may have another text: a character's first byte has none yet, and some
        tokenizers put a space between words only.
        """
        whole = self.text(ids)
        kept = ids[:-1] if ids and ids[-1] in self.eos_ids else ids
        special = set(self.tokenizer.all_special_ids)
        spans, start = [], 0
        for i, token in enumerate(kept):
            text = self.tokenizer.decode(kept[: i + 1], skip_special_tokens=True)
            end = max(start, Prefix.similarity(text, whole))
            shown = end if end > start or token in special else min(start + 1, len(whole))
            spans.append((start, shown))
            start = end
        return spans

    @cached_property
    def sentence_ends(self) -> Tensor:
        """(n,) the ids whose text ends a sentence: with ".", "!", "?" or a line break."""
        texts = self.pieces(list(range(len(self.tokenizer))))
        ends = [i for i, text in enumerate(texts) if text.rstrip(" ").endswith(SENTENCE_ENDS)]
        return torch.tensor(ends, dtype=torch.long)

    def join(self, prompts: list[list[int]], responses: list[list[int]]) -> Sequences:
        """A padded batch of token ids."""
        return join(prompts, responses, self.pad_id)
