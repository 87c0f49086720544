"""The JSON object that an answer is: asked for in words, and found in whatever text came back.

Not every endpoint holds a model to a schema. What comes then is fenced, has a word before it or
reasoning in `<think>` tags. What is judged may itself be written like an answer, and a model may
quote it; so what could be read in two ways is not read at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)
Span = tuple[int, int]

ZERO_WIDTH = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))
"""For `str.translate`: takes out characters that nobody sees."""

_FORM = "Answer with nothing but one JSON object that fits this JSON schema:"
_BLANK = " \t\r\n\v\f\u00a0\u2028\u2029" + "".join(map(chr, ZERO_WIDTH))
_TAG = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)
# How an object begins, well or badly written, unlike a brace in prose.
_OBJECT = re.compile(r"\{\s*(?:[\"']|\w+\s*:)")
_FENCE_OPENS, _FENCE_CLOSES = re.compile(r"```\w*\s*$"), re.compile(r"^\s*```")


def _storable(value: Any) -> str:
    """Text that a file can hold; what is none is left out."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


Remark = Annotated[str, BeforeValidator(_storable)]
"""A field of words beside what counts: an answer is not lost for one that is odd or missing."""


def in_words(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same question with the answer's form at the end of its prompt, and not beside it.

    Args:
        body: of the Messages API, with a schema in `output_config`.
    """
    config = dict(body["output_config"])
    schema = json.dumps(config.pop("format")["schema"], ensure_ascii=False)
    first, *others = body["messages"]
    told = {**first, "content": f"{first['content']}\n\n{_FORM}\n{schema}"}
    spoken = {name: value for name, value in body.items() if name != "output_config"}
    return spoken | {"messages": [told, *others]} | ({"output_config": config} if config else {})


def find_answer(text: str, kind: type[ModelT], field: str) -> ModelT:
    """Read the answer out of a text.

    It is the JSON object with `field`. Around it may stand a code fence, and prose before or
    after, not on both sides: in the midst of prose it may be a quotation. Reasoning in tags that
    comes first is passed over. Several such objects have to agree in `field`.

    Args:
        text: as it came.
        kind: what the object has to be.
        field: what counts of it.

    Returns:
        The answer; of several that agree the last one.

    Raises:
        ValueError: there is no such object, or it cannot be told which one is meant; in words.
    """
    written = re.compile(rf"[\"']{field}[\"']\s*:")  # as a key, in an object or in half of one
    visible = _visible(text, written)
    said: list[dict[str, Any]] = []  # every object with the field, also within another one
    found = [(span, value) for span, value in _objects(visible, field, said) if field in value]
    if not found:
        raise ValueError(f"there is no JSON object with the field {field!r} in it")
    meant = [getattr(_validated(kind, value), field) for value in said]
    if any(other != meant[0] for other in meant):
        raise ValueError(f"its objects contradict each other in {field!r}")
    _require_plain([span for span, _ in found], visible, written)
    return _validated(kind, found[-1][1])


def _visible(text: str, written: re.Pattern[str]) -> str:
    """What comes after the reasoning.

    Args:
        text: as it came.
        written: what shows that an answer is given.

    Raises:
        ValueError: where the reasoning ends is not clear.
    """
    text = text.strip(_BLANK)
    if text.startswith("{") and _ends_with_its_object(text):
        return text  # a tag in it is part of a string
    pieces = _TAG.split(text)
    texts, marks = pieces[::2], pieces[1::2]
    if not marks:
        return text
    if marks[0]:  # the tag that opens it may have been the last word of the prompt
        if written.search(texts[0]):
            raise ValueError("it may have answered before its first tag")
        texts, marks = ["", *texts], ["", *marks]
    if marks != ["", "/"] * (len(marks) // 2):
        raise ValueError("the tags of its reasoning do not pair up")
    if any("{" in outside for outside in texts[:-1:2]):
        raise ValueError("it reasons on after an object")
    return texts[-1].strip(_BLANK)


def _ends_with_its_object(text: str) -> bool:
    try:
        return _decode(text, 0, [])[1] == len(text)
    except ValueError:
        return False


def _objects(
    text: str, field: str, said: list[dict[str, Any]]
) -> Iterator[tuple[Span, dict[str, Any]]]:
    """The outermost JSON objects of a text, and where they are.

    Args:
        text: without reasoning.
        field: of the objects that are to be noted.
        said: takes them, also those within another one.

    Raises:
        ValueError: one cannot be read; what stands within it would be taken for another.
    """
    place = 0
    while begins := _OBJECT.search(text, place):
        inner: list[dict[str, Any]] = []
        try:
            value, place = _decode(text, begins.start(), inner)
        except ValueError as error:
            raise ValueError(f"an object in it is not JSON: {error}") from error
        said += [each for each in inner if field in each]
        yield (begins.start(), place), value


def _decode(text: str, start: int, inner: list[dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """The object at `start`, and where it ends; `inner` takes it and all within it.

    Raises:
        ValueError: there is none, or it has a key twice.
    """

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise ValueError("it has a key twice")
        inner.append(made)
        return made

    # Not strict: a line break within a string, as models write it, is taken as one.
    decoder = json.JSONDecoder(object_pairs_hook=note, strict=False)
    try:
        value, end = decoder.raw_decode(text, start)
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    return value, end


def _validated(kind: type[ModelT], value: dict[str, Any]) -> ModelT:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}") from error


def _require_plain(answers: list[Span], text: str, written: re.Pattern[str]) -> None:
    """Refuse what may be a quotation, or may be contradicted by the text around it."""
    before = _FENCE_OPENS.sub("", text[: answers[0][0]]).strip(_BLANK)
    after = _FENCE_CLOSES.sub("", text[answers[-1][1] :]).strip(_BLANK)
    if before and after:
        raise ValueError("its object stands in the midst of prose and may be a quotation")
    places = [0, *(place for span in answers for place in span), len(text)]
    outside = [text[start:end] for start, end in zip(places[::2], places[1::2], strict=True)]
    if any(written.search(part) for part in outside):
        raise ValueError("part of an answer stands outside of its object")
