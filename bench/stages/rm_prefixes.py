"""How the score of a response moves while it grows, and whether it falls where the errors are.

Any reward model can be asked this, also one that was made for whole responses only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from bench.data import Preference
from bench.models.heads import RewardModel
from bench.plugins.capabilities import Spans
from bench.stages.measures import Metrics, mean_metric
from bench.stages.rm_evaluation import clustered_auroc
from bench.training.annotations import token_kinds

if TYPE_CHECKING:
    from bench.models.heads import Scorer

SHARES = (25, 50, 75)  # per cent of the tokens of both responses of a pair
END = 10  # the last of so many equal parts of a response
FEWEST = 2 * END  # tokens that a response needs for its end to be a part of it


@dataclass(frozen=True)
class Grown:
    """A response with R of its first 1, 2, ..., T tokens, each as if it had ended there.

    Attributes:
        scores: (T,).
        wrong: whether a token is within an error, EOS left out; None: nobody has looked.
    """

    scores: list[float]
    wrong: list[bool] | None

    @property
    def falls(self) -> list[float]:
        """By how much R falls with each token but the first, whose fall nobody knows."""
        return [before - after for before, after in zip(self.scores, self.scores[1:], strict=False)]


def grown(
    model: Scorer,
    suite: Any,
    pairs: Sequence[Preference],
    most: int,
    on_one: Callable[[], None] = lambda: None,
) -> list[Grown]:
    """The less preferred responses of at most so many pairs; where errors are known, of those."""
    tokens, found = model.backbone.tokens, list[Grown]()
    look = suite.spans if isinstance(suite, Spans) else lambda prompt, response: None
    known = [(pair, look(pair.prompt, pair.rejected)) for pair in pairs]
    marked = [(pair, spans) for pair, spans in known if spans is not None]
    for pair, spans in (marked or known)[:most]:
        ids = tokens.response(pair.rejected, pair.rejected_ids)
        wrong = None
        if spans is not None:
            kinds = token_kinds(tokens.offsets(pair.rejected, pair.rejected_ids), spans)
            wrong = [bool(own) for own in kinds]
        found.append(Grown(prefix_scores(model, pair.prompt, ids), wrong))
        on_one()
    return found


def prefix_scores(model: Scorer, prompt: str, ids: list[int]) -> list[float]:
    """(T,) R of the first 1, 2, ..., T tokens of a response; a forward pass each, or one for all.

    Of a token model the running mean of its outputs; T is less where the context cuts it.
    """
    if not isinstance(model, RewardModel) or model.granularity == "segment":
        asked = [(prompt, ids[:t]) for t in range(1, len(ids) + 1)]
        each: list[float] = model.rate(asked).tolist()
        return each
    batch = model.backbone.batch_of([(prompt, ids)])
    if model.granularity == "sequence":
        scores = model.prefix_scores(batch)[0, 1:]
    else:
        outputs = model.token_scores(batch)[0]
        scores = outputs.cumsum(0) / torch.arange(1, len(outputs) + 1, device=outputs.device)
    of_one: list[float] = scores[: int(batch.lengths[0])].tolist()
    return of_one


def prefix_metrics(rows: Sequence[Grown]) -> Metrics:
    """Localisation by falls, and by the place alone; the share of the movement at the end."""
    marked = [(row.falls, row.wrong[1:]) for row in rows if row.wrong is not None]
    falls, places, labels = [], [], []
    for fall, wrong in marked:
        there = min(len(fall), len(wrong))  # EOS is in no error
        falls.append(fall[:there])
        places.append([float(t) for t in range(there)])
        labels.append([int(own) for own in wrong[:there]])
    metrics: Metrics = {}
    if marked:
        metrics["prefix_localisation"] = clustered_auroc(falls, labels)
        metrics["place_localisation"] = clustered_auroc(places, labels)
    metrics["prefix_end_share"] = mean_metric([_end_share(row.falls) for row in rows] or [None])
    return metrics


def _end_share(falls: Sequence[float]) -> float | None:
    """Of all movement, up and down, the share in the last tenth; None: too short, or none."""
    moves = [abs(fall) for fall in falls]
    if len(moves) < FEWEST or not (total := math.fsum(moves)):
        return None
    return math.fsum(moves[-(len(moves) // END) :]) / total


def begun(pairs: Sequence[Preference], share: int, model: Scorer) -> list[Preference]:
    """The pairs with the first `share` per cent of the tokens of both responses, rounded up."""
    tokens = model.backbone.tokens

    def cut(text: str, ids: list[int] | None) -> list[int]:
        whole = tokens.response(text, ids)
        return whole[: math.ceil(len(whole) * share / 100)]

    found = []
    for pair in pairs:
        chosen, rejected = cut(pair.chosen, pair.chosen_ids), cut(pair.rejected, pair.rejected_ids)
        found.append(
            Preference(
                prompt=pair.prompt,
                chosen=tokens.text(chosen),
                rejected=tokens.text(rejected),
                chosen_ids=chosen,
                rejected_ids=rejected,
            )
        )
    return found
