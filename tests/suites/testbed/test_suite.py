"""The suite as the harness sees it, and the shipped base model."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from bench.suites.testbed.suite import Testbed


@pytest.fixture
def suite() -> Testbed:
    return Testbed()


def test_importing_the_suite_imports_no_torch() -> None:
    code = (
        "import sys, bench.suites.testbed.suite\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_demonstrations_follow_the_seed(suite: Testbed) -> None:
    first = suite.demonstrations(20, seed=0)
    assert first == suite.demonstrations(20, seed=0)
    assert first != suite.demonstrations(20, seed=1)
    assert [prompt for prompt, _ in first] == suite.prompts("demonstrations", 20, 0)


def test_the_whole_interface_hangs_together(suite: Testbed) -> None:
    rng = random.Random(0)
    prompts = suite.prompts("test", 20, seed=0)
    for prompt, reference in zip(prompts, suite.references(prompts), strict=True):
        edited = suite.edit(prompt, reference, rng, 0.0)
        assert suite.score(prompt, edited) == suite.counts(prompt, edited).score == 1.0
        assert suite.spans(prompt, edited) == []
        if edited != reference:
            assert suite.prefer(prompt, reference, edited, rng, 0.0) == 1
    planted = suite.probes(prompts, 15, rng)
    assert set(planted) == set(suite.probe_kinds)
    for pairs in planted.values():
        assert 0 < len(pairs) <= 15
        assert all(suite.score(pair.prompt, pair.chosen) == 1.0 for pair in pairs)
        assert all(suite.score(pair.prompt, pair.rejected) < 1.0 for pair in pairs)


def test_measures_are_means_and_the_share_of_right_facts_is_over_all_responses(
    suite: Testbed,
) -> None:
    """One right fact of one, and one of two: 2 / 3, where a mean of shares would be 3 / 4."""
    responses = [
        "The capital of France is Paris.",
        "The capital of France is Lyon. People in France pay with the euro. Blah. Blah blah.",
    ]
    found = suite.measure("Tell me the capital and currency of France.", responses)
    assert found["fact_accuracy"] == 2 / 3
    assert (found["omissions"], found["unparsed"], found["rude"]) == (0.5, 1.0, 0.0)
    assert list(found) == [measure.name for measure in suite.measures]
    assert suite.measure("Tell me the capital of France.", ["Blah."])["fact_accuracy"] is None


def test_the_assets_are_small() -> None:
    assert sum(path.stat().st_size for path in Path(Testbed.model_path).iterdir()) < 5_000_000


def test_the_base_loads_and_answers(suite: Testbed) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(suite.model_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(suite.model_path)
    assert model.dtype == torch.float32
    assert model.num_parameters() == 922_752
    specials = ["<|pad|>", "<|eos|>", "<|user|>", "<|assistant|>"]
    ids = tokenizer.convert_tokens_to_ids(specials)
    assert len(set(ids)) == 4
    assert [tokenizer.pad_token_id, tokenizer.eos_token_id] == ids[:2]

    prompts = suite.prompts("validation", 16, seed=0)
    parsed = 0
    for prompt in prompts:
        text = suite.prompt_template.format(prompt=prompt)
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        batch = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        output = model.generate(**batch, max_new_tokens=80, do_sample=False)[0]
        response = tokenizer.decode(output[batch["input_ids"].shape[1] :], skip_special_tokens=True)
        parsed += suite.counts(prompt, response).unparsed == 0
    assert parsed >= 15  # greedy decoding keeps to the format nearly always
