"""A question to a language model, and its name in the store of answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
        body: of the Messages API (https://platform.claude.com/docs/en/api/messages).
        order: which of the presentation orders of a pair this is.
        sample: number of the sample, where the same question is asked several times.
        attempt: 1 where an answer could not be read and the same is asked once more.
        endpoint: URL of an OpenAI-compatible endpoint; "" is Anthropic's API.
        renewed: whether it is asked although an answer is stored; no part of the key, so that the
            new answer takes the old one's place.
        shared: characters at the beginning of its prompt that other questions begin with too; no
            part of the key either (`bench.llm.caching`).
    """

    body: Mapping[str, Any]
    order: int = 0
    sample: int = 0
    attempt: int = 0
    endpoint: str = ""
    renewed: bool = False
    shared: int = 0

    @cached_property
    def key(self) -> str:
        """SHA-256, in hex, of all that decides the answer: another model or prompt, another key."""
        parts: dict[str, Any] = {"body": self.body, "order": self.order, "sample": self.sample}
        if self.attempt:
            parts["attempt"] = self.attempt
        if self.endpoint:
            parts["endpoint"] = self.endpoint
        return hashlib.sha256(canonical(parts).encode()).hexdigest()

    @cached_property
    def kind(self) -> str:
        """What the answer's length depends on beside the messages, hashed: model, effort, room."""
        rest = {name: value for name, value in self.body.items() if name != "messages"}
        parts = {"body": rest, "endpoint": self.endpoint}
        return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        """UTF-8 bytes of the body: no tokeniser makes more tokens of it."""
        return len(canonical(self.body).encode())

    @property
    def model(self) -> str:
        """The model that is asked."""
        return str(self.body["model"])

    @property
    def max_tokens(self) -> int:
        """Most tokens that the answer may have, thinking included."""
        return int(self.body["max_tokens"])

    def again(self) -> Request:
        """The same question once more, after an answer that could not be read."""
        return replace(self, attempt=self.attempt + 1, renewed=False)

    def with_room(self, max_tokens: int) -> Request:
        """The same question with more room for the answer."""
        return self.with_body(max_tokens=max_tokens)

    def with_body(self, **fields: Any) -> Request:
        """The question with other fields in its body."""
        return replace(self, body={**self.body, **fields}, renewed=False)

    def renew(self) -> Request:
        """This very question, to be asked although its answer is stored."""
        return replace(self, renewed=True)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
