"""What is measured of a policy at every validation, and what of it chooses the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.models.names import POLICY
from bench.models.rollout import Sampling, sample
from bench.models.sequences import repeat_share
from bench.preference import win
from bench.stages.distance import sampled_kl
from bench.stages.drawing import draw_prompts
from bench.stages.judging import ask
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.models.heads import RewardModel
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Judge

Row = dict[str, float]
Score = Callable[[list[list[int]]], Row]  # of the responses' ids

NOT_CHOSEN = float("-inf")  # the score of a policy that is not to be kept


def validator(
    context: Context,
    backbone: Backbone,
    judge: Judge | None,
    model: RewardModel | None = None,
    *,
    kl: bool = False,
) -> Callable[[], Row]:
    """Measures the policy on the validation prompts, always with the same random numbers.

    What its method pays is never looked at: a proxy cannot choose its own checkpoint.

    Args:
        context: of the stage.
        backbone: with the adapter "policy".
        judge: whose verdicts are the "score" that chooses the checkpoint; None: no reference is
            needed.
        model: the reward model that no method learns from. The judge asks it; where there is no
            judge, its mean is the score. None, and no judge: there is no score.
        kl: whether the distance from the SFT model is measured, too, for an algorithm that draws
            nothing and so cannot tell.
    """
    config = context.config.evaluation
    prompts = draw_prompts(context.suite, "validation", context.config)
    if not prompts:
        return dict
    ids = [backbone.tokens.prompt(text) for text in prompts]
    sampling = Sampling.of(context.config.model, config.max_new_tokens, config.temperature)
    score: Score | None = None
    if judge is not None:
        score = _judged(context, backbone, judge, prompts, model)
    elif model is not None:
        score = _scored(context, model, prompts)

    def validate() -> Row:
        rng = generator("validation", config.seed)
        responses = sample(backbone, POLICY, ids, sampling, rng)
        row = {
            "length": sum(map(len, responses)) / len(ids),
            "repeat_share": fmean(map(repeat_share, responses)),
        }
        row |= {} if score is None else score(responses)
        if kl and "kl" not in row:
            row["kl"] = _kl(context, backbone, prompts)
        return row

    return validate


def _judged(
    context: Context,
    backbone: Backbone,
    judge: Any,
    prompts: list[str],
    model: RewardModel | None,
) -> Score:
    """The judge's score: the mean gold score where it gives one, else the win rate.

    A judge that asks a reward model (`bench.plugins.protocols.Judge`) is given it.
    """
    references = context.suite.references(prompts)
    if model is not None:
        judge.use_reward_model(model)

    def score(responses: list[list[int]]) -> Row:
        outputs = [backbone.tokens.text(response) for response in responses]
        verdicts = ask(judge, prompts, outputs, references, together=model is not None)
        wins = [win(v.preference) for v in verdicts if v.preference is not None]
        scores = [v.score for v in verdicts if v.score is not None]
        if not wins:
            statuses = ", ".join(sorted({v.status for v in verdicts}))
            raise UserError(f"the judge {judge.name} gave no verdict in validation: {statuses}")
        row = {"win_rate": sum(wins) / len(wins)}
        if scores:
            row["gold"] = sum(scores) / len(scores)
        return {"score": row.get("gold", row["win_rate"]), **row}

    return score


def _scored(context: Context, model: RewardModel, prompts: list[str]) -> Score:
    """The model's mean R, unless the policy is farther from the SFT model than is allowed."""
    config, backbone = context.config.evaluation, model.backbone

    def score(responses: list[list[int]]) -> Row:
        asked = list(zip(prompts, responses, strict=True))
        mean = model.rate(asked).mean().item()
        kl = _kl(context, backbone, prompts)
        too_far = config.max_kl is not None and kl > config.max_kl
        return {"score": NOT_CHOSEN if too_far else mean, "heldout_rm": mean, "kl": kl}

    return score


def _kl(context: Context, backbone: Backbone, prompts: list[str]) -> float:
    """Nats a response: of one sample a prompt at T = 1, whatever the responses' temperature."""
    config = context.config.evaluation
    rng = generator("validation_kl", config.seed)
    sampling = Sampling.of(context.config.model, config.max_new_tokens)
    return fmean(sampled_kl(backbone, POLICY, prompts, sampling, rng))
