"""How a language model is asked: the options that judge and editor share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from bench.config.section import OPERATIONAL, Section
from bench.files import content_sha
from bench.llm.json_answers import in_words
from bench.llm.requests import Request
from bench.llm.retries import RetryStatus

TransportName = Literal["messages", "batches", "replay", "openai"]


class LLMOptions(Section):
    """A model and the way to it."""

    model: str = Field(
        "claude-sonnet-5-5", description="who answers; claude-haiku-5-5 is the cheap one"
    )
    transport: TransportName = Field(
        "messages",
        description="messages: at once; batches: half the price, within a day; replay: answers "
        "from a file; openai: any OpenAI-compatible endpoint",
    )
    max_tokens: int = Field(
        4096, ge=64, description="of an answer, thinking included; once more with 4 times as many"
    )
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="how much the model thinks; none: its own default"
    )
    answer_format: Literal["schema", "text"] = Field(
        "schema",
        description="schema: the API holds the answer to its JSON form; text: the prompt alone "
        "asks for it",
    )
    token_limit: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens",
        description="what an OpenAI-compatible endpoint calls the limit of max_tokens",
    )
    replay: str | None = Field(None, description="file of recorded answers (transport replay)")
    base_url: str | None = Field(
        None, description="of an OpenAI-compatible endpoint; Anthropic's: ANTHROPIC_BASE_URL"
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="variable that holds an OpenAI-compatible endpoint's key"
    )
    concurrency: int = Field(16, ge=1, le=1000, description="calls in flight at most")
    max_retries: int = Field(
        8, ge=0, description="of a call that was refused for now (429, 529, 5xx, connection)"
    )
    timeout_s: float = Field(
        600.0, gt=0, description="seconds a try may take; as many times more as it has more room"
    )
    deadline_s: float = Field(
        1800.0, gt=0, description="seconds a call may take with its retries; likewise"
    )
    poll_s: float = Field(30.0, gt=0, description="seconds between looks at a batch")
    max_usd: float | None = Field(
        None,
        ge=0,
        description="what a command may spend; what would exceed it, by what such calls have cost "
        "so far, is not asked",
    )
    prices: str | None = Field(
        None, description="YAML file of prices; none: bench/llm/money/prices.yaml and its date"
    )
    retry: list[RetryStatus] = Field(
        [], description="ask, and pay, once more for stored answers that ended so; as a,b or [a, b]"
    )

    @field_validator("retry", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """The names of a list that is given as text, with commas."""
        if isinstance(value, str):
            return [name.strip() for name in value.split(",") if name.strip()]
        return value

    @property
    def endpoint(self) -> str:
        """Where the model is, as a part of a question's key; "" is Anthropic's API."""
        return self.base_url or ""

    def request(
        self, prompt: str, schema: Mapping[str, Any], order: int = 0, shared: int = 0
    ) -> Request:
        """A question that is answered in JSON of this schema.

        Args:
            prompt: the user's turn, which is all there is.
            schema: JSON schema of the answer.
            order: which of a pair's presentation orders this is.
            shared: see `Request`.
        """
        config: dict[str, Any] = {"format": {"type": "json_schema", "schema": schema}}
        if self.effort:
            config["effort"] = self.effort
        body = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": prompt}],
            "output_config": config,
        }
        if self.answer_format == "text":
            body = in_words(body)
        return Request(body, order, endpoint=self.endpoint, shared=shared)

    def patience(self, request: Request) -> float:
        """Times as long as usual that a request may take: as many as it has more room."""
        return max(1.0, request.max_tokens / self.max_tokens)

    def result_fields(self) -> dict[str, Any]:
        """The options on which the answers depend, for a stage's key; of a file, what it says.

        Batches give the answers that single messages give.

        Raises:
            UserError: the file of recorded answers cannot be read.
        """
        values = self.model_dump(exclude={*OPERATIONAL, "base_url", "replay"})
        values["endpoint"] = self.endpoint
        if self.transport == "batches":
            values["transport"] = "messages"
        if self.transport == "replay" and self.replay:
            values["file_sha"] = content_sha(Path(self.replay))
        return values
