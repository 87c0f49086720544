"""The best of n: responses are drawn round by round, and of each prompt the best one is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.models.rollout import Sampling, draw_responses
from bench.stages.sources.paying import checked_scores
from bench.training.checkpoints import Checkpoints
from bench.training.experience import Rollout

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import TokenSource


@dataclass
class Kept:
    """The best response so far to each of some prompts.

    Attributes:
        ids: of the responses.
        scores: theirs, of the source that chooses.
        rounds: how many responses each prompt has had.
        tokens: of all responses that were drawn, kept or not.
    """

    ids: list[list[int]]
    scores: list[float]
    rounds: int = 0
    tokens: int = 0

    @classmethod
    def nothing(cls, prompts: int) -> Kept:
        """Before the first round."""
        return cls([[] for _ in range(prompts)], [float("-inf")] * prompts)

    def look(self, drawn: Sequence[list[int]], scores: Sequence[float]) -> None:
        """Keep what scores higher than all before it; of equal ones the first."""
        for i, (ids, score) in enumerate(zip(drawn, scores, strict=True)):
            if score > self.scores[i]:
                self.ids[i], self.scores[i] = ids, score
        self.rounds += 1
        self.tokens += sum(map(len, drawn))


@dataclass(frozen=True)
class Best:
    """Draws from the SFT model and keeps the best.

    Attributes:
        backbone: the SFT model.
        source: whose scores choose.
        n: responses to each prompt.
        sampling: how they are drawn.
    """

    backbone: Backbone
    source: TokenSource
    n: int
    sampling: Sampling

    def of(
        self, asked: Sequence[tuple[list[str], torch.Generator]], context: Context, out: Path
    ) -> list[Kept]:
        """The best responses to several lists of prompts, each with random numbers of its own.

        With one generator the first round draws what `sample` draws, and the rounds of a smaller n
        are the first ones of a larger. Goes on where an interrupted attempt stopped.

        Args:
            asked: prompts with the generator of their draws.
            context: of the stage.
            out: the stage's folder.
        """
        kept = [Kept.nothing(len(prompts)) for prompts, _ in asked]
        checkpoints = Checkpoints(out, context.progress.say)
        if state := checkpoints.read():
            kept = [Kept(**one) for one in state["kept"]]
            for (_, rng), before in zip(asked, state["rngs"], strict=True):
                rng.set_state(before)
        with context.progress.task(f"best of {self.n}", total=self.n * len(asked)) as task:
            task.reach(sum(best.rounds for best in kept))
            for best, (prompts, rng) in zip(kept, asked, strict=True):
                while best.rounds < self.n:
                    best.look(*self._drawn(prompts, rng))
                    task.advance(1)
                    if checkpoints.due():
                        rngs = [rng.get_state() for _, rng in asked]
                        checkpoints.write({"kept": list(map(asdict, kept)), "rngs": rngs})
        return kept

    def _drawn(
        self, prompts: list[str], rng: torch.Generator
    ) -> tuple[list[list[int]], list[float]]:
        """Ids and score of a response to each prompt."""
        ids = [self.backbone.tokens.prompt(text) for text in prompts]
        drawn = draw_responses(self.backbone, None, ids, self.sampling, rng)
        rollout = Rollout.drawn(self.backbone, prompts, ids, drawn)
        who = f"the token source {self.source.name!r}"
        scores = checked_scores(self.source.scores(rollout), rollout.batch.mask, who)
        return [draw.ids for draw in drawn], scores.tolist()
