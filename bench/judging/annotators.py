"""AlpacaEval's annotators, as its `annotators_config` has them: prompt, model, parser, order.

A configuration is a YAML file with one annotator, by the name of one that alpaca_eval's package
brings, or by a path. Its parsers are alpaca_eval's own. One that needs another service than an
OpenAI-compatible chat endpoint, or more than one comparison a prompt, is refused with the reason.

Difference from alpaca_eval: the template is cut into turns before the texts are put into it, and
filled in one pass, so that no text can begin a turn or fill a slot. Other texts give equal turns.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bench.errors import UserError, unknown, yaml_problem
from bench.judging.pairs import Pair
from bench.judging.quiet import quiet, quiet_import
from bench.llm.requests import canonical
from bench.preference import FIRST, SECOND, TIE

PARSERS = (
    *("regex_parser", "lmsys_parser", "ranking_parser", "json_parser", "eval_parser"),
    *("replace_parser", "logprob_parser", "pipeline_meta_parser"),
)
_PARSER = "regex_parser"  # alpaca_eval's default
_FILE = "configs.yaml"
_SLOTS = ("instruction", "output_1", "output_2")
_SLOT = re.compile("{(" + "|".join(_SLOTS) + ")}")
_SEED = 0  # alpaca_eval's, of the order in which the outputs are shown
_FIELDS = {
    *("prompt_template", "fn_completions", "completions_kwargs", "fn_completion_parser"),
    *("completion_parser_kwargs", "completion_key", "batch_size", "processors_to_kwargs"),
    "is_randomize_output_order",
}
_PROCESSORS = {"ChainOfThoughtProcessor"}  # changes what is stored beside a preference alone
# What alpaca_eval takes out of the keywords before it asks the endpoint.
_OURS = {"model_name", "max_tokens", "client_kwargs", "requires_chatml", "price_per_token"}
_SENT = {"temperature", "top_p", "logprobs", "top_logprobs", "tools", "tool_choice", "stop", "seed"}
_SAMPLING = {"temperature": 0.7, "top_p": 1.0}  # alpaca_eval's defaults


@dataclass(frozen=True)
class Annotator:
    """One annotator.

    Attributes:
        name: its name in the file.
        values: what the file says of it.
        prompt: the text of its template.
    """

    name: str
    values: Mapping[str, Any]
    prompt: str

    @classmethod
    def load(cls, name: str) -> Annotator:
        """Read and check a configuration.

        Args:
            name: of one in alpaca_eval's package, or the path of a YAML file or of its folder.

        Raises:
            UserError: there is none, or it cannot be used, and why.
        """
        path = _find(name)
        own, values = _only_annotator(path)
        if why := next(_problems(values), ""):
            raise UserError(f"the annotators_config {own} ({path}) cannot be used: {why}")
        prompt = _read(_prompt_path(path, str(values["prompt_template"])))
        made = cls(own, values, prompt.strip())
        if not made.turns:
            raise UserError(
                f"the annotators_config {own} ({path}) cannot be used: its prompt is no chat "
                "(<|im_start|> ... <|im_end|>), but for a completions model"
            )
        if missing := [slot for slot in _SLOTS if f"{{{slot}}}" not in prompt]:
            raise UserError(f"the prompt of {own} ({path}) has no slot {{{missing[0]}}}")
        return made

    @property
    def whole(self) -> str:
        """Its fields and its prompt as one text, whose hash a record has."""
        return canonical([_spelled(self.values), self.prompt])

    @property
    def model(self) -> str:
        """The model that it names."""
        return str(self._asked["model_name"])

    @property
    def base_url(self) -> str | None:
        """The endpoint that it names, if it does."""
        url = self._asked.get("client_kwargs", {}).get("base_url")
        return None if url is None else str(url)

    @property
    def max_tokens(self) -> int:
        """Most tokens of an answer; what is cut off there is read all the same."""
        return int(self._asked.get("max_tokens", 2048))

    @property
    def fields(self) -> dict[str, Any]:
        """What else is sent with a question."""
        given = {name: value for name, value in self._asked.items() if name in _SENT}
        return {**_SAMPLING, **given}

    def switched(self, instruction: str) -> bool:
        """Whether the model's output is shown first, as alpaca_eval draws it by instruction."""
        if not self.values.get("is_randomize_output_order", True):
            return False
        choose = quiet_import("alpaca_eval.utils").random_seeded_choice
        return bool(choose(f"is_switched_outputs{instruction}{_SEED}", [False, True]))

    @cached_property
    def turns(self) -> list[dict[str, str]]:
        """The template's turns; none where it is no chat."""
        if not self.prompt.startswith("<|im_start|>") or not self.prompt.endswith("<|im_end|>"):
            return []
        return list(quiet_import("alpaca_eval.utils").prompt_to_chatml(self.prompt))

    def messages(self, pair: Pair, switched: bool) -> list[dict[str, str]]:
        """The turns about a pair."""
        first, second = (pair.reference, pair.output)[:: -1 if switched else 1]
        texts = {"instruction": pair.prompt, "output_1": first, "output_2": second}
        return [
            turn | {"content": _SLOT.sub(lambda slot: texts[slot[1]], turn["content"])}
            for turn in self.turns
        ]

    def read(self, text: str, logprobs: list[dict[str, float]]) -> float:
        """What a completion prefers, by its parser: 1 the first shown, 2 the second, 1.5 neither.

        Raises:
            ValueError: it cannot be read.
        """
        parsers = quiet_import("alpaca_eval.completion_parsers")
        parser = getattr(parsers, self.values.get("fn_completion_parser") or _PARSER)
        # The parsers keep compiled patterns in their keywords, so each call has its own.
        keywords = deepcopy(self.values.get("completion_parser_kwargs") or {})
        try:
            with quiet():
                found = parser(self._completion(text, logprobs), **keywords)
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
        if len(found) != 1:
            raise ValueError(f"{len(found)} preferences in the place of one")
        return _preference(found[0])

    def _completion(self, text: str, logprobs: list[dict[str, float]]) -> Any:
        if self.values.get("completion_key", "completions") == "completions":
            return text
        if not logprobs:
            raise ValueError("the endpoint gave no log-probabilities")
        content = [
            {"top_logprobs": [{"token": t, "logprob": p} for t, p in position.items()]}
            for position in logprobs
        ]
        return {"text": text, "logprobs": {"content": content}}

    @property
    def _asked(self) -> dict[str, Any]:
        return dict(self.values.get("completions_kwargs") or {})


def packaged() -> dict[str, Path]:
    """The configurations in alpaca_eval's package, by name."""
    return {path.parent.name: path for path in sorted(_folder().glob(f"*/{_FILE}"))}


def _folder() -> Path:
    """Found without importing the package, which takes long."""
    spec = importlib.util.find_spec("alpaca_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("alpaca_eval is not installed, and with it its annotators")
    return Path(spec.submodule_search_locations[0]) / "evaluators_configs"


def _find(name: str) -> Path:
    path = Path(name)
    if path.is_dir():
        path /= _FILE
    if path.is_file():
        return path
    known = packaged()
    if name not in known:
        raise UserError(
            unknown("annotators_config", name, known) + ", or the path of a YAML file or its folder"
        )
    return known[name]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _only_annotator(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        content = yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {yaml_problem(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise UserError(f"{path}: is no annotators_config: it maps a name to an annotator's fields")
    if len(content) != 1:
        raise UserError(
            f"{path}: is a pool of {len(content)} annotators of which one is drawn for each "
            "instruction, which cannot be used: give a file with one of them"
        )
    return next((str(name), values) for name, values in content.items())


def _prompt_path(config: Path, named: str) -> Path:
    """Beside the configuration, beside its folder, or in the package, as alpaca_eval has them."""
    places = [config.parent / named, config.parent.parent / named, _folder() / named]
    return next((place for place in places if place.is_file()), places[0])


def _problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Why an annotator cannot be used; nothing where it can."""
    for field in sorted(set(values) - _FIELDS):
        yield f"its field {field} is not known here"
    if (service := values.get("fn_completions")) != "openai_completions":
        yield f"it asks by {service}, and only openai_completions is spoken here"
    if (size := values.get("batch_size", 1)) != 1:
        yield f"it puts {size} comparisons into one prompt (batch_size)"
    asked = values.get("completions_kwargs") or {}
    if "model_name" not in asked or "prompt_template" not in values:
        yield "it names no model (completions_kwargs.model_name) or no prompt_template"
    for field in sorted(set(asked) - _OURS - _SENT):
        yield f"completions_kwargs.{field} cannot be sent to every endpoint"
    for processor in sorted(set(values.get("processors_to_kwargs") or {}) - _PROCESSORS):
        yield f"it needs the processor {processor}"
    named = [values.get("fn_completion_parser") or _PARSER]
    named += (values.get("completion_parser_kwargs") or {}).get("parsers_to_kwargs", {})
    for parser in named:
        if parser not in PARSERS:
            yield f"its parser {parser} is none of {', '.join(PARSERS)}"


def _spelled(value: Any) -> Any:
    """The same with texts as keys, of which JSON sorts no others."""
    if isinstance(value, Mapping):
        return {str(key): _spelled(own) for key, own in value.items()}
    return [_spelled(own) for own in value] if isinstance(value, list) else value


def _preference(found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{found!r} is no preference")
    if found == 0:
        return TIE
    if not FIRST <= found <= SECOND or math.isnan(found):
        raise ValueError(f"{found} is no preference")
    return float(found)
