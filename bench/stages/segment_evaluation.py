"""What is measured of a model that finds errors in segments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.data import Annotation
from bench.models.heads import RewardModel, map_rows
from bench.models.names import REWARD
from bench.plugins.capabilities import Spans
from bench.records.schema import Metric
from bench.rl import segments_with
from bench.stages.measures import write_metrics
from bench.stages.pairs import held_out_pairs
from bench.stages.rm_evaluation import clustered_auroc
from bench.stages.sft import load_sft
from bench.stages.spans import given_spans
from bench.training.annotations import annotated, tokens_of_kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.pipeline.stage import Context

DETECTION = "rm_detection."  # what the metric's name begins with


def build_segment_evaluation(
    context: Context, out: Path, inputs: list[Path], category: str, kinds: Sequence[str]
) -> dict[str, Any]:
    """AUROC of finding held-out segments with an error; inputs: SFT, the model, preferences.

    The errors are the suite's own (`Spans`), of which none is overlooked.
    """
    config, suite = context.config, context.suite
    backbone = load_sft(context, inputs[0])
    model = RewardModel.load(backbone, REWARD, inputs[1])
    pairs = held_out_pairs(inputs[2], config.preferences, backbone.tokens)
    found = None
    if isinstance(suite, Spans):
        found = detection(model, given_spans(suite, pairs, 1.0), kinds)
    write_metrics(out / "metrics.json", {f"{DETECTION}{category}": found})
    backbone.drop_adapter(REWARD)
    return {}


def detection(
    model: RewardModel, rows: Sequence[Annotation], kinds: Sequence[str]
) -> Metric | None:
    """AUROC of -z for the segments with an error of these kinds against all others.

    1: each of them is scored below every other one; .5: by chance. None where there are segments of
    one sort only. The standard error is over responses.
    """
    tokens = model.backbone.tokens
    groups, _ = annotated(tokens, rows, model.backbone.within(10**9))
    if not groups:
        return None
    batch = tokens.join([group.prompt for group in groups], [g.responses[0] for g in groups])
    batch = batch.to(model.backbone.device)
    logits, read = map_rows(model.outputs, batch), model.read(batch)
    wrong = tokens_of_kinds(groups, kinds, batch.mask.shape[1]).to(batch.mask.device)
    bad = segments_with(wrong, read, batch.mask)
    scores = [(-own[there]).tolist() for own, there in zip(logits, read, strict=True)]
    labels = [own[there].to(torch.long).tolist() for own, there in zip(bad, read, strict=True)]
    return clustered_auroc(scores, labels)
