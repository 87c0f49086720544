"""A reward model of other pairs than the methods' own as the judge: cheap, and only a proxy.

It learned from `evaluation.heldout_pairs` pairs that no method learns from, is the same for all
methods and seeds, and prefers the response that it scores higher. A policy that was not trained on
it cannot have been trained to fool it, but shares with it whatever its kind gets wrong
(arXiv:2210.10760): its win rates are marked, and stand in a table of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.section import NoOptions
from bench.errors import UserError
from bench.plugins.protocols import Verdict
from bench.records.schema import Mark

if TYPE_CHECKING:
    from bench.models.heads import RewardModel

_MARK = Mark(
    what="reward_model",
    level="marked",
    text="the verdicts are a reward model's, which learned from pairs that no method learned from; "
    "neither people nor a language model judged",
)


class RewardModelJudge:
    """Compares the scores of a reward model.

    Args:
        suite: not needed; every judge is given it.
        options: none.
        answers: not needed.
        say: not needed.
    """

    name = "reward_model"
    Options = NoOptions
    template_sha: str | None = None

    def __init__(
        self,
        suite: Any = None,
        options: NoOptions | None = None,
        *,
        answers: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.model: str | None = None
        self._model: RewardModel | None = None

    def ready(self) -> None:
        """The model is there when the stages before it are."""

    def use_reward_model(self, model: RewardModel) -> None:
        """Ask this one. Its weights name it: verdicts of two models are not compared."""
        self._model = model
        weights = model.head.weight.detach().cpu().numpy().tobytes()
        self.model = f"held-out reward model {hashlib.sha256(weights).hexdigest()[:8]}"

    def about(self) -> dict[str, Any]:
        """It costs nothing, and says what it is."""
        return {"cost_usd": 0.0, "marks": [_MARK.model_dump()]}

    def compare(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> list[Verdict]:
        """One verdict an instruction; never missing. No score: that word is for the truth.

        Raises:
            UserError: there is no model, since this is no run.
        """
        if self._model is None:
            raise UserError(
                "the judge reward_model asks a model that a run trains: "
                "python -m bench run --set evaluation.judge=reward_model"
            )
        sides = [self._scores(self._model, prompts, texts) for texts in (outputs, references)]
        return [
            Verdict(1.5, "identical") if output == reference else _verdict(score, reference_score)
            for output, reference, score, reference_score in zip(
                outputs, references, *sides, strict=True
            )
        ]

    def _scores(self, model: RewardModel, prompts: list[str], texts: list[str]) -> list[float]:
        response = model.backbone.tokens.response
        asked = [(prompt, response(text)) for prompt, text in zip(prompts, texts, strict=True)]
        scores: list[float] = model.rate(asked).cpu().tolist()
        return scores


def _verdict(score: float, reference_score: float) -> Verdict:
    if score == reference_score:
        return Verdict(1.5, "tie")
    return Verdict(2.0 if score > reference_score else 1.0, "ok")
