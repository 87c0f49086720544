"""What a model that finds errors in segments pays, and where."""

from __future__ import annotations

import pytest
import torch

from bench.models.heads import RewardModel
from bench.models.segmenters import Segments
from bench.stages.sources.scores import RewardModelSource
from bench.stages.sources.segments import SegmentClasses
from bench.stages.sources.sums import SumOfSources
from bench.testing import check_token_source
from tests.stages.test_placed_sources import OUTPUTS, model_and_rollout

SUBSENTENCES = Segments("bench.models.segmenters:Subsentences", {"least": 1})


def test_each_segment_is_paid_at_its_last_token_by_the_sign_of_its_logit() -> None:
    """The last response, "Blue. Red. Green and near", has three sentences, the others one."""
    model, rollout = model_and_rollout("segment")
    source = SegmentClasses(model, 0.3)
    check_token_source(source, rollout)
    paid, raw = source.paid(rollout), model.outputs(rollout.batch)
    assert (paid != 0).sum(1).tolist() == [1, 1, 1, 3]
    for row, (ids, text) in enumerate(zip(rollout.batch.response_ids, OUTPUTS, strict=True)):
        ends = [t for t, piece in enumerate(model.backbone.tokens.pieces(ids)) if "." in piece]
        if text.endswith("."):  # EOS, if it was drawn, is part of the last sentence
            ends = ends[:-1]
        ends.append(len(ids) - 1)
        assert paid[row].nonzero().flatten().tolist() == ends
        signs = [0.3 if raw[row, t] > 0 else -0.3 for t in ends]
        torch.testing.assert_close(paid[row, ends], torch.tensor(signs))
    torch.testing.assert_close(source.scores(rollout), paid.sum(1))


@pytest.mark.parametrize("segments", [Segments(), SUBSENTENCES])
def test_what_is_longer_is_paid_more_where_nothing_is_wrong(segments: Segments) -> None:
    model, rollout = model_and_rollout("segment")
    model = RewardModel(model.backbone, model.adapter, model.head, "segment", segments)
    with torch.no_grad():  # every logit is above 0
        model.head.weight.zero_()
    model.head.forward = lambda hidden: torch.ones(hidden.shape[:-1])  # type: ignore[method-assign]
    assert SegmentClasses(model, 0.5).scores(rollout).tolist() == [0.5, 0.5, 0.5, 1.5]


def test_the_sum_with_a_whole_response_s_score() -> None:
    """A value starts in the first, and what a row sums to is nothing that is known."""
    whole, rollout = model_and_rollout("sequence")
    model = RewardModel(whole.backbone, whole.adapter, whole.head, "segment")
    parts = [RewardModelSource(whole), SegmentClasses(model, 0.3)]
    both = SumOfSources(parts, [0.5, 1.0])
    assert both.model is whole
    assert both.row_sum == "nothing in particular"
    expected = 0.5 * parts[0].paid(rollout) + parts[1].paid(rollout)
    torch.testing.assert_close(both.paid(rollout), expected)
