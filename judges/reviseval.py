"""RevisEval (arXiv:2410.05193): both outputs are judged beside references made of themselves.

A reference helps a judge if it is close to what is judged. So the model first revises a response,
with the other one as a guide, into the best that it can become, and then compares the outputs with
that revision beside them.

Differences from the authors' code (https://github.com/Don-Joey/RevisEval, main.ipynb):
    It revises one of the two, the one that is shown second, which was drawn at random, and asks
    once, in that order, which is better. Here each is revised, the outputs are compared beside
    either revision in both orders, and the four verdicts are averaged, so that neither position nor
    being revised favours one. The prompts are our own, and a tie may be said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, Field

from bench.data import Text
from bench.judging.pairs import Pair
from bench.llm import Answer, Request
from bench.llm.json_answers import find_answer
from bench.llm.templates import Template
from bench.plugins.protocols import OrderVerdict
from judges.pairwise import SLOTS, Pairwise, PairwiseOptions, unanswered

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"revised": {"type": "string", "description": "the whole response, revised"}},
    "required": ["revised"],
    "additionalProperties": False,
}
Revision = str | OrderVerdict  # the text, or why there is none


class RevisEvalOptions(PairwiseOptions):
    """As the other judges', with a prompt for the revisions."""

    template: str = Field(
        "reviseval", description="prompt: reviseval, or the path of your own file with {reference}"
    )
    revision_template: str = Field(
        "revise", description="prompt of the revisions: revise, or the path of your own file"
    )

    slots = (*SLOTS, "reference")

    def load_revision(self) -> Template:
        """Read the prompt of the revisions.

        Raises:
            UserError: there is no such prompt, or its slots are wrong.
        """
        folder = resources.files("judges") / "prompts"
        return Template.load(self.revision_template, folder, ("instruction", "response", "guide"))

    def result_fields(self) -> dict[str, Any]:
        """As for every judge, by what both prompts say."""
        return super().result_fields() | {"revision_template": self.load_revision().sha}


class _Revised(BaseModel):
    """The model's answer."""

    revised: Text


class RevisEval(Pairwise):
    """Claude compares the outputs beside a revision of each, in both orders."""

    name = "reviseval"
    Options: type[PairwiseOptions] = RevisEvalOptions
    options: RevisEvalOptions
    assumes = "revisions that are not there yet: taken to be as long as what they revise"

    def __init__(
        self,
        suite: Any,
        options: RevisEvalOptions,
        *,
        answers: Path,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(suite, options, answers=answers, say=say)
        self.revision = options.load_revision()
        both = self.template.sha + self.revision.sha
        self.template_sha = hashlib.sha256(both.encode()).hexdigest()

    def requests(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> Iterator[Request]:
        """What `compare` would ask; in the place of a revision that is not stored, its response."""
        for pair in self._all(prompts, outputs, references):
            for request, response in self._revisions(pair):
                yield request
                answer = self.asker.answers.get(request.key)
                revised = _read(answer) if answer is not None else ""
                known = revised if isinstance(revised, str) else ""
                yield from self._questions(pair._replace(adapted=known or response))

    def repeated(self, prompts: list[str], outputs: list[str], references: list[str]) -> list[str]:
        """What the answer to each of `requests` repeats: a revision repeats its response."""
        return [
            text
            for pair in self._all(prompts, outputs, references)
            for _, response in self._revisions(pair)
            for text in (response, *("" for _ in self._orders(pair)))
        ]

    def _ask(self, pairs: Iterable[Pair]) -> dict[Pair, list[OrderVerdict]]:
        """What the model says of each pair in each order, beside both revisions on average."""
        revised = self._revise(list(pairs))
        beside = {
            pair: [
                found if isinstance(found, OrderVerdict) else pair._replace(adapted=found)
                for found in revisions
            ]
            for pair, revisions in revised.items()
        }
        said = super()._ask(
            dict.fromkeys(p for both in beside.values() for p in both if isinstance(p, Pair))
        )
        return {
            pair: [
                _mean([said[one][i] if isinstance(one, Pair) else one for one in both])
                for i in range(len(self._orders(pair)))
            ]
            for pair, both in beside.items()
        }

    def _revise(self, pairs: Sequence[Pair]) -> dict[Pair, list[Revision]]:
        """The revisions of each pair's texts, or why there is none; all are stored first."""
        keys: dict[Pair, list[str]] = {}
        first: dict[str, str] = {}  # the key of a question, by that of its follow-ups
        found: dict[str, Revision] = {}

        def questions() -> Iterator[Request]:
            for pair in pairs:
                asked = [request for request, _ in self._revisions(pair)]
                keys[pair] = [request.key for request in asked]
                first.update((key, key) for key in keys[pair])
                yield from asked

        def receive(request: Request, answer: Answer) -> Request | None:
            revised = _read(answer)
            status = revised.status if isinstance(revised, OrderVerdict) else "ok"
            if more := self.asker.follow_up(request, status):
                first[more.key] = first[request.key]
            else:
                found[first[request.key]] = revised
            return more

        self.asker.ask(questions(), receive)
        return {pair: [found[key] for key in keys[pair]] for pair in pairs}

    def _revisions(self, pair: Pair) -> list[tuple[Request, str]]:
        """The question about each of a pair's texts, and the text: one where they are equal."""
        both = dict.fromkeys(((pair.output, pair.reference), (pair.reference, pair.output)))
        return [
            (
                self.options.request(
                    self.revision.fill(instruction=pair.prompt, response=response, guide=guide),
                    _SCHEMA,
                ),
                response or guide,
            )
            for response, guide in both
        ]


def _read(answer: Answer) -> Revision:
    """The revision in an answer."""
    if (none := unanswered(answer)) is not None:
        return none
    try:
        revised = find_answer(answer.text, _Revised, "revised").revised.strip()
    except ValueError as error:
        return OrderVerdict(None, "parse_error", text=answer.text, error=str(error))
    if not revised:
        return OrderVerdict(None, "parse_error", text=answer.text, error="the revision is empty")
    return revised


def _mean(verdicts: Sequence[OrderVerdict]) -> OrderVerdict:
    """The mean of one order's verdicts; without one of them there is none."""
    for verdict in verdicts:
        if verdict.preference is None:
            return verdict
    return OrderVerdict(
        fmean(v.preference for v in verdicts if v.preference is not None),
        "ok",
        " / ".join(v.rationale for v in verdicts),
        "\n".join(v.text for v in verdicts),
    )
