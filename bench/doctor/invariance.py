"""Does a number depend on what else is in its batch? It must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bench.doctor.findings import Finding, held
from bench.doctor.subject import PROBE, ROWS, Subject
from bench.models.sequences import Sequences

PADDING = 7  # columns added on either side


@torch.no_grad()
def repetition(subject: Subject) -> Finding:
    """The same batch twice: the same log-probabilities, to the bit."""
    first, second = (subject.backbone.logprobs(subject.level, PROBE) for _ in range(2))
    apart = float((first - second).abs().max())
    return held(
        torch.equal(first, second),
        f"log-probabilities of one batch computed twice differ by {apart:.1e} nats (0)",
        "something draws random numbers or keeps state in the forward pass: switch off dropout "
        "(the model must be in eval mode, every *_dropout of its config 0)",
    )


@torch.no_grad()
def batch_size(subject: Subject) -> Finding:
    """One row alone against the same row in a batch with longer ones."""
    batch = subject.level
    together = _numbers(subject, batch)
    apart = dict.fromkeys(together, 0.0)
    for i in range(len(batch)):
        alone = _numbers(subject, batch.rows([i]))
        for name, found in alone.items():
            difference = together[name][i, : found.shape[1]] - found[0]
            apart[name] = max(apart[name], float(difference.abs().max()))
    return _verdict(
        subject,
        apart,
        together,
        f"a row alone and in a batch of {len(batch)}",
        "rows reach each other: look for batch statistics, packing without a block mask, or "
        "routing with a capacity (mixture of experts); otherwise train with one batch size",
    )


@torch.no_grad()
def padding(subject: Subject) -> Finding:
    """No padding against columns of it on the left and on the right, whatever their ids."""
    batch, wide = subject.level, _widened(subject.level, subject.backbone.tokens.eos_id)
    plain, padded = (_direct(subject, each) for each in (batch, wide))
    width = batch.mask.shape[1]
    apart = {
        name: float((padded[name][:, :width] - found)[batch.mask].abs().max())
        for name, found in plain.items()
    }
    return _verdict(
        subject,
        apart,
        plain,
        f"without padding and with {PADDING} columns on either side",
        "padding reaches what counts: the model must take attention_mask and position_ids (an "
        "attention kernel may ignore masks: load it with attn_implementation='sdpa')",
    )


def accumulation(subject: Subject) -> Finding:
    """Gradients of one PPO minibatch in passes of 1, 4 and 8 responses."""
    trainer = subject.trainer(stirred=True)
    experience, _ = trainer.experience(trainer.rollout(), subject.config.ppo.kl_coef)
    found = []
    for size in (ROWS, 4, 1):
        trainer = subject.trainer(stirred=True, microbatch_size=size)
        with gradients() as steps:
            trainer.update(experience, policy=True)
        found.append(torch.cat(steps))
    whole, *parts = found
    norm = max(float(whole.norm()), torch.finfo(torch.float32).tiny)
    apart = max(
        float((part - whole).norm()) / norm if part.shape == whole.shape else torch.inf
        for part in parts
    )
    return held(
        apart <= subject.tolerance.relative,
        f"gradients of 8x1, 2x4 and 1x8 responses differ by {apart:.1e} of their norm "
        f"({subject.tolerance.relative:g})",
        "ppo.microbatch_size changes what is learned: leave it at none, and report it; if "
        "`batch size` or `padding` fails too, mend that first",
    )


@contextmanager
def gradients() -> Iterator[list[Tensor]]:
    """Collects what every optimiser step is given, flattened."""
    steps: list[Tensor] = []

    def keep(optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        steps.extend(p.grad.float().flatten().clone() for p in parameters if p.grad is not None)

    handle = register_optimizer_step_pre_hook(keep)
    try:
        yield steps
    finally:
        handle.remove()


def _numbers(subject: Subject, batch: Sequences) -> dict[str, Tensor]:
    """What training reads off a batch, each (B, T) or (B, 1)."""
    return {
        "log-probabilities": subject.backbone.logprobs(batch, PROBE),
        "rewards": subject.reward_model("sequence").scores(batch).unsqueeze(1),
        "token rewards": subject.reward_model("token").token_scores(batch),
        "values": subject.value.values(batch) * batch.mask,
    }


def _direct(subject: Subject, batch: Sequences) -> dict[str, Tensor]:
    """The same (B, T) without the detours that cut padding away."""
    return {
        "log-probabilities": subject.backbone.logprobs(batch, PROBE),
        "token rewards": subject.reward_model("token").outputs(batch),
        "values": subject.value.values(batch),
    }


def _widened(batch: Sequences, filler: int) -> Sequences:
    """The batch between columns of padding whose ids look like text."""
    rows = len(batch)
    ids = torch.full((rows, PADDING), filler, device=batch.ids.device)
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    return Sequences(
        torch.cat([ids, batch.ids, ids], dim=1),
        torch.cat([nothing, batch.attention, nothing], dim=1),
        torch.cat([batch.mask, nothing], dim=1),
        batch.prompt_of,
    )


def _verdict(
    subject: Subject, apart: dict[str, float], sizes: dict[str, Tensor], what: str, remedy: str
) -> Finding:
    """Log-probabilities are held against nats, everything else against its own largest number."""
    allowed = subject.tolerance
    apart = {
        name: value if name == "log-probabilities" else value / float(sizes[name].abs().max())
        for name, value in apart.items()
    }
    limits = dict.fromkeys(apart, allowed.relative) | {"log-probabilities": allowed.logprob}
    listed = ", ".join(f"{name} {value:.1e} ({limits[name]:g})" for name, value in apart.items())
    ok = all(value <= limits[name] for name, value in apart.items())
    return held(ok, f"{what}: {listed}", remedy)
