"""Fine-grained RLHF: several models that find errors in segments, weighted, in PPO (2306.01693).

For each category c of errors a classifier of segments, by cross-entropy on marked errors, p_k the
probability that segment k of K is without an error of c:

    L_c = E[(1/K) sum_k -y_k log p_k - (1 - y_k) log(1 - p_k)],    y_k = 1: no error of c in k

and a sequence model of the whole response, R, by Bradley-Terry on original pairs ("completeness").
Rewards in PPO, with b the KL coefficient, whose term the trainer takes off:

    r_t = sum_c [t ends a segment k of c] (v_c if p_k > 1/2 else -v_c) + [t = T] w R - b KL_t

Where nothing is wrong a row sums to sum_c v_c K_c + w R: it pays length, and cutting finer, which
neither the paper nor its code takes out. An empty response is one segment without error.

Checked against the authors' code (allenai/FineGrainedRLHF at a1469d4, tasks/qa_feedback), where the
values are from: relevance (irrelevant, repeated, incoherent) +-.3 by sub-sentence, factuality
(wrong, unverifiable) +-.5 by sentence, completeness .3 of its standard deviation, b .3, lambda .95,
rewards whitened. A sentence with an error of relevance alone teaches nothing of facts
(`reward.hidden_by`): people were not asked for facts there.

Differences from the paper: completeness learns from the pairs that all methods have, so that it
knows of the other categories, too; the authors derive pairs from how much of what is needed a
response covers. Classifiers are adapters on the SFT model, not Longformers; they read a segment at
its last token (EOS for the last segment), not at a separator before it, and so see no further. No
text is tokenised anew: segments are of the ids that were drawn. Sub-sentences count tokens, not
words, and short ones are joined to what follows. Marked errors of fewer than five words count. Each
response weighs the same in the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from bench.config.section import Section
from bench.errors import UserError, unknown
from bench.stages.categories import check_kinds, check_named, check_used, said_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages

# "errors": of the only category where the suite names none, and of any other.
VALUES = {"relevance": 0.3, "factuality": 0.5, "errors": 0.5}
SEGMENTERS = {"relevance": "subsentences", "factuality": "sentences", "errors": "sentences"}


class FineGrainedRLHF:
    """Segment classifiers by category and a sequence reward model, then PPO on their sum."""

    name = "fine_grained_rlhf"

    class Options(Section):
        """Which errors are told apart, how responses are cut for them, and what they weigh."""

        kinds: dict[str, list[str]] = Field(
            {}, description="kinds of errors of each category; {}: the suite's groups"
        )
        values: dict[str, Annotated[float, Field(strict=True, ge=0)]] = Field(
            VALUES, description="v: paid for a segment without error, or taken, by category"
        )
        segmenters: dict[str, str] = Field(
            SEGMENTERS, description="registry name of what cuts responses, by category"
        )
        segmenter_options: dict[str, dict[str, Any]] = Field(
            {}, description="what that is made with, by category"
        )
        hidden_by: dict[str, list[str]] = Field(
            {"factuality": ["relevance"]},
            description="categories whose errors leave it open whether there is one of this",
        )
        completeness: float = Field(0.3, ge=0, description="w: weight of the whole response's R")

        @field_validator("values", "segmenters", mode="before")
        @classmethod
        def _beside_the_usual(cls, given: Any, info: Any) -> Any:
            usual: Mapping[str, Any] = VALUES if info.field_name == "values" else SEGMENTERS
            return {**usual, **given} if isinstance(given, dict) else given

        @field_validator("kinds")
        @classmethod
        def _can_name_a_stage(cls, given: dict[str, list[str]]) -> dict[str, list[str]]:
            check_named(given)
            return given

    def __init__(self, options: FineGrainedRLHF.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences and marked errors -> a model of each -> PPO on the sum of what they say."""
        options, spans = self.options, stages.spans()
        groups = options.kinds or stages.span_groups
        self._check(groups, [kind for own in stages.span_groups.values() for kind in own])
        # First: the run's reward model, in which a value starts and which the judgement shows.
        whole = stages.reward_model(stages.preferences(), granularity="sequence")
        sources = [stages.source("reward_model", whole)]
        for category, kinds in groups.items():
            others = options.hidden_by.get(category, ())
            model = stages.segment_classifier(
                spans,
                category,
                kinds=kinds,
                hidden_by=[kind for other in others for kind in groups.get(other, ())],
                segmenter=said_of(options.segmenters, category),
                segmenter_options=said_of(options.segmenter_options, category),
            )
            value = said_of(options.values, category)
            sources.append(stages.source("segment_classes", model, value=value))
        weights = [options.completeness, *[1.0] * (len(sources) - 1)]
        return stages.ppo(self, stages.source("sum", *sources, weights=weights))

    def _check(self, groups: Mapping[str, Sequence[str]], known: Sequence[str]) -> None:
        """Refuse a category, or a kind of errors, that there is none of; it would do nothing."""
        check_kinds(groups, known)
        usual, options = self.Options(), self.options
        for field in ("values", "segmenters", "segmenter_options"):
            check_used(field, getattr(options, field), getattr(usual, field), groups)
        for name, others in options.hidden_by.items():
            for other in (name, *others):
                if other not in {*groups, *VALUES}:
                    raise UserError(f"reward.hidden_by: {unknown('category', other, groups)}")

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """The sum of what the models pay (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
