"""What is measured of a reward model."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Preference
from bench.models.classifier import load_reward_model
from bench.models.heads import RewardModel
from bench.models.names import REWARD
from bench.plugins.capabilities import Gold, PairKinds, Probes, Spans
from bench.records.schema import Metric
from bench.stages.measures import Metrics, write_metrics
from bench.stages.pairs import held_out_pairs
from bench.stages.sft import load_sft
from bench.stats import accuracy_interval, auroc
from bench.training.annotations import token_kinds
from bench.training.reward_model import preference_accuracy

if TYPE_CHECKING:
    from bench.models.tokens import Tokens
    from bench.pipeline.stage import Context

JACKKNIFE_FOLDS = 20


def build_rm_evaluation(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Accuracy on held-out pairs, beside that of preferring the longer one; localisation; probes.

    Inputs: SFT, reward model, preferences and, if there are any, edits.
    """
    config = context.config
    backbone = load_sft(context, inputs[0])
    model = load_reward_model(backbone, REWARD, inputs[1], context.suite.prompt_template)
    original = held_out_pairs(inputs[2], config.preferences, backbone.tokens)
    sets = {"original": original}
    if len(inputs) > 3:
        edited = held_out_pairs(inputs[3], config.preferences, backbone.tokens)
        sets["edited"] = [pair for pair in edited if pair.chosen != pair.rejected]
    metrics: Metrics = {}
    suite = context.suite
    if isinstance(suite, Gold):
        clean = [pair for row in original if (pair := gold_label(suite, row))]
        sets["original_clean"] = clean
    if isinstance(suite, PairKinds):
        sets |= _by_kind(suite, original)
    asked = {f"rm_accuracy.{name}": pairs for name, pairs in sets.items()}
    if isinstance(suite, Probes):
        rng = random.Random(f"probes:{config.seed}")
        planted = suite.probes([pair.prompt for pair in original], config.evaluation.probes, rng)
        asked |= {f"probe.{kind}": pairs for kind, pairs in planted.items()}
    if isinstance(suite, Spans) and isinstance(model, RewardModel):  # a classifier has no tokens
        metrics["rm_localisation"] = _localisation(model, suite, original)
    for name, pairs in asked.items():
        metrics[name] = _share(pairs, partial(preference_accuracy, model))
    for name, pairs in sets.items():
        metrics[f"longer_wins.{name}"] = _share(pairs, partial(longer_wins, backbone.tokens))
    write_metrics(out / "metrics.json", metrics)
    backbone.drop_adapter(REWARD)
    return {}


def _share(
    pairs: list[Preference], right: Callable[[list[Preference]], list[float]]
) -> Metric | None:
    """The share that is right, with Wilson's interval; None where there is no pair to ask about."""
    if not pairs:
        return None
    return Metric.of(accuracy_interval(right(pairs), clusters=[pair.prompt for pair in pairs]))


def longer_wins(tokens: Tokens, pairs: Sequence[Preference]) -> list[float]:
    """1 where the chosen response has more tokens, 0 where fewer, .5 where as many; one a pair.

    What a model that looks at nothing but the length would be right on.
    """
    found = []
    for pair in pairs:
        chosen = len(tokens.response(pair.chosen, pair.chosen_ids))
        rejected = len(tokens.response(pair.rejected, pair.rejected_ids))
        found.append(0.5 if chosen == rejected else float(chosen > rejected))
    return found


def _by_kind(suite: PairKinds, pairs: Sequence[Preference]) -> Mapping[str, list[Preference]]:
    kinds: dict[str, list[Preference]] = defaultdict(list)
    for pair in pairs:
        if (kind := suite.pair_kind(pair)) is not None:
            kinds[kind].append(pair)
    return kinds


def gold_label(suite: Gold, pair: Preference) -> Preference | None:
    """The pair as the gold judge, without noise, would label it; None if it sees no difference."""
    gap = suite.score(pair.prompt, pair.chosen) - suite.score(pair.prompt, pair.rejected)
    if gap == 0:
        return None
    if gap > 0:
        return pair
    return Preference(
        prompt=pair.prompt,
        chosen=pair.rejected,
        rejected=pair.chosen,
        chosen_ids=pair.rejected_ids,
        rejected_ids=pair.chosen_ids,
    )


def _localisation(model: RewardModel, suite: Spans, pairs: list[Preference]) -> Metric | None:
    """AUROC of -r_t for the tokens of errors against all other tokens of the same responses.

    The standard error is over responses: tokens of one response are not independent.
    """
    known = [
        (pair, found)
        for pair in pairs
        if (found := suite.spans(pair.prompt, pair.rejected)) is not None
    ]
    if not known:
        return None
    tokens = model.backbone.tokens
    batch = model.backbone.batch_of(
        (pair.prompt, tokens.response(pair.rejected, pair.rejected_ids)) for pair, _ in known
    )
    rewards = model.token_scores(batch).cpu()
    scores: list[list[float]] = []
    labels: list[list[int]] = []
    for i, (pair, spans) in enumerate(known):
        kinds = token_kinds(tokens.offsets(pair.rejected, pair.rejected_ids), spans)
        there = min(len(kinds), int(batch.lengths[i]))  # fewer where the context cuts it
        labels.append([int(bool(own)) for own in kinds[:there]])
        scores.append((-rewards[i, :there]).tolist())
    return clustered_auroc(scores, labels)


def clustered_auroc(scores: list[list[float]], labels: list[list[int]]) -> Metric | None:
    """AUROC over all tokens, with a jackknife over groups of responses for its error.

    None where a group's removal would leave tokens of one kind only: too few to say anything.
    """
    folds = min(JACKKNIFE_FOLDS, len(scores))
    left_out = []
    for fold in range(-1, folds):  # -1: all of them
        kept = [i for i in range(len(scores)) if fold < 0 or i % folds != fold]
        flat_labels = [x for i in kept for x in labels[i]]
        if len(set(flat_labels)) < 2:
            return None
        left_out.append(auroc([x for i in kept for x in scores[i]], flat_labels))
    value, *left_out = left_out
    mean = sum(left_out) / folds
    error = ((folds - 1) / folds * sum((x - mean) ** 2 for x in left_out)) ** 0.5
    interval = max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error)
    return Metric(mean=value, standard_error=error, ci95=interval, n=len(scores))
