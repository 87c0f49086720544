"""The checkpoint that training chose: the best at a validation, or the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Best:
    """The checkpoint with the highest validation score so far; where none is given, the latest."""

    score: float = float("-inf")
    step: int = 0
    weights: list[Tensor] | None = None

    def look(
        self, scores: Mapping[str, float], step: int, parameters: Sequence[Tensor]
    ) -> dict[str, float]:
        """Keep the weights if they are the best so far; returns the scores as a row has them.

        Args:
            scores: what a validation measured; "score" is the one to choose by.
            step: after which it was.
            parameters: of the policy as it is, and whatever else is kept with it.
        """
        score = scores.get("score")
        if score is None or score > self.score:
            self.score = self.score if score is None else score
            self.step, self.weights = step, [p.detach().clone() for p in parameters]
        return {f"validation_{name}": value for name, value in scores.items()}
