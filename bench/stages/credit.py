"""What a run's method pays at sampled tokens, and the advantages that its policy learns from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.config.run import PPOConfig
from bench.models.heads import ValueModel, map_rows
from bench.models.names import POLICY, VALUE
from bench.plugins.targets import import_target
from bench.stages.monte_carlo import Continued, drawn_as_trained
from bench.stages.sources.making import make_source
from bench.stages.sources.paying import pay_by
from bench.training.experience import Rollout, reward_tokens
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Advantage
    from bench.stages.planned_source import Paid
    from bench.stats.intervals import Floats


def paid_and_learned(
    context: Context,
    backbone: Backbone,
    paid: Paid,
    sources: Iterable[Path],
    policy: Path,
    rows: list[Continued],
    *,
    adapter: str | None,
    seed: int,
) -> tuple[Floats, Floats | None, str]:
    """What a method pays, and learns from, at each of N sampled tokens.

    Args:
        context: of the run.
        backbone: its SFT model; adapters are added to it.
        paid: by what, and who learns from it.
        sources: the artifacts that the source reads.
        policy: the artifact of the policy's stage.
        rows: the responses, with the tokens.
        adapter: who drew them: "policy", or None for the SFT model.
        seed: of the responses that they are compared with, where the method compares any.

    Returns:
        (N,) rewards before a missing EOS and the KL; (N,) advantages, or None; and why.
    """
    source = make_source(paid.source, context, backbone, iter(sources))
    backbone.add_adapter(POLICY, folder=policy / "policy")
    advantage, value, note = _advantage(paid, backbone, policy / VALUE)
    group = 1 if advantage is None else advantage.samples
    rollout = _rollout(context, backbone, rows, group, adapter, seed)
    rewards = pay_by(source, paid.method)(rollout)
    learned = None
    if advantage is not None:
        learned = _picked(_estimated(advantage, value, rewards, rollout, paid), rows, group)
    return _picked(rewards, rows, group), learned, note


def _advantage(
    paid: Paid, backbone: Backbone, folder: Path
) -> tuple[Advantage | None, ValueModel | None, str]:
    """How the method tells what was better than expected, with its value; or why it does not."""
    chosen, config = paid.algorithm.advantage, paid.algorithm.options
    if chosen is None or not isinstance(config, PPOConfig):
        return None, None, f"its algorithm, {paid.algorithm.name}, has no advantages of tokens"
    advantage: Advantage = import_target(chosen.target)(config, **chosen.options)
    if not advantage.uses_value:
        return advantage, None, ""
    if not folder.is_dir():
        return None, None, f"its algorithm, {paid.algorithm.name}, kept no value function"
    return advantage, ValueModel.load(backbone, folder), ""


def _rollout(
    context: Context,
    backbone: Backbone,
    rows: list[Continued],
    group: int,
    adapter: str | None,
    seed: int,
) -> Rollout:
    """The responses, each the first of `group` to its prompt, side by side as in training."""
    prompts = [row.prompt for row in rows for _ in range(group)]
    others = [row.prompt for row in rows for _ in range(group - 1)]
    rng = generator("credit", seed)
    drawn = iter(drawn_as_trained(context, backbone, adapter, others, rng) if others else ())
    responses = [ids for row in rows for ids in (row.ids, *(next(drawn) for _ in range(group - 1)))]
    prompt_ids = [backbone.tokens.prompt(text) for text in prompts]
    rollout = Rollout.of(backbone.tokens, prompts, prompt_ids, responses, backbone.device)
    logprobs = map_rows(
        lambda part: backbone.logprobs(part, adapter, context.config.ppo.temperature),
        rollout.batch,
    )
    return replace(rollout, logprobs=logprobs)


@torch.no_grad()
def _estimated(
    advantage: Advantage, value: ValueModel | None, rewards: Tensor, rollout: Rollout, paid: Paid
) -> Tensor:
    """(B, T) advantages as the trainer has them, but for the KL, of which the truth knows nothing.

    The rest is as in `PPO.experience`.
    """
    batch, config = rollout.batch, paid.algorithm.options
    nothing = torch.zeros_like(rewards)
    values = nothing if value is None else map_rows(value.states, batch, columns=1)[:, :-1]
    found = reward_tokens(rewards, nothing, batch.mask, rollout.finished, config, 0.0)
    return advantage.estimate(found, values, rollout)[0]


def _picked(found: Tensor, rows: list[Continued], group: int) -> Floats:
    """(N,) of the sampled tokens."""
    own = found[::group].double().cpu().tolist()
    return np.array([own[i][t] for i, row in enumerate(rows) for t in row.tokens])
