"""Parts of the pretraining recipe that can be checked without pretraining."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from bench.suites.testbed import pretraining
from bench.suites.testbed.world import WORLD


def test_the_corpus_is_half_answers_and_never_asks_about_the_unseen() -> None:
    corpus = pretraining.write_corpus(2000)
    asked = [text for text in corpus if text.startswith(pretraining.USER)]
    assert len(asked) == 1000
    prompts = [text.split(pretraining.ASSISTANT)[0] for text in asked]
    for entity in WORLD.with_role("unseen"):
        assert not any(f" of {entity.name}." in p or f" of {entity.name}?" in p for p in prompts)
    assert corpus == pretraining.write_corpus(2000)


def test_batches_hold_each_document_once_and_little_padding() -> None:
    lengths = [5 + (i * 7919) % 60 for i in range(4096)]
    documents = [[9] * n for n in lengths]
    seen = list(pretraining.batches(documents, pad=0, seed=0))
    assert sum(int((ids != 0).sum()) for ids in seen) == sum(lengths)
    assert sum(len(ids) for ids in seen) == len(documents)
    assert sum(lengths) / sum(ids.numel() for ids in seen) > 0.95


def test_the_learning_rate_rises_then_falls_to_its_floor() -> None:
    rates = [pretraining.learning_rate(step, 500) for step in range(501)]
    assert max(rates) == pytest.approx(pretraining.PEAK_LR)
    assert rates[: pretraining.WARM_UP_STEPS] == sorted(rates[: pretraining.WARM_UP_STEPS])
    assert rates[500] == pytest.approx(pretraining.PEAK_LR * pretraining.FINAL_LR_SHARE)
