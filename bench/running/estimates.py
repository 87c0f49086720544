"""What the models that a run asks would be asked, for `run --dry-run`: calls, tokens, dollars.

Nothing is asked. Where the responses are not there yet, others of a like length stand for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.data import Preference, read_rows
from bench.llm.money.estimate import ASSUMED_OUTPUT_TOKENS, estimate, repeated_tokens
from bench.llm.money.show import estimate_table
from bench.pipeline.progress import Progress
from bench.pipeline.stage import Context, Stage
from bench.running.plan import Plan
from bench.stages.chosen import editor_maker, judge_maker, uses_pairs_of
from bench.stages.drawing import draw_prompts
from bench.stages.given import drawn_pairs
from bench.stages.pairs import PREFERENCES

if TYPE_CHECKING:
    from bench.grid import Grid
    from bench.pipeline.store import Store

# Named here again: the stages that write them import torch.
OUTPUTS = "outputs.json"
OTHERS = ("greedy", "matched")
_STAND_IN = "the responses are not there yet: taken to be as long as the references"

Texts = tuple[list[str], list[str], list[str]]  # prompts, outputs, references


def run_estimates(planned: Plan, suite: Any, store: Store) -> list[Grid]:
    """A table for each model that the stages of a run would ask which are not in the store."""
    context = Context(planned.config, suite, Progress(), store.root / "answers")
    tables = []
    if planned.until is None:
        tables.append(_judged(planned, context, store))
    if planned.policy in planned.stages:
        tables.append(_validated(planned, context, store))
    edits = next((stage for stage in planned.stages if stage.name == "edits"), None)
    if edits is not None and "editor" in edits.config:
        tables.append(_edited(edits, context, store))
    return [table for table in tables if table is not None]


def _judged(planned: Plan, context: Context, store: Store) -> Grid | None:
    """Of the outputs: in the store already, or to be drawn."""
    judge = _asks(planned.judgement, context.config.evaluation.judge, context, store)
    if judge is None:
        return None
    (outputs,) = (stage for stage in planned.judgement.inputs if stage.name == "outputs")
    found = store.find(outputs.name, outputs.key)
    if found is not None:
        drawn = json.loads((found.path / OUTPUTS).read_text())
        return _table("judge", judge, _joined(_drawn(drawn, context.suite)))
    wanted, suite = context.config.evaluation, context.suite
    test = draw_prompts(suite, "test", context.config)
    asked = outputs.config["evaluation"]  # the best of n has neither of the two
    others = asked.get("greedy", False) + ("matched_kl" in asked)
    parts = [test] * (wanted.samples + others)
    parts.append(draw_prompts(suite, "unseen", context.config))
    return _table("judge", judge, _joined(_expected(parts, suite)), said=_STAND_IN)


def _validated(planned: Plan, context: Context, store: Store) -> Grid | None:
    """Of the policy, at every validation; how many there are is known of PPO."""
    wanted, policy = context.config.evaluation, planned.policy
    options = policy.config.get(policy.name, {})
    if "judge" not in policy.config or "eval_every" not in options:
        return None
    judge = _asks(policy, wanted.validation_judge, context, store)
    if judge is None:
        return None
    prompts = draw_prompts(context.suite, "validation", context.config)
    times = 1 + -(-options["steps"] // options["eval_every"])
    texts = _joined(_expected([prompts] * times, context.suite))
    return _table("validation judge", judge, texts, said=_STAND_IN)


def _edited(edits: Stage, context: Context, store: Store) -> Grid | None:
    """Of the less preferred responses: in the store, the suite's own, or to be drawn."""
    if store.find(edits.name, edits.key) is not None:
        return None
    config, suite, said = context.config, context.suite, ""
    (preferences,) = edits.inputs
    found = store.find(preferences.name, preferences.key)
    if found is not None:
        pairs = _responses(read_rows(found.path / PREFERENCES, Preference))
    elif uses_pairs_of(suite, config):
        pairs = _responses(drawn_pairs(suite, config))
    else:
        prompts = draw_prompts(suite, "preference", config)
        pairs, said = list(zip(prompts, suite.references(prompts), strict=True)), _STAND_IN
    editor = editor_maker(config)(context)
    return _table("editor", editor, (pairs,), repeated=[text for _, text in pairs], said=said)


def _asks(stage: Stage, name: str, context: Context, store: Store) -> Any:
    """The judge of a stage that is to be computed, if it asks a model; else None."""
    if store.find(stage.name, stage.key) is not None:
        return None
    judge = judge_maker(context.config, name)(context)
    return judge if hasattr(judge, "asker") and hasattr(judge, "requests") else None


def _drawn(outputs: dict[str, Any], suite: Any) -> Iterator[Texts]:
    """Of an artifact `outputs`, what is judged at once."""
    for split, texts in (
        *(("test", sample) for sample in outputs["sampled"]),
        *(("test", outputs.get(name, [])) for name in OTHERS),
        ("unseen", outputs.get("unseen", [])),
    ):
        if texts:
            prompts = outputs["prompts"][split]
            yield prompts, texts, suite.references(prompts)


def _expected(parts: Sequence[list[str]], suite: Any) -> Iterator[Texts]:
    """In the place of responses texts that differ from the references, and part from part."""
    for i, prompts in enumerate(parts):
        if prompts:
            references = suite.references(prompts)
            yield prompts, [f"{text} ({i})" for text in references], references


def _joined(parts: Iterator[Texts]) -> Texts:
    """One list of instructions: the canaries are tried once."""
    columns = zip(*parts, strict=True)
    prompts, outputs, references = (
        [text for part in column for text in part] for column in columns
    )
    return prompts, outputs, references


def _responses(pairs: Sequence[Preference]) -> list[tuple[str, str]]:
    return [(pair.prompt, pair.rejected) for pair in pairs]


def _table(
    who: str, asking: Any, texts: Sequence[Any], *, repeated: Sequence[str] = (), said: str = ""
) -> Grid:
    """What is asked about `texts`, which are the arguments of `requests`.

    Args:
        who: asks, for the title.
        asking: a judge or an editor.
        texts: prompts, outputs and references, or the pairs.
        repeated: texts of which an answer repeats one, as an edit repeats what is edited.
        said: what the estimate rests on beside the rest; "": nothing.
    """
    tokens = ASSUMED_OUTPUT_TOKENS + repeated_tokens(asking, texts, repeated)
    own = getattr(asking, "assumes", "")
    found = estimate(asking.requests(*texts), asking.asker, tokens, own)
    if said:
        found = replace(found, basis=(*found.basis, said))
    return estimate_table(found, who)
