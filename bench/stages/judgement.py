"""Verdicts on the outputs, and what else is measured of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from scipy.stats import pearsonr

from bench.models import processes
from bench.models.classifier import load_reward_model
from bench.models.heads import RewardModel
from bench.models.names import HELDOUT, REWARD
from bench.models.sequences import repeat_share
from bench.plugins.capabilities import Measures
from bench.plugins.protocols import Verdict
from bench.preference import win
from bench.records.schema import JudgeRecord, Metric, prompt_sha, texts_sha
from bench.stages.judging import ask, check_missing, say_marks
from bench.stages.matched import MATCHED
from bench.stages.measures import Metrics, mean_metric, to_json
from bench.stages.outputs import OUTPUTS
from bench.stages.sft import load_sft
from bench.stats import win_rate

if TYPE_CHECKING:
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Judge

OTHERS = ("greedy", MATCHED)
SHOWN_SAMPLES = 16  # of each kind, sampled and greedy


def build_judgement(
    context: Context,
    out: Path,
    inputs: list[Path],
    make_judge: Callable[[Context], Judge],
    held_out: bool,
) -> dict[str, Any]:
    """Judge the outputs.

    Inputs: outputs; SFT; where there is one, the reward model; last, where `held_out`, the reward
    model that no method learns from, which the judge asks.
    """
    suite = context.suite
    outputs = json.loads((inputs[0] / OUTPUTS).read_text())
    prompts, unseen = outputs["prompts"]["test"], outputs["prompts"].get("unseen")
    references = suite.references(prompts)
    judge: Any = make_judge(context)
    if held_out:
        *inputs, folder = inputs
        backbone = load_sft(context, inputs[1])
        judge.use_reward_model(RewardModel.load(backbone, HELDOUT, folder))
    compare = partial(ask, judge, together=held_out)
    sampled = [compare(prompts, texts, references) for texts in outputs["sampled"]]
    # One response an instruction each, of another decoding or of another checkpoint.
    others = {
        name: compare(prompts, outputs[name], references) for name in OTHERS if name in outputs
    }
    greedy = others.get("greedy")
    rates = {"win_rate": sampled} | {f"win_rate_{name}": [own] for name, own in others.items()}
    judged_unseen = []
    if unseen:
        judged_unseen = compare(unseen, outputs["unseen"], suite.references(unseen))
        rates["win_rate_unseen"] = [judged_unseen]
    most = context.config.evaluation.max_missing
    processes.after_first(lambda: check_missing(judge, rates, most))
    items = _items(prompts, outputs, sampled, others)
    if isinstance(suite, Measures):
        _add_measures(suite, items, prompts, outputs)
    metrics: Metrics = {name: mean_metric([row[name] for row in items]) for name in _numeric(items)}
    for name in ("win_rate", *(f"win_rate_{other}" for other in others)):
        metrics[name] = _with_outcomes(metrics[name], rates[name])
    metrics["win_rate_unseen"] = mean_metric([_share(v) for v in judged_unseen])
    metrics["gold_score_unseen"] = mean_metric([v.score for v in judged_unseen])
    if "kl_bound" in outputs:  # of no instruction, but of how all were drawn
        metrics["kl_bound"] = Metric(mean=outputs["kl_bound"])
    shown = _shown(prompts, references, outputs, sampled[0], greedy)
    if len(inputs) > 2:
        metrics |= _score_with(context, inputs, outputs, sampled, shown)
    if held_out:
        backbone.drop_adapter(HELDOUT)
    statuses = Counter(v.status for judged in (*sampled, *others.values()) for v in judged)
    details = processes.from_first(judge.about)
    judged_by = JudgeRecord(
        name=judge.name,
        model=judge.model,
        template_sha=judge.template_sha,
        counts=dict(sorted(statuses.items())),
        cost_usd=details.pop("cost_usd", None),
        details=details,
    )
    say_marks(context, judged_by)
    result = {
        "metrics": to_json(metrics),
        "judge": judged_by.model_dump(),
        "reference": {"name": f"{suite.name} references", "sha": texts_sha(references)},
        "data": {
            name: {"n": len(texts), "sha": texts_sha(texts)}
            for name, texts in outputs["prompts"].items()
        },
    }
    (out / "judgement.json").write_text(json.dumps(result, indent=1) + "\n")
    _write_jsonl(out / "items.jsonl", items)
    _write_jsonl(out / "samples.jsonl", shown)
    return {}


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _share(verdict: Verdict) -> float | None:
    """1 for a win of the model, 0 for a loss, .5 for a tie."""
    return None if verdict.preference is None else win(verdict.preference)


def _mean(values: list[float | None]) -> float | None:
    """Mean over the samples of an instruction; None if one is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _items(
    prompts: list[str],
    outputs: dict[str, Any],
    sampled: list[list[Verdict]],
    others: dict[str, list[Verdict]],
) -> list[dict[str, Any]]:
    """One row an instruction, averaged over its samples; of others by name, if there are any."""
    items = []
    for i, prompt in enumerate(prompts):
        row: dict[str, Any] = {
            "index": i,
            "prompt_sha": prompt_sha(prompt),
            "win_rate": _mean([_share(judged[i]) for judged in sampled]),
            "length": fmean(len(ids[i]) for ids in outputs["sampled_ids"]),
            **({"kl": outputs["kl"][i]} if "kl" in outputs else {}),
            "repeat_share": fmean(repeat_share(ids[i]) for ids in outputs["sampled_ids"]),
        }
        if sampled[0][i].score is not None:
            row["gold_score"] = _mean([judged[i].score for judged in sampled])
        for name, judged in others.items():
            row[f"win_rate_{name}"] = _share(judged[i])
            row[f"length_{name}"] = float(len(outputs[f"{name}_ids"][i]))
            if judged[i].score is not None:
                row[f"gold_score_{name}"] = judged[i].score
        if "kl_matched" in outputs:
            row["kl_matched"] = outputs["kl_matched"][i]
        items.append(row)
    return items


def _add_measures(
    suite: Measures, items: list[dict[str, Any]], prompts: list[str], outputs: dict[str, Any]
) -> None:
    """What else the suite counts of the responses."""
    for i, prompt in enumerate(prompts):
        sampled = suite.measure(prompt, [texts[i] for texts in outputs["sampled"]])
        items[i] |= {measure.name: sampled[measure.name] for measure in suite.measures}
        if "greedy" not in outputs:
            continue
        greedy = suite.measure(prompt, [outputs["greedy"][i]])
        items[i] |= {
            f"{measure.name}_greedy": greedy[measure.name]
            for measure in suite.measures
            if measure.greedy != "no"
        }


def _numeric(items: list[dict[str, Any]]) -> list[str]:
    return [name for name in items[0] if name not in ("index", "prompt_sha")]


def _with_outcomes(metric: Metric | None, judged: list[list[Verdict]]) -> Metric | None:
    """The metric with wins, losses and ties over all judged responses."""
    if metric is None:
        return None
    counts = win_rate([v.preference for verdicts in judged for v in verdicts])
    return metric.model_copy(
        update={"wins": counts.wins, "losses": counts.losses, "ties": counts.ties}
    )


def _shown(
    prompts: list[str],
    references: list[str],
    outputs: dict[str, Any],
    sampled: list[Verdict],
    greedy: list[Verdict] | None,
) -> list[dict[str, Any]]:
    """The first responses, sampled and perhaps greedy, as people will read them."""
    kinds = [(False, outputs["sampled"][0], sampled)]
    if greedy is not None:
        kinds.append((True, outputs["greedy"], greedy))
    return [
        {
            "prompt": prompts[i],
            "output": texts[i],
            "reference": references[i],
            "score": judged[i].score,
            "reference_score": judged[i].reference_score,
            "preference": judged[i].preference,
            "tokens": [],
            "token_rewards": [],
            "greedy": is_greedy,
        }
        for is_greedy, texts, judged in kinds
        for i in range(min(SHOWN_SAMPLES, len(prompts)))
    ]


def _score_with(
    context: Context,
    inputs: list[Path],
    outputs: dict[str, Any],
    sampled: list[list[Verdict]],
    shown: list[dict[str, Any]],
) -> Metrics:
    """Put token rewards into `shown`; returns how the reward model's score follows gold.

    A classifier has no rewards of tokens to show.
    """
    backbone = load_sft(context, inputs[1])
    model = load_reward_model(backbone, REWARD, inputs[2], context.suite.prompt_template)
    sampled_ids, greedy_ids = outputs["sampled_ids"][0], outputs.get("greedy_ids", [])
    if isinstance(model, RewardModel):
        _show_rewards(model, shown, [*sampled_ids[:SHOWN_SAMPLES], *greedy_ids[:SHOWN_SAMPLES]])
    asked = list(zip(outputs["prompts"]["test"], sampled_ids, strict=True))
    proxy = model.rate(asked).cpu().tolist()
    backbone.drop_adapter(REWARD)
    gold = [v.score for v in sampled[0]]
    if any(x is None for x in gold) or len(set(gold)) < 2:
        return {"proxy_score": mean_metric(proxy)}
    test = pearsonr(proxy, [float(x) for x in gold if x is not None])
    low, high = (float(x) for x in test.confidence_interval(0.95))
    correlation = Metric(mean=float(test.statistic), ci95=(low, high), n=len(gold))
    return {"proxy_score": mean_metric(proxy), "proxy_gold_correlation": correlation}


def _show_rewards(model: RewardModel, shown: list[dict[str, Any]], ids: list[list[int]]) -> None:
    """Put each token of a response, whose ids are given in the order of `shown`, and its reward."""
    asked = [(row["prompt"], own) for row, own in zip(shown, ids, strict=True)]
    rewards = model.token_scores(model.backbone.batch_of(asked)).cpu()
    for i, (row, own) in enumerate(zip(shown, ids, strict=True)):
        row["tokens"] = model.backbone.tokens.pieces(own)
        row["token_rewards"] = [round(x, 4) for x in rewards[i, : len(own)].tolist()]
