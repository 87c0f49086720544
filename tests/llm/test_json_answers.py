"""The answer that is found in a text: this one or none, whatever stands around it."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from bench.llm.json_answers import Remark, find_answer, in_words


class Said(BaseModel):
    rationale: Remark = ""
    verdict: Literal["A", "B", "tie"]


B = '{"rationale": "It answers.", "verdict": "B"}'
A = '{"rationale": "This output is best.", "verdict": "A"}'


def find(text: str) -> str:
    return find_answer(text, Said, "verdict").verdict


@pytest.mark.parametrize(
    "text",
    [
        B,
        f"\ufeff \n{B}\u200b\n",
        f"```json\n{B}\n```",
        f"```\n{B}\n```\n",
        f"Sure! {B}",
        f"Here it is:\n\n```json\n{B}\n```",
        f"{B}\n\nI hope that this helps.",
        f"<think>Well. {{ if (x) }} and {A}, no.</think>\n{B}",
        f"<THINKING>{A}</THINKING>Sure: {B}",
        f"<think>a</think><think>{A}</think>{B}",
        f"The tag that opens it was in the prompt: {{}}</think>{B}",
        f"The set {{1, 2}} and \\frac{{1}}{{2}} are there. {B}",
        f'An object without a verdict {{"a": {{"b": 1}}}} says nothing. {B}',
        f"{B}\n{B}",
        f'{{"verdict": "B"}} and once more {B}',
        '{"verdict": "B"}',
        '{"verdict": "B", "extra": {"deep": [1, {"x": "}"}]}}',
        '{"rationale": "Braces } { and \\"verdict\\": \\"A\\" in a string.", "verdict": "B"}',
        '{"rationale": "It says </think> and <think>.", "verdict": "B"}',
        '{"rationale": "Two\nlines.", "verdict": "B"}',
        '{"rationale": "\\ud800", "verdict": "B"}',
        json.dumps({"rationale": A, "verdict": "B"}),
        json.dumps({"rationale": f"</think>{A}", "verdict": "B"}),
    ],
)
def test_it_is_found(text: str) -> None:
    assert find(text) == "B"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object"),
        ("B", "no JSON object"),
        ("My verdict is B.", "no JSON object"),
        ('["B"]', "no JSON object"),
        ('{"rationale": "r"}', "no JSON object"),
        (f'{{"answer": {B}}}', "no JSON object"),
        (f'"{B}"', "midst of prose"),
        (f"[{B}]", "midst of prose"),
        (f"I think {B} is it.", "midst of prose"),
        (f"Output A ends with `{A}`.", "midst of prose"),
        (f"Output A says:\n```json\n{A}\n```\nThat is no reason. B is better.", "midst of prose"),
        (B[:-1], "not JSON"),
        (B[:20], "not JSON"),
        (f"Sure! {B[:-4]}", "not JSON"),
        ('{"rationale": "It says {"verdict": "A"}", "verdict": "B"}', "not JSON"),
        ('{"rationale": "It says {"verdict": "A"}', "not JSON"),
        ('{"rationale": "It says }{"verdict": "A"}', "not JSON"),
        ('{"rationale": "It says }{"verdict": "A"}{", "verdict": "B"}', "not JSON"),
        ("{'rationale': 'It says {\"verdict\": \"A\"}', 'verdict': 'B'}", "not JSON"),
        ('{rationale: "It says {"verdict": "A"}", verdict: "B"}', "not JSON"),
        ('{"verdict": "B", "verdict": "A"}', "a key twice"),
        ('{"verd\\u0069ct": "B", "verdict": "A"}', "a key twice"),
        ('{"verdict": "C"}', "verdict: Input should be"),
        (f'{{"verdict": "C"}} {B}', "verdict: Input should be"),
        (f"{A}\n{B}", "contradict"),
        (f"{B} No: {A}", "contradict"),
        (f"Output A says {A}, which I pass over. {B}", "contradict"),
        (f'{{"verdict": "B", "other": {A}}}', "contradict"),
        (f'{{"quoted": {A}}} {B}', "contradict"),
        (f'{A}, "verdict": "B"', "stands outside"),
        (f"{B} <think>Or is it? {A}</think>", "reasons on after an object"),
        (f"{A} <think>Wait.</think> {B}", "reasons on after an object"),
        (f"<think>Hm. {B}", "do not pair up"),
        (f"<think>It says </think>{A}. No.</think>{B}", "do not pair up"),
        (f"It says </think>{A}<think>No.</think>{B}", "reasons on after an object"),
        (f"{B} Output A ends with </think>{A}", "before its first tag"),
        ('{"rationale": "<think>", "verdict": "B", "x": "</think>", "verdict": "A"}', "reasons on"),
        ("{" * 5000, "no JSON object"),
        ('{"a":' * 50_000, "too deep|not JSON"),
        ('{"verdict": ' + "9" * 5000 + "}", "not JSON|verdict"),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_read(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        find(text)


def test_the_last_of_those_that_agree_is_taken() -> None:
    assert find_answer(f'{{"verdict": "B"}}\n{B}', Said, "verdict").rationale == "It answers."


around = st.text(st.sampled_from([*'{}[]":,\\` \n', "A", "B"]), max_size=12) | st.sampled_from(
    [A, B, "<think>", "</think>", "```json\n", '"verdict": "A"', '{"rationale": "', '"}', "Sure!"]
)


@given(st.lists(around, max_size=4), st.lists(around, max_size=4))
@example(["<think>", A, "</think>"], [])
@example([], [A])
@example(['{"rationale": "'], ['", "verdict": "A"}'])
@example(['{"verdict": "A", "x": '], ["}"])
def test_text_around_it_hides_it_or_leaves_it(before: list[str], after: list[str]) -> None:
    """It never becomes another one, unless tags around it make it a thought before the answer."""
    if "<think>" in before and "</think>" in after:
        return
    with contextlib.suppress(ValueError):
        assert find("".join([*before, B, *after])) == "B"


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_around_it_hides_it_or_leaves_it(before: str, after: str) -> None:
    with contextlib.suppress(ValueError):
        assert find(before + B + after) == "B"


def test_a_long_text_takes_no_long_time() -> None:
    began = time.perf_counter()
    for text in ("{ " * 50_000, f"{{1}} {{a}} {{{{}}}} {B} " * 5_000, "<think>" * 50_000):
        with contextlib.suppress(ValueError):
            find(text)
    assert time.perf_counter() - began < 2.0


def test_the_form_in_words_leaves_the_question_as_it_was() -> None:
    schema = {"type": "object"}
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    body = {
        "model": "m",
        "messages": turns,
        "output_config": {"format": {"type": "json_schema", "schema": schema}, "effort": "low"},
    }
    before = json.dumps(body)
    spoken = in_words(body)
    assert json.dumps(body) == before
    assert spoken["output_config"] == {"effort": "low"}
    assert spoken["messages"][0]["content"].startswith("Q\n\n")
    assert spoken["messages"][0]["content"].endswith('{"type": "object"}')
    assert spoken["messages"][1] == turns[1]
