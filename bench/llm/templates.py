"""Prompts from files, and the texts that are put into them, which stay text.

A template is a Markdown file with slots such as `{instruction}`. All slots are filled in one pass,
so that a text which contains `{output_1}` is never read as a slot itself. `{nonce}` stands in the
tags that fence the texts, as in `<response-{nonce}>{response}</response-{nonce}>`: no text contains
it, so none can close its own fence and speak in the prompt's voice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path

from bench.errors import UserError, unknown
from bench.llm.requests import canonical

_SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_SUFFIX = ".md"


@dataclass(frozen=True)
class Template:
    """A prompt with slots.

    Attributes:
        name: of the prompt that comes with the harness, or the user's file, without its folder.
        text: the prompt, without blank lines around it.
    """

    name: str
    text: str

    @classmethod
    def load(cls, name: str, folder: Traversable, slots: Iterable[str]) -> Template:
        """Read a template.

        Args:
            name: of a prompt in `folder`, without ".md", or the path of a user's file.
            folder: of the prompts that come with the harness.
            slots: what the caller fills; the template must have each of them and `{nonce}`.

        Raises:
            UserError: there is no such prompt, it cannot be read, or it has other slots.
        """
        named = {file.name.removesuffix(_SUFFIX): file for file in folder.iterdir()}
        is_path = "/" in name or "." in name or Path(name).is_file()
        if name not in named and not is_path:
            raise UserError(unknown("prompt template", name, named) + ", or the path of a file")
        try:
            text = named.get(name, Path(name)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the prompt template {name}: {error}") from error
        _check(name, set(_SLOT.findall(text)), {*slots, "nonce"})
        return cls(Path(name).name, text)

    @cached_property
    def sha(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def fill(self, mark: str | None = None, **texts: str) -> str:
        """Put `texts` into the slots of their names, as they are.

        Args:
            mark: the nonce; None: it follows from the texts.
            texts: by slot.
        """
        values = {**texts, "nonce": mark or nonce(texts)}
        return _SLOT.sub(lambda slot: values[slot[1]], self.text)


def nonce(texts: dict[str, str]) -> str:
    """A mark that none of the texts contains; the same for the same texts, so keys are stable."""
    content = canonical(texts)
    while True:
        content = hashlib.sha256(content.encode()).hexdigest()
        if not any(content[:16] in text for text in texts.values()):
            return content[:16]


def _check(name: str, found: set[str], expected: set[str]) -> None:
    """Refuse a template that would lose a text, or show an empty slot."""
    for what, slots in (("has no", expected - found), ("has an unknown", found - expected)):
        if slots:
            raise UserError(
                f"the prompt template {name} {what} slot {{{min(slots)}}}; it needs just these: "
                + ", ".join(f"{{{slot}}}" for slot in sorted(expected))
            )
