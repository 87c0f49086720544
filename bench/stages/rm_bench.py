"""What is measured of a reward model by itself, beside what `rm_evaluation` measures in a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data import Preference
from bench.models.classifier import Classifier, load_reward_model
from bench.models.heads import RewardModel
from bench.models.names import ADAPTER, CONSTANTS, REWARD
from bench.plugins.capabilities import Gold
from bench.records.schema import Metric, texts_sha
from bench.rl import best_of_n_kl_bound
from bench.stages.measures import Metrics, to_json
from bench.stages.pairs import held_out_pairs
from bench.stages.rm_draws import DRAWS
from bench.stages.rm_evaluation import gold_label, longer_wins
from bench.stages.rm_prefixes import SHARES, begun, grown, prefix_metrics
from bench.stages.sft import load_sft
from bench.stats import accuracy_interval, mean_interval
from bench.stats.best_of import expected_best
from bench.training.reward_model import preference_accuracy

if TYPE_CHECKING:
    from bench.models.heads import Scorer
    from bench.pipeline.stage import Context

FOUND = "bench.json"


def build_as_given(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The reward model that `reward_model.path` names, not normalised: no number here needs it.

    So nothing has to be drawn for it. Inputs: SFT.
    """
    path = str(context.config.reward_model.path)
    if Path(path, ADAPTER).is_dir():
        shutil.copytree(Path(path, ADAPTER), out / ADAPTER)
        for name in (CONSTANTS, "head.safetensors"):
            shutil.copy(Path(path, name), out / name)
        return {}
    backbone = load_sft(context, inputs[0])
    Classifier.read(path, backbone, context.suite.prompt_template).save(out)
    return {}


def build_rm_bench(
    context: Context, out: Path, inputs: list[Path], responses: int
) -> dict[str, Any]:
    """Length bias; what prefixes say, and where; best of n where the suite has gold scores.

    Inputs: SFT, reward model, preferences and, with gold scores, draws.
    """
    suite = context.suite
    backbone = load_sft(context, inputs[0])
    model = load_reward_model(backbone, REWARD, inputs[1], suite.prompt_template)
    pairs = held_out_pairs(inputs[2], context.config.preferences, backbone.tokens)
    labelled = pairs
    if isinstance(suite, Gold):
        labelled = [right for pair in pairs if (right := gold_label(suite, pair))]
    metrics = _length(model, labelled)
    for share in SHARES:
        correct = preference_accuracy(model, begun(labelled, share, model))
        metrics[f"prefix_accuracy.{share}"] = _accuracy(correct, labelled)
    with context.progress.task("prefixes", total=min(responses, len(pairs))) as task:
        metrics |= prefix_metrics(grown(model, suite, pairs, responses, lambda: task.advance(1)))
    texts = [text for pair in pairs for text in (pair.prompt, pair.chosen, pair.rejected)]
    data, curve = {"held_out": {"n": len(pairs), "sha": texts_sha(texts)}}, []
    if len(inputs) > 3:
        drawn = json.loads((inputs[3] / DRAWS).read_text())
        curve = _best_of_n(model, suite, drawn["prompts"], drawn["ids"])
        sha = texts_sha([json.dumps(drawn)])
        data["draws"] = {"n": len(drawn["prompts"]), "sha": sha}
    found = {"metrics": to_json(metrics), "best_of_n": curve, "data": data}
    (out / FOUND).write_text(json.dumps(found, indent=1) + "\n")
    if isinstance(model, RewardModel):
        backbone.drop_adapter(REWARD)
    return {}


def _length(model: Scorer, pairs: Sequence[Preference]) -> Metrics:
    """How often the longer response of a pair scores higher; accuracy where it is right, or not."""
    right = preference_accuracy(model, pairs) if pairs else []
    longer = longer_wins(model.backbone.tokens, pairs)
    rows = list(zip(pairs, right, longer, strict=True))
    unlike = [(pair, own if long else 1 - own) for pair, own, long in rows if long != 0.5]
    found = {"prefers_longer": unlike}
    for name, side in (("chosen_longer", 1.0), ("chosen_shorter", 0.0)):
        found[f"rm_accuracy.{name}"] = [(pair, own) for pair, own, long in rows if long == side]
    return {
        name: _accuracy([own for _, own in kept], [pair for pair, _ in kept])
        for name, kept in found.items()
    }


def _accuracy(right: Sequence[float], pairs: Sequence[Preference]) -> Metric | None:
    if not pairs:
        return None
    return Metric.of(accuracy_interval(right, clusters=[pair.prompt for pair in pairs]))


def _best_of_n(
    model: Scorer, suite: Gold, prompts: list[str], ids: list[list[list[int]]]
) -> list[dict[str, Any]]:
    """What the best of 1, 2, 4, ... N draws comes to by the model's score and by gold.

    The proxy is in standard deviations of single draws, 0 their mean. The ceiling is the gold
    score of a choice by the gold score itself.

    Args:
        model: who chooses.
        suite: who knows the truth.
        prompts: P of them.
        ids: of N rounds of P responses.
    """
    text = model.backbone.tokens.text
    proxy = np.array([model.rate(list(zip(prompts, own, strict=True))).tolist() for own in ids]).T
    gold = np.array([[suite.score(p, text(y)) for p, y in zip(prompts, own, strict=True)]
                     for own in ids]).T  # fmt: skip
    proxy = (proxy - proxy.mean()) / (proxy.std() or 1.0)
    total = len(ids)
    sizes = [2**k for k in range(total.bit_length()) if 2**k < total] + [total]
    return [
        {
            "n": n,
            "kl_bound": best_of_n_kl_bound(n),
            "proxy": _mean(expected_best(proxy, proxy, n)),
            "gold": _mean(expected_best(proxy, gold, n)),
            "ceiling": _mean(expected_best(gold, gold, n)),
        }
        for n in sizes
    ]


def _mean(values: Any) -> dict[str, Any]:
    return Metric.of(mean_interval(values)).model_dump(mode="json")
