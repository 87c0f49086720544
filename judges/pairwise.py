"""A language model as judge: which of two outputs is better, asked in both orders.

The unit is the instruction: the reference is shown first once and second once, and the two verdicts
are averaged, so that a preference for a position cancels out. The model answers in JSON with a
reason and then a verdict (A, B or tie), under a named prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from os.path import commonprefix
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bench.judging.canaries import canary_pairs, check
from bench.judging.diagnostics import refusals
from bench.judging.marks import account
from bench.judging.pairs import Pair, combine, pairs_of
from bench.llm import Answer, Asker, LLMOptions, Request
from bench.llm.caching import LONG_BYTES, apart
from bench.llm.json_answers import ZERO_WIDTH, Remark, find_answer
from bench.llm.templates import Template, nonce
from bench.plugins.protocols import OrderVerdict, Verdict
from bench.preference import FIRST, SECOND, TIE, exchanged

REFERENCE_FIRST, MODEL_FIRST = ORDERS = (0, 1)
SLOTS = ("instruction", "output_1", "output_2")
# The reason comes first, so that it is written before the verdict and not after it.
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string", "description": "one sentence"},
        "verdict": {"type": "string", "enum": ["A", "B", "tie"]},
    },
    "required": ["rationale", "verdict"],
    "additionalProperties": False,
}


class PairwiseOptions(LLMOptions):
    """A model, the way to it, and what it is asked."""

    template: str = Field(
        "alpaca_eval", description="prompt: alpaca_eval, mt_bench, or the path of your own file"
    )
    canaries: int = Field(
        4, ge=0, description="instructions on which canaries are tried before all else; 0: none"
    )

    slots: ClassVar[tuple[str, ...]] = SLOTS

    def load_template(self) -> Template:
        """Read the prompt.

        Raises:
            UserError: there is no such prompt, or its slots are wrong.
        """
        return Template.load(self.template, resources.files("judges") / "prompts", self.slots)

    def result_fields(self) -> dict[str, Any]:
        """As for every model; of the prompt, what it says and not what it is called.

        Canaries decide no verdict, however many there are; but what was judged without any is
        judged again (of stored answers) by who asks for them.
        """
        own = {"template": self.load_template().sha, "canaries": self.canaries > 0}
        return super().result_fields() | own


def _plain(verdict: Any) -> Any:
    """A verdict in the schema's letters, if it is one of them but for case and blank space."""
    if not isinstance(verdict, str):
        return verdict
    letters = verdict.translate(ZERO_WIDTH).strip().casefold()
    return {"a": "A", "b": "B", "tie": "tie"}.get(letters, verdict)


class _Said(BaseModel):
    """The model's answer, of which the verdict counts: it is one of three, or there is none."""

    model_config = ConfigDict(strict=True)

    rationale: Remark = ""
    verdict: Annotated[Literal["A", "B", "tie"], BeforeValidator(_plain)]


class Pairwise:
    """Asks a model about each pair in both orders.

    Args:
        suite: not needed; every judge is given it.
        options: model, transport, prompt, limits.
        answers: file that keeps what was answered.
        say: receives a line for people.

    Raises:
        UserError: an option or a file is wrong.
    """

    name = "pairwise"
    Options: type[PairwiseOptions] = PairwiseOptions

    def __init__(
        self,
        suite: Any,
        options: PairwiseOptions,
        *,
        answers: Path,
        say: Callable[[str], None],
    ) -> None:
        self.options = options
        self.template = options.load_template()
        self.model: str | None = options.model
        self.template_sha: str | None = self.template.sha
        self.asker = Asker(options, answers, say)
        self._verdicts: dict[Pair, Verdict] = {}
        self._judged: list[tuple[Pair, Verdict]] = []
        self._canaries: dict[str, Any] | None = None

    def ready(self) -> None:
        """Raise UserError for what would stop `compare`, such as a missing key; costs nothing."""
        self.asker.ready()

    def compare(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> list[Verdict]:
        """One verdict an instruction, in order; the first call tries the canaries before.

        Raises:
            UserError: a canary won, or nothing can be answered; what was answered is stored.
        """
        self.try_canaries(prompts, outputs, references)
        pairs = pairs_of(prompts, outputs, references)
        answers = self._ask(pair for pair in _to_ask(pairs) if pair not in self._verdicts)
        self._verdicts |= {pair: combine(said) for pair, said in answers.items()}
        verdicts = [self._verdicts.get(pair, Verdict(TIE, "identical")) for pair in pairs]
        self._judged += zip(pairs, verdicts, strict=True)
        return verdicts

    def try_canaries(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> dict[str, Any]:
        """Ask about the canaries alone, once; see `bench.judging.canaries.check`.

        Raises:
            UserError: a canary won, or was not answered.
        """
        if self._canaries is None:
            named = canary_pairs(pairs_of(prompts, outputs, references), self.options.canaries)
            answers = self._ask(pair for _, pair in named)
            who = f"{self.model} with the prompt {self.template.name}"
            self._canaries = check([(name, answers[pair]) for name, pair in named], who)
        return self._canaries

    def requests(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> Iterator[Request]:
        """What `compare` would ask, canaries first, for an estimate."""
        for pair in self._all(prompts, outputs, references):
            yield from self._questions(pair)

    def _all(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> dict[Pair, None]:
        """Every different pair that is asked about, canaries first."""
        pairs = pairs_of(prompts, outputs, references)
        canaries = [pair for _, pair in canary_pairs(pairs, self.options.canaries)]
        return dict.fromkeys(canaries + _to_ask(pairs))

    def about(self) -> dict[str, Any]:
        """Cost, models and dates of the answers; canaries, counts, marks and more of `compare`."""
        tally = self.asker.tally
        return {
            "cost_usd": tally.cost_usd,
            "possibly_billed_usd": tally.possibly_billed_usd,
            "calls": tally.calls,
            "stored": tally.stored,
            "models": dict(sorted(tally.models.items())),
            "first_at": tally.first_at,
            "last_at": tally.last_at,
            "prices": self.asker.budget.prices.about(),
            "template": self.template.name,
            "canaries": self._canaries or {},
            "refusals": refusals(verdict for _, verdict in self._judged),
            **account(self._judged),
        }

    def _ask(self, pairs: Iterable[Pair]) -> dict[Pair, list[OrderVerdict]]:
        """What the model says of each pair in each order."""
        found: dict[Pair, dict[int, OrderVerdict]] = {pair: {} for pair in pairs}
        asked: dict[str, Pair] = {}

        def questions() -> Iterator[Request]:
            for pair in found:
                for question in self._questions(pair):
                    asked[question.key] = pair
                    yield question

        def receive(request: Request, answer: Answer) -> Request | None:
            pair = asked[request.key]
            verdict = self._read(answer, request.order)
            if more := self.asker.follow_up(request, verdict.status):
                asked[more.key] = pair
            else:
                found[pair][request.order] = verdict
            return more

        self.asker.ask(apart(questions(), self.options.concurrency), receive)
        return {pair: [found[pair][order] for order in self._orders(pair)] for pair in found}

    def _orders(self, pair: Pair) -> tuple[int, ...]:
        """In which orders a pair is shown; equal texts make one question in both."""
        return ORDERS[:1] if pair.output == pair.reference else ORDERS

    def _questions(self, pair: Pair) -> list[Request]:
        """One in each order.

        They have a nonce each, and begin alike as far as the template's own text goes. Where that
        is too short to be cached, and the instruction long enough, they have the same nonce and
        begin alike up to the outputs, unless one with its own is answered already.
        """
        slots = {order: self._slots(pair, order) for order in self._orders(pair)}
        own = self._filled(slots)
        if own[0].shared >= LONG_BYTES or len(own) == 1:
            return own
        alike = self._filled(slots, nonce(slots[REFERENCE_FIRST]))
        if alike[0].shared < LONG_BYTES or self.asker.recorded(own[1]):
            return own
        return alike

    def _filled(
        self, slots: Mapping[int, dict[str, str]], mark: str | None = None
    ) -> list[Request]:
        texts = {order: self.template.fill(mark, **values) for order, values in slots.items()}
        both = list(texts.values())
        shared = len(commonprefix(both)) if both[1:] else 0  # noqa: RUF071 (of letters, as meant)
        return [self._request(text, order, shared) for order, text in texts.items()]

    def _slots(self, pair: Pair, order: int) -> dict[str, str]:
        outputs = (pair.reference, pair.output)
        first, second = outputs if order == REFERENCE_FIRST else outputs[::-1]
        texts = {"instruction": pair.prompt, "output_1": first, "output_2": second}
        return texts | ({"reference": pair.adapted} if pair.adapted else {})

    def _request(self, text: str, order: int, shared: int) -> Request:
        return self.options.request(text, _SCHEMA, order, shared)

    def _read(self, answer: Answer, order: int) -> OrderVerdict:
        return read(answer, order)


def unanswered(answer: Answer) -> OrderVerdict | None:
    """Why an answer has no verdict, before it is read; None: it is to be read."""
    if answer.outcome == "answered":
        return None
    return OrderVerdict(
        None, answer.outcome, text=answer.text, category=answer.category, error=answer.error
    )


def read(answer: Answer, order: int) -> OrderVerdict:
    """What an answer says of the pair that was shown in this order."""
    if (verdict := unanswered(answer)) is not None:
        return verdict
    try:
        said = find_answer(answer.text.translate(ZERO_WIDTH), _Said, "verdict")
    except ValueError as error:
        return OrderVerdict(None, "parse_error", text=answer.text, error=str(error))
    first = FIRST if order == REFERENCE_FIRST else SECOND
    preference = {"A": first, "B": exchanged(first), "tie": TIE}[said.verdict]
    return OrderVerdict(preference, "ok", said.rationale, answer.text)


def _to_ask(pairs: Iterable[Pair]) -> list[Pair]:
    """The different ones among them; identical outputs are a tie without a question."""
    return list(dict.fromkeys(pair for pair in pairs if pair.output != pair.reference))
