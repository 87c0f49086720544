"""What is measured of a policy at every validation, and what of it chooses the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.models.names import POLICY
from bench.models.rollout import Sampling, sample
from bench.models.sequences import repeat_share
from bench.preference import win
from bench.stages.drawing import draw_prompts
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Judge

Row = dict[str, float]


def validator(context: Context, backbone: Backbone, judge: Judge | None) -> Callable[[], Row]:
    """Measures the policy on the validation prompts, always with the same random numbers.

    What its method pays is never looked at: a proxy cannot choose its own checkpoint.

    Args:
        context: of the stage.
        backbone: with the adapter "policy".
        judge: whose verdicts are the "score" that chooses the checkpoint; None: there is none, and
            no reference is needed.
    """
    config = context.config.evaluation
    prompts = draw_prompts(context.suite, "validation", context.config)
    if not prompts:
        return dict
    ids = [backbone.tokens.prompt(text) for text in prompts]
    sampling = Sampling(config.max_new_tokens, config.temperature)
    judged = None if judge is None else _judged(context, judge, prompts)

    def validate() -> Row:
        rng = generator("validation", config.seed)
        responses = sample(backbone, POLICY, ids, sampling, rng)
        row = {
            "length": sum(map(len, responses)) / len(ids),
            "repeat_share": fmean(map(repeat_share, responses)),
        }
        if judged is None:
            return row
        return judged([backbone.tokens.text(response) for response in responses]) | row

    return validate


def _judged(context: Context, judge: Judge, prompts: list[str]) -> Callable[[Sequence[str]], Row]:
    """The score of outputs: the mean gold score where the judge gives one, else the win rate."""
    references = context.suite.references(prompts)

    def score(outputs: Sequence[str]) -> Row:
        verdicts = judge.compare(prompts, list(outputs), references)
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
