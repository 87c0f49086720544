"""What states of sampled responses are worth: the mean gold score of continuations from them.

VinePPO's estimator of V (arXiv:2410.01679, Section 4), at tokens in the place of reasoning steps.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.models.names import POLICY
from bench.models.rollout import Sampling, sample
from bench.stages.drawing import draw_prompts
from bench.stages.sft import load_sft
from bench.stages.sources.scores import gold_score
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context

FILE = "responses.jsonl"


@dataclass(frozen=True)
class Continued:
    """A response, and what K continuations of some of its states came to.

    Attributes:
        prompt: its text.
        ids: of the response.
        tokens: indices of the tokens whose advantage can be told, in order.
        returns: K gold scores of each state, by the number of tokens before it: of the states
            before and behind each of `tokens`. Where the response has ended, K times its own.
    """

    prompt: str
    ids: list[int]
    tokens: list[int]
    returns: dict[int, list[float]]


def read_continued(folder: Path) -> list[Continued]:
    """What `build_monte_carlo` wrote."""
    lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    rows = [Continued(**json.loads(line)) for line in lines]
    return [replace(row, returns={int(t): r for t, r in row.returns.items()}) for row in rows]


def build_monte_carlo(
    context: Context,
    out: Path,
    inputs: list[Path],
    responses: int,
    positions: int,
    continuations: int,
    seed: int,
) -> dict[str, Any]:
    """Draw responses to the test prompts and continue states of them.

    A continuation ends where the response would: at EOS, or at as many tokens as an evaluated
    response may have. Inputs: SFT and, where it is the policy that draws, that.
    """
    backbone = load_sft(context, inputs[0])
    adapter = None
    if len(inputs) > 1:
        adapter = POLICY
        backbone.add_adapter(POLICY, folder=inputs[1] / "policy")
    known = draw_prompts(context.suite, "test", context.config)
    prompts = [known[i % len(known)] for i in range(responses)]
    rng = generator("monte_carlo", seed)
    drawn = drawn_as_trained(context, backbone, adapter, prompts, rng)
    rows = []
    for prompt, ids in zip(prompts, drawn, strict=True):
        tokens = torch.randperm(len(ids), generator=rng)[:positions].sort().values.tolist()
        rows.append(Continued(prompt, ids, tokens, {}))
    _continue(context, backbone, adapter, rows, continuations, rng)
    backbone.drop_adapter(POLICY)
    text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    (out / FILE).write_text(text, encoding="utf-8")
    return {"tokens": sum(len(row.tokens) for row in rows)}


def drawn_as_trained(
    context: Context,
    backbone: Backbone,
    adapter: str | None,
    prompts: list[str],
    rng: torch.Generator,
) -> list[list[int]]:
    """Ids of a response to each prompt, at the temperature at which PPO draws."""
    ids = [backbone.tokens.prompt(text) for text in prompts]
    return sample(backbone, adapter, ids, _sampling(context), rng)


def _sampling(context: Context) -> Sampling:
    config = context.config
    most = config.evaluation.max_new_tokens
    return Sampling.of(config.model, most, config.ppo.temperature)


def _continue(
    context: Context,
    backbone: Backbone,
    adapter: str | None,
    rows: list[Continued],
    continuations: int,
    rng: torch.Generator,
) -> None:
    """Put the returns into the rows."""
    sampling, tokens, suite = _sampling(context), backbone.tokens, context.suite
    at: dict[int, list[Continued]] = defaultdict(list)  # states of like depth have as far to go
    for row in rows:
        for t in sorted({*row.tokens, *(t + 1 for t in row.tokens)}):
            if t < len(row.ids):
                at[t].append(row)
            else:
                score = gold_score(suite, row.prompt, tokens.text(row.ids))
                row.returns[t] = [score] * continuations
    total = continuations * sum(map(len, at.values()))
    with context.progress.task("continuations", total=total) as task:
        for t, there in sorted(at.items()):
            states = [tokens.prompt(row.prompt) + row.ids[:t] for row in there]
            asked = [state for state in states for _ in range(continuations)]
            room = replace(sampling, max_new_tokens=sampling.max_new_tokens - t)
            drawn = iter(sample(backbone, adapter, asked, room, rng))
            for row in there:
                texts = [tokens.text(row.ids[:t] + next(drawn)) for _ in range(continuations)]
                row.returns[t] = [gold_score(suite, row.prompt, text) for text in texts]
            task.advance(len(asked))
