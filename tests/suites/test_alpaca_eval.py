"""AlpacaEval's annotation files as preferences: divided by instruction, and by model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.plugins.capabilities import Edits, Pairs
from bench.suites.alpaca_eval import AlpacaEval, AlpacaEvalOptions
from bench.testing import check_suite
from tests.suites.rows import word, write

REAL = (
    Path(__file__).parents[3]
    / "shared"
    / "data"
    / "alpaca_eval"
    / "gpt4_preferences_12_models.jsonl.gz"
)
MODELS = ("one", "two", "three")


def row(i: int, model: str, preference: float | None = 2.0) -> dict[str, Any]:
    return {
        "instruction": f"Say {i}.",
        "output_1": f"It is {word(i)}.",
        "generator_1": "text_davinci_003",
        "output_2": f"Hello, {model} is {word(i)}.",
        "generator_2": model,
        "annotator": "alpaca_eval_gpt4",
        "preference": preference,
    }


def write_files(folder: Path) -> dict[str, Any]:
    rows = (row(i, model, 1 + i % 2) for model in MODELS for i in range(80))
    return {"annotations": str(write(folder / "annotations.jsonl.gz", rows))}


def suite(folder: Path, rows: list[Any] | None = None, **options: Any) -> AlpacaEval:
    given = write_files(folder)
    if rows is not None:
        write(folder / "annotations.jsonl.gz", rows)
    return AlpacaEval(AlpacaEvalOptions(**given, **options))


def test_it_keeps_to_its_protocols(tmp_path: Path) -> None:
    found = suite(tmp_path)
    assert isinstance(found, Pairs)
    assert not isinstance(found, Edits)
    check_suite(found, n=4)


def test_instructions_are_divided_and_so_are_models_that_are_held_out(tmp_path: Path) -> None:
    found = suite(tmp_path)
    train, held_out = (found.pairs(split, 999, 0) for split in ("preference", "held_out"))
    assert len(train) + len(held_out) == 240
    assert {pair.prompt for pair in train} == set(found.prompts("ppo", 99, 0))
    apart = suite(tmp_path, held_out_generators=["two"])
    texts = [(pair.chosen + pair.rejected) for pair in apart.pairs("preference", 999, 0)]
    assert len(texts) == len(train) * 2 // 3
    assert not any("two" in text for text in texts)
    assert apart.pairs("held_out", 999, 0) == held_out
    for pair in held_out:
        is_apart = "two" in pair.chosen + pair.rejected
        assert apart.pair_kind(pair) == ("unseen_models" if is_apart else "seen_models")
        assert found.pair_kind(pair) is None
    with pytest.raises(UserError, match=r"held_out_generators: unknown model 'tow'; .* 'two'"):
        suite(tmp_path, held_out_generators=["tow"]).pairs("preference", 9, 0)


def test_ties_and_what_could_not_be_read_are_counted(tmp_path: Path) -> None:
    values = [1.0, 2.0, 0.0, 1.5, None]
    found = suite(tmp_path, [row(0, f"m{i}", value) for i, value in enumerate(values)])
    pairs = found.pairs("preference", 9, 0) + found.pairs("held_out", 9, 0)
    assert sorted(pair.chosen for pair in pairs) == ["Hello, m1 is red.", "It is red."]
    assert found.notes()[0] == (
        "the suite alpaca_eval, verdicts: left out are 2 ties, 1 without a verdict"
    )


def test_two_references_to_an_instruction_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2, field output_1: .* references are mixed"):
        suite(tmp_path, [row(0, "a"), row(0, "b") | {"output_1": "No."}]).pairs("held_out", 9, 0)


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_the_real_file_has_the_verdicts_that_were_counted() -> None:
    options = AlpacaEvalOptions(annotations=str(REAL), held_out_generators=["tulu-2-dpo-7b"])
    found = AlpacaEval(options)
    check_suite(found, n=20)
    told = found.notes()[0]
    assert "52 ties" in told
    assert "13 without a verdict" in told
