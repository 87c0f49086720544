"""An annotator of AlpacaEval's (arXiv:2404.04475) as its `annotators_config` has it.

Its prompt, its parser, its sampling and its model; asked in one order, which alpaca_eval draws by
instruction, unless `orders=both` averages over two as the other judges here do. With a weighted
annotator the preference is the probability of the token, between 1 and 2.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from bench.errors import UserError
from bench.judging.annotators import Annotator
from bench.judging.pairs import Pair
from bench.llm import Answer, Request
from bench.llm.templates import Template
from bench.plugins.protocols import OrderVerdict
from bench.preference import exchanged
from judges.openai import OpenAIOptions
from judges.pairwise import MODEL_FIRST, REFERENCE_FIRST, Pairwise, unanswered

_SAID = ("template", "effort", "answer_format", "weighted")  # by the configuration, if at all


class AlpacaEvalOptions(OpenAIOptions):
    """As the judge `openai`'s, where the configuration says nothing."""

    annotators_config: str = Field(
        "weighted_alpaca_eval_gpt4_turbo",
        description="name of one in alpaca_eval's package, or the path of your YAML file",
    )
    orders: Literal["config", "both"] = Field(
        "config", description="config: the one order that it draws; both: averaged over the two"
    )
    model: str = Field("", description="who answers; default: the model that it names")

    @model_validator(mode="before")
    @classmethod
    def _by_the_configuration(cls, values: Any) -> Any:
        """Take model and endpoint from the configuration where they are not given."""
        if not isinstance(values, dict):
            return values
        if given := [name for name in _SAID if name in values]:
            raise UserError(f"leave out judge.{given[0]}: the annotators_config says it")
        default = cls.model_fields["annotators_config"].default
        annotator = Annotator.load(str(values.get("annotators_config", default)))
        own = {"model": annotator.model, "base_url": annotator.base_url}
        return {name: value for name, value in own.items() if value} | values

    @property
    def annotator(self) -> Annotator:
        """The annotator, read anew."""
        return Annotator.load(self.annotators_config)

    @property
    def asks_a_chat(self) -> bool:
        """Always: its fields are those of a chat completion."""
        return True

    def load_template(self) -> Template:
        """Its name, and its fields and prompt as the text that is hashed."""
        annotator = self.annotator
        return Template(annotator.name, annotator.whole)


class AlpacaEval(Pairwise):
    """An annotator of AlpacaEval's compares the outputs, as its configuration says."""

    name = "alpaca_eval"
    Options = AlpacaEvalOptions
    options: AlpacaEvalOptions

    def __init__(self, suite: Any, options: AlpacaEvalOptions, **given: Any) -> None:
        super().__init__(suite, options, **given)
        self._annotator = options.annotator

    def about(self) -> dict[str, Any]:
        """As of the other judges, and which orders were asked."""
        return super().about() | {"orders": self.options.orders}

    def _orders(self, pair: Pair) -> tuple[int, ...]:
        if self.options.orders == "both":
            return super()._orders(pair)
        return (MODEL_FIRST if self._annotator.switched(pair.prompt) else REFERENCE_FIRST,)

    def _questions(self, pair: Pair) -> list[Request]:
        return [self._question(pair, order) for order in self._orders(pair)]

    def _question(self, pair: Pair, order: int) -> Request:
        body = {
            "model": self.options.model,
            "max_tokens": self._annotator.max_tokens,
            "messages": self._annotator.messages(pair, order == MODEL_FIRST),
            "chat": self._annotator.fields,
        }
        return Request(body, order, endpoint=self.options.endpoint)

    def _read(self, answer: Answer, order: int) -> OrderVerdict:
        if (verdict := unanswered(answer)) is not None:
            return verdict
        try:
            found = self._annotator.read(answer.text, answer.top_logprobs)
        except ValueError as error:
            return OrderVerdict(None, "parse_error", text=answer.text, error=str(error))
        preference = found if order == REFERENCE_FIRST else exchanged(found)
        return OrderVerdict(preference, "ok", text=answer.text)
