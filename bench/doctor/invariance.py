"""Does a number depend on what else is in its batch? It must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bench.doctor.findings import Finding, held
from bench.doctor.patient import PROBE, ROWS, Patient
from bench.models.sequences import Sequences

PADDING = 7  # columns added on either side


@torch.no_grad()
def repetition(patient: Patient) -> Finding:
    """The same batch twice: the same log-probabilities, to the bit."""
    first, second = (patient.backbone.logprobs(patient.level, PROBE) for _ in range(2))
    apart = float((first - second).abs().max())
    return held(
        torch.equal(first, second),
        f"log-probabilities of one batch computed twice differ by {apart:.1e} nats (0)",
        "something draws random numbers or keeps state in the forward pass: switch off dropout "
        "(the model must be in eval mode, every *_dropout of its config 0)",
    )


@torch.no_grad()
def batch_size(patient: Patient) -> Finding:
    """One row alone against the same row in a batch with longer ones."""
    batch = patient.level
    together = _numbers(patient, batch)
    apart = dict.fromkeys(together, 0.0)
    for i in range(len(batch)):
        alone = _numbers(patient, batch.rows([i]))
        for name, found in alone.items():
            difference = together[name][i, : found.shape[1]] - found[0]
            apart[name] = max(apart[name], float(difference.abs().max()))
    return _verdict(
        patient,
        apart,
        together,
        f"a row alone and in a batch of {len(batch)}",
        "rows reach each other: look for batch statistics, packing without a block mask, or "
        "routing with a capacity (mixture of experts); otherwise train with one batch size",
    )


@torch.no_grad()
def padding(patient: Patient) -> Finding:
    """No padding against columns of it on the left and on the right, whatever their ids."""
    batch, wide = patient.level, _widened(patient.level, patient.backbone.tokens.eos_id)
    plain, padded = (_direct(patient, each) for each in (batch, wide))
    width = batch.mask.shape[1]
    apart = {
        name: float((padded[name][:, :width] - found)[batch.mask].abs().max())
        for name, found in plain.items()
    }
    return _verdict(
        patient,
        apart,
        plain,
        f"without padding and with {PADDING} columns on either side",
        "padding reaches what counts: the model must take attention_mask and position_ids (an "
        "attention kernel may ignore masks: load it with attn_implementation='sdpa')",
    )


def accumulation(patient: Patient) -> Finding:
    """Gradients of one PPO minibatch in passes of 1, 4 and 8 responses."""
    trainer = patient.trainer(stirred=True)
    experience, _ = trainer.experience(trainer.rollout(), patient.config.ppo.kl_coef)
    found = []
    for size in (ROWS, 4, 1):
        trainer = patient.trainer(stirred=True, microbatch_size=size)
        with _gradients() as steps:
            trainer.update(experience, policy=True)
        found.append(torch.cat(steps))
    whole, *parts = found
    norm = max(float(whole.norm()), torch.finfo(torch.float32).tiny)
    apart = max(
        float((part - whole).norm()) / norm if part.shape == whole.shape else torch.inf
        for part in parts
    )
    return held(
        apart <= patient.tolerance.relative,
        f"gradients of 8x1, 2x4 and 1x8 responses differ by {apart:.1e} of their norm "
        f"({patient.tolerance.relative:g})",
        "ppo.microbatch_size changes what is learned: leave it at none, and report it; if "
        "`batch size` or `padding` fails too, mend that first",
    )


@contextmanager
def _gradients() -> Iterator[list[Tensor]]:
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


def _numbers(patient: Patient, batch: Sequences) -> dict[str, Tensor]:
    """What training reads off a batch, each (B, T) or (B, 1)."""
    return {
        "log-probabilities": patient.backbone.logprobs(batch, PROBE),
        "rewards": patient.reward_model("sequence").scores(batch).unsqueeze(1),
        "token rewards": patient.reward_model("token").token_scores(batch),
        "values": patient.value.values(batch) * batch.mask,
    }


def _direct(patient: Patient, batch: Sequences) -> dict[str, Tensor]:
    """The same (B, T) without the detours that cut padding away."""
    return {
        "log-probabilities": patient.backbone.logprobs(batch, PROBE),
        "token rewards": patient.reward_model("token").outputs(batch),
        "values": patient.value.values(batch),
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
    patient: Patient, apart: dict[str, float], sizes: dict[str, Tensor], what: str, remedy: str
) -> Finding:
    """Log-probabilities are held against nats, everything else against its own largest number."""
    allowed = patient.tolerance
    apart = {
        name: value if name == "log-probabilities" else value / float(sizes[name].abs().max())
        for name, value in apart.items()
    }
    limits = dict.fromkeys(apart, allowed.relative) | {"log-probabilities": allowed.logprob}
    listed = ", ".join(f"{name} {value:.1e} ({limits[name]:g})" for name, value in apart.items())
    ok = all(value <= limits[name] for name, value in apart.items())
    return held(ok, f"{what}: {listed}", remedy)
