"""Scores of prefixes, of every kind of reward model, and what is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from bench.data import Preference, Span
from bench.models.classifier import Classifier
from bench.models.heads import Granularity, RewardModel, ScalarHead
from bench.stages.rm_prefixes import Grown, begun, grown, prefix_metrics, prefix_scores
from bench.suites.testbed.suite import Testbed
from tests.tiny import LORA, stir, tiny_backbone, tiny_classifier

PAIRS = [
    Preference(prompt="Go.", chosen="A house.", rejected="The old town is cold."),
    Preference(prompt="Say red.", chosen="", rejected="", chosen_ids=[5, 6, 7], rejected_ids=[9]),
]


class Marked:
    """Somebody has looked at one response."""

    def spans(self, prompt: str, response: str) -> list[Span] | None:
        return [Span(start=4, end=7, kind="wrong")] if prompt == "Go." else None


def ours(granularity: Granularity) -> RewardModel:
    backbone = tiny_backbone()
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    model = RewardModel(backbone, "reward", head, granularity)
    model.mean, model.std = 0.3, 2.0
    return model


@pytest.mark.parametrize("granularity", get_args(Granularity))
def test_a_prefix_scores_what_it_would_as_a_response(granularity: Granularity) -> None:
    """One forward pass for all prefixes says what one for each says."""
    model = ours(granularity)
    ids = model.backbone.tokens.response("The old. Town is cold.")
    each = [model.rate([("Go.", ids[:t])]).item() for t in range(1, len(ids) + 1)]
    assert prefix_scores(model, "Go.", ids) == pytest.approx(each, abs=1e-5)
    assert len(set(each)) > 3


def test_a_classifier_reads_the_texts_of_prefixes(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    model = Classifier.read(str(tiny_classifier(tmp_path)), backbone, Testbed.prompt_template)
    ids = backbone.tokens.response("The old town")
    scores = prefix_scores(model, "Go.", ids)
    assert len(scores) == len(ids)
    assert scores[-1] == pytest.approx(scores[-2])  # EOS is no text
    assert len(set(scores)) > 2


def test_where_errors_are_known_those_responses_are_taken() -> None:
    model = ours("token")
    (row,) = grown(model, Marked(), PAIRS, 8)
    tokens = model.backbone.tokens
    own = tokens.offsets("The old town is cold.", None)
    assert row.wrong == [start < 7 and end > 4 for start, end in own]
    assert any(row.wrong)
    both = grown(model, object(), PAIRS, 8)
    assert [(len(one.scores) > 0, one.wrong) for one in both] == [(True, None)] * 2
    assert len(grown(model, object(), PAIRS, 1)) == 1


def test_a_score_that_falls_at_errors_alone_localises_them() -> None:
    """The place alone does not: the errors are in the midst."""
    wrong = [t in (9, 10) for t in range(20)]
    scores = [0.0]
    for t in range(1, 20):
        scores.append(scores[-1] + (-1.0 if wrong[t] else 0.25))
    metrics = prefix_metrics([Grown([*scores, scores[-1]], wrong)] * 3)
    falls, place = metrics["prefix_localisation"], metrics["place_localisation"]
    assert falls is not None
    assert place is not None
    assert falls.mean == 1.0
    assert place.mean == pytest.approx(0.5, abs=0.03)
    reverse = prefix_metrics([Grown([-score for score in scores], wrong)] * 3)
    assert reverse["prefix_localisation"].mean == 0.0  # type: ignore[union-attr]


def test_the_first_token_has_no_fall_and_eos_is_no_error() -> None:
    row = Grown([0.0, 1.0, -1.0, 5.0], [True, False, True])
    assert row.falls == [-1.0, 2.0, -6.0]
    found = prefix_metrics([row] * 3)["prefix_localisation"]
    assert found is not None
    assert found.mean == 1.0  # of the second token and the third alone


def test_how_much_of_the_movement_is_at_the_end() -> None:
    even = [float(t) for t in range(21)]
    late = [*[0.0] * 19, 1.0, -1.0]
    short = even[:20]
    still = [0.0] * 21
    shares = prefix_metrics([Grown(row, None) for row in (even, late, short, still)])
    metric = shares["prefix_end_share"]
    assert metric is not None
    assert (metric.n, metric.missing) == (2, 2)
    assert metric.mean == pytest.approx((0.1 + 1.0) / 2)
    assert prefix_metrics([])["prefix_end_share"] is None


def test_both_responses_are_cut_to_the_same_share() -> None:
    model = ours("sequence")
    tokens = model.backbone.tokens
    text, drawn = begun(PAIRS, 50, model)
    whole = tokens.response(PAIRS[0].chosen)
    assert text.chosen_ids == whole[: -(-len(whole) // 2)]
    assert text.chosen == tokens.text(text.chosen_ids or [])
    assert (drawn.chosen_ids, drawn.rejected_ids) == ([5, 6], [9])
