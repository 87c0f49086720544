"""What of the options is in a stage's key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.errors import UserError
from bench.llm import LLMOptions


@pytest.mark.parametrize(
    "same",
    [
        {"transport": "batches"},
        {"max_usd": 1.0},
        {"timeout_s": 5.0},
        {"replay": "unused"},
        {"retry": "refusal"},
        {"token_limit": "max_tokens"},
    ],
)
def test_the_way_to_an_answer_does_not_decide_it(same: dict[str, object]) -> None:
    assert LLMOptions(**same).result_fields() == LLMOptions().result_fields()


@pytest.mark.parametrize(
    "other",
    [
        {"model": "m"},
        {"max_tokens": 64},
        {"effort": "low"},
        {"base_url": "http://x"},
        {"answer_format": "text"},
    ],
)
def test_what_is_asked_decides(other: dict[str, object]) -> None:
    assert LLMOptions(**other).result_fields() != LLMOptions().result_fields()


@pytest.mark.parametrize("given", ["parse_error, refusal", ["parse_error", "refusal"]])
def test_statuses_are_a_list_or_parted_by_commas(given: object) -> None:
    assert LLMOptions(retry=given).retry == ["parse_error", "refusal"]
    with pytest.raises(ValidationError, match="'parse_error', 'refusal' or 'truncated'"):
        LLMOptions(retry="parse_error,api_error")


@pytest.mark.parametrize("effort", [None, "low"])
def test_a_form_that_is_asked_for_in_words_is_in_the_prompt_alone(effort: str | None) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    body = LLMOptions(answer_format="text", effort=effort).request("Which?", schema).body
    assert body.get("output_config") == (effort and {"effort": effort})
    assert json.dumps(schema) in body["messages"][0]["content"]
    assert body["messages"][0]["content"].startswith("Which?")


def test_recorded_answers_count_by_what_the_file_says(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text("a")
    two.write_text("a")

    def key(path: Path) -> dict[str, object]:
        return LLMOptions(transport="replay", replay=str(path)).result_fields()

    assert key(one) == key(two)
    two.write_text("b")
    assert key(one) != key(two)
    with pytest.raises(UserError, match=r"cannot read .*gone\.jsonl"):
        key(tmp_path / "gone.jsonl")
