"""Minimal edits by a language model: the less preferred response, changed only where needed.

The model gives a whole text; what changed in it is found by our own alignment, and the text is
accepted if that is something and not too much.

References:
    arXiv:2406.02756, Section 2.1.

Differences from the paper:
    The prompt (`prompts/minimal_edit.md`) asks for the kinds of edit that the paper shows, in our
    words. What is accepted (`acceptance.py`) is our own rule as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from bench.data import Text
from bench.editing.acceptance import MINIMAL, EditResult, Limits, assess
from bench.editing.report import EditReport
from bench.llm import Answer, Asker, LLMOptions, Request
from bench.llm.json_answers import Remark, find_answer
from bench.llm.templates import Template
from bench.llm.transports.protocol import Say

Pair = tuple[str, str]  # an instruction and a response to it

SCHEMA = {
    "type": "object",
    # The fault first: a model that has named it changes less of the rest.
    "properties": {
        "fault": {"type": "string", "description": "What needs repair, in one sentence."},
        "edited": {"type": "string", "description": "The whole response after the changes."},
    },
    "required": ["fault", "edited"],
    "additionalProperties": False,
}
ADVICE = {
    "rejected_unchanged": "People preferred another response, so something in this one can be "
    "better. Find what matters most to them and change that.",
    "rejected_changed_too_much": "Begin again with the response as it was given, and change only "
    "what matters most.",
    "rejected_empty": "Give the whole response, with as few changes as possible.",
}


class EditorOptions(LLMOptions):
    """How Claude edits."""

    template: str = Field("minimal_edit", description="name of a prompt, or path of your own")
    max_changed: float = Field(
        MINIMAL.max_changed,
        gt=0,
        le=1,
        description="largest share of words and marks that an edit may replace: the smaller of "
        "what it takes out of the response and what is new in its own text",
    )
    max_removed: float = Field(
        MINIMAL.max_removed,
        gt=0,
        le=1,
        description="largest share of its words and marks that it may take out",
    )
    max_added: float = Field(
        MINIMAL.max_added,
        gt=0,
        description="largest number of new ones, as a share of the response's",
    )
    always_allowed: int = Field(
        MINIMAL.always_allowed,
        ge=0,
        description="changed words and marks that are allowed in the shortest response too",
    )

    @property
    def limits(self) -> Limits:
        """What is accepted."""
        return Limits(self.max_changed, self.max_removed, self.max_added, self.always_allowed)

    def load_template(self) -> Template:
        """Read the prompt.

        Raises:
            UserError: there is no such prompt, or its slots are wrong.
        """
        folder = resources.files("bench.editing") / "prompts"
        return Template.load(self.template, folder, ("instruction", "response"))

    def result_fields(self) -> dict[str, Any]:
        """As for every model; of the prompt, what it says and not what it is called."""
        return super().result_fields() | {"template": self.load_template().sha}


class Claude:
    """Edits responses.

    Args:
        options: model, prompt, limits.
        answers: file that keeps what the model answered.
        say: receives a line for people.

    Raises:
        UserError: an option or a file is wrong.
    """

    name = "claude"
    Options = EditorOptions

    def __init__(self, options: EditorOptions, *, answers: Path, say: Say) -> None:
        self.options = options
        self.template = options.load_template()
        self.asker = Asker(options, answers, say)
        self._results: list[EditResult] = []

    @property
    def source(self) -> str:
        """Who made the edits, as their rows say."""
        return f"{self.name}:{self.options.model}:{self.template.sha[:8]}"

    def ready(self) -> None:
        """Raise UserError for what would stop `edit`, such as a missing key; costs nothing."""
        self.asker.ready()

    def requests(self, pairs: Iterable[Pair]) -> Iterator[Request]:
        """The first question about each pair, as `edit` would ask it; for an estimate."""
        return _Session(self).requests(pairs)

    def edit(self, pairs: Iterable[Pair]) -> list[EditResult]:
        """Ask for the edit of each response, once for equal pairs.

        What is truncated is asked again with more room, what cannot be read once more, and what is
        not accepted with the reason: each of these once a pair. The option retry has more renewed.

        Args:
            pairs: an instruction and a response to it; drawn as there is room for more questions.

        Returns:
            One result for each pair, in order.

        Raises:
            UserError: nothing can be answered; what was answered is kept.
        """
        session = _Session(self)
        self.asker.ask(session.requests(pairs), session.receive)
        results = [session.results[pair] for pair in session.order]
        self._results += results
        return results

    def report(self, left_out: dict[str, int] | None = None) -> EditReport:
        """What all edits so far came to.

        Args:
            left_out: rows that had no response to edit, by reason.
        """
        return EditReport.of(
            self._results,
            self.asker.tally,
            prices=self.asker.budget.prices,
            source=self.source,
            template=self.template,
            limits=self.options.limits,
            left_out=left_out or {},
        )

    def about(self) -> dict[str, Any]:
        """The report, for a record."""
        return self.report().as_dict()

    def request(self, pair: Pair) -> Request:
        """The first question about a pair."""
        prompt = self.template.fill(instruction=pair[0], response=pair[1].strip())
        return self.options.request(prompt, SCHEMA)


class _Reply(BaseModel):
    """What the model answers, `SCHEMA`; what counts is the edited text."""

    fault: Remark = ""
    edited: Text


@dataclass
class _Session:
    """One call of `edit`: what is asked, what waits for its answer, what is done."""

    editor: Claude
    order: list[Pair] = field(default_factory=list)
    # By the key of the question, which is one for responses that differ in blank space alone.
    waiting: dict[str, list[Pair]] = field(default_factory=dict)
    results: dict[Pair, EditResult] = field(default_factory=dict)

    def requests(self, pairs: Iterable[Pair]) -> Iterator[Request]:
        """The first question about each different pair."""
        asked: set[Pair] = set()
        for pair in pairs:
            self.order.append(pair)
            if pair in asked:
                continue
            asked.add(pair)
            if not pair[1].strip():
                self.results[pair] = EditResult(*pair, "rejected_empty", "the response is empty")
                continue
            yield self._open(pair, self.editor.request(pair))

    def receive(self, request: Request, answer: Answer) -> Request | None:
        """Keep the result of an answer, or return the question that is to be asked next."""
        pair = self.waiting[request.key].pop(0)
        result = self._read(pair, answer)
        following = _again(request, answer, result, self.editor.asker)
        if following is not None:
            return self._open(pair, following)
        self.results[pair] = result
        return None

    def _open(self, pair: Pair, request: Request) -> Request:
        self.waiting.setdefault(request.key, []).append(pair)
        return request

    def _read(self, pair: Pair, answer: Answer) -> EditResult:
        if answer.outcome != "answered":
            return EditResult(*pair, answer.outcome, _why_not(answer))
        try:
            reply = find_answer(answer.text, _Reply, "edited")
        except ValueError as error:
            return EditResult(*pair, "parse_error", str(error))
        return assess(*pair, reply.edited, reply.fault, self.editor.options.limits)


def _why_not(answer: Answer) -> str:
    """Why there is no answer, in words."""
    if answer.outcome == "refusal":
        return answer.category or "no category was given"
    if answer.outcome == "truncated":
        return f"{answer.usage.output_tokens} tokens were not enough"
    return answer.error or ""


def _again(request: Request, answer: Answer, result: EditResult, asker: Asker) -> Request | None:
    """The question that may mend a result; None where nothing would."""
    if not result.rejected:
        return asker.follow_up(request, result.status)
    if len(request.body["messages"]) > 1:  # the reason was given before
        return None
    reason = f"This edit is not accepted: {result.reason}. {ADVICE[result.status]}"
    messages = [
        *request.body["messages"],
        {"role": "assistant", "content": answer.text},
        {"role": "user", "content": reason},
    ]
    return request.with_body(messages=messages)
