"""How much of the device's arithmetic updates and scoring use."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench.doctor.work import Weights, forward_flops, update_flops
from bench.models.names import POLICY
from bench.training.experience import Rollout
from bench.training.ppo import PPO
from benchmarks.gpu.machine import watch
from benchmarks.gpu.sections import Row, held
from benchmarks.gpu.setting import Setting

GOAL = 0.45


def rates(setting: Setting) -> Iterator[Row]:
    """FLOPs a second of scoring a rollout and of learning from it, beside a matrix product's."""
    yield Row(
        f"a matrix product, n = {setting.shape.matrix}, in {setting.dtype}",
        f"{setting.flops / 1e12:.3g} TFLOP/s",
        numbers={"flops_per_second": setting.flops},
    )
    # A model whose packed numbers are too far from the padded ones goes on padded, and pays for it.
    packs = "yes" if setting.backbone.packs else "no: padded"
    yield Row("batches are packed", packs, numbers={"packs": setting.backbone.packs})
    # One pass over the rollout is enough for a rate; old log-probabilities take a pass of their
    # own, as they do in bfloat16, since here nothing was drawn.
    ppo = setting.ppo(epochs=1, rollout_logprobs="forward")
    few = rollout(setting, setting.config.ppo.microbatch_size or 1)
    ppo.update(ppo.experience(few, 0.1)[0], policy=True)  # warm
    drawn = rollout(setting, setting.shape.rollouts)
    weights = Weights.of(ppo.backbone.model, POLICY)
    rows = _rows(drawn)
    (experience, _), scoring = watch(setting.device, lambda: ppo.experience(drawn, 0.1))
    yield _share(setting, "scoring", scoring_flops(weights, rows, ppo), scoring.seconds)
    _, update = watch(setting.device, lambda: ppo.update(experience, policy=True))
    yield _share(setting, "update", learning_flops(weights, rows, ppo), update.seconds)


def scoring_flops(weights: Weights, rows: list[tuple[int, int]], ppo: PPO) -> int:
    """Reference and policy say log-probabilities; reward model and value read states."""
    states = 2 * forward_flops(weights, rows, head=False)
    reference = forward_flops(weights, rows, head=True, adapter=False)
    return states + reference + forward_flops(weights, rows, head=True)


def learning_flops(weights: Weights, rows: list[tuple[int, int]], ppo: PPO) -> int:
    """The policy, and the value where it is not read off the same pass."""
    policy = update_flops(weights, rows, head=True)
    value = 0 if ppo.learner.shared else update_flops(weights, rows, head=False)
    return ppo.config.epochs * (policy + value)


def rollout(setting: Setting, rows: int) -> Rollout:
    """Responses of random words to the first prompts: what is drawn does not change the work."""
    backbone, work = setting.backbone, setting.work
    prompts = [backbone.tokens.prompt(text) for text in setting.texts[:rows]]
    rng = torch.Generator().manual_seed(rows)
    shape = (len(prompts), work.response_tokens)
    ids = torch.randint(work.vocabulary - 2, shape, generator=rng).tolist()
    nothing = torch.zeros(shape, device=setting.device)
    return Rollout(
        prompts=setting.texts[:rows],
        outputs=[""] * len(prompts),
        batch=backbone.tokens.join(prompts, ids).to(setting.device),
        finished=nothing[:, 0].bool(),
        logprobs=nothing,
        entropies=nothing,
    )


def _rows(drawn: Rollout) -> list[tuple[int, int]]:
    """Prompt and response tokens of each row."""
    whole = drawn.batch.attention.sum(dim=1)
    responses = drawn.batch.lengths
    return list(zip((whole - responses).tolist(), responses.tolist(), strict=True))


def _share(setting: Setting, what: str, flops: int, seconds: float) -> Row:
    share = flops / seconds / setting.flops
    return held(
        what,
        f"{flops / seconds / 1e12:.3g} TFLOP/s: {share:.0%} of the matrix product's",
        f"≥ {GOAL:.0%}",
        share >= GOAL,
        flops=flops,
        seconds=seconds,
        share=share,
    )
