"""What must hold before and after the first PPO step, through the trainer that the run will use."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from bench.doctor.findings import Finding, held
from bench.doctor.machine import of_base
from bench.doctor.subject import Subject
from bench.models.names import POLICY
from bench.training.experience import Rollout

MODES = ("forward", "generation")


def ratio(subject: Subject) -> Finding:
    """Probability ratios of the first minibatch, old log-probabilities taken either way.

    They are 1 up to rounding: to the bit only where a minibatch has the shape of the batch that the
    old ones were computed in.
    """
    apart = {}
    for mode in MODES:
        trainer = subject.trainer(stirred=True, rollout_logprobs=mode)
        experience, _ = trainer.experience(trainer.rollout(), subject.config.ppo.kl_coef)
        row = trainer.update(experience, policy=True)
        apart[mode] = max(abs(row["ratio_max"] - 1), row["ratio_std"])
    allowed = subject.tolerance.logprob
    listed = ", ".join(f"{value:.1e} with {mode}" for mode, value in apart.items())
    used = "generation" if subject.trainer().keeps_logprobs else "forward"
    wrong = [mode for mode in MODES if not apart[mode] <= allowed]
    return held(
        not wrong,
        f"largest |ratio - 1| on the first minibatch: {listed} ({allowed:g}; 0 in batches of equal "
        f"shape only); the run uses {used}",
        f"the policy that is updated is not the one that drew (ppo.rollout_logprobs="
        f"{', '.join(wrong)}): temperature, dropout, padding or precision differ between "
        f"generation and update" + ("" if "forward" in wrong else "; use forward"),
        otherwise="FAIL" if used in wrong else "warn",
    )


def kl(subject: Subject) -> Finding:
    """KL of the untrained policy from the reference: 0.

    To the bit where both are forwards, which are then asked in batches of equal shape.
    """
    found, tokens = {}, 1.0
    for mode in MODES:
        trainer = subject.trainer(rollout_logprobs=mode)
        _, row = trainer.experience(trainer.rollout(), subject.config.ppo.kl_coef)
        found[mode], tokens = row["kl"], row["length"]
    allowed = subject.tolerance.logprob * tokens
    return held(
        found["forward"] == 0 and abs(found["generation"]) <= allowed,
        f"nats a response at step 0: {found['forward']:.1e} with forward (0), "
        f"{found['generation']:.1e} with generation ({allowed:.1e})",
        "the policy does not start at the reference: an adapter that starts at 0 must change "
        "nothing, and both must be asked in the same batches and at the same temperature",
    )


def reference(subject: Subject) -> Finding:
    """One PPO step moves the policy, and neither the base's weights nor the reference's answers."""
    backbone, trainer = subject.backbone, subject.trainer()
    rollout = trainer.rollout()
    experience, _ = trainer.experience(rollout, subject.config.ppo.kl_coef)
    answers, weights = _reference_logprobs(subject, rollout), base_digest(backbone.model)
    policy = [p.detach().clone() for p in backbone.parameters(POLICY)]
    trainer.update(experience, policy=True)
    same = torch.equal(answers, _reference_logprobs(subject, rollout))
    after = backbone.parameters(POLICY)
    moved = any(not torch.equal(a, b) for a, b in zip(policy, after, strict=True))
    kept = weights == base_digest(backbone.model)
    return held(
        same and kept and moved,
        f"after one step: base's weights {'equal' if kept else 'CHANGED'} ({weights[:8]}), "
        f"reference's log-probabilities {'equal' if same else 'CHANGED'}, "
        f"policy {'moved' if moved else 'NOT MOVED'}",
        "the base must be frozen (requires_grad False) and the adapters alone in the optimiser"
        if moved
        else "no gradient reaches the policy: look at ppo.lr and lora.target_modules",
    )


@torch.no_grad()
def _reference_logprobs(subject: Subject, rollout: Rollout) -> Tensor:
    return subject.backbone.logprobs(rollout.batch, None)


def base_digest(model: torch.nn.Module) -> str:
    """Hash of all weights and buffers but the adapters'."""
    digest = hashlib.sha256()
    named = [*model.named_parameters(), *model.named_buffers()]
    for _, tensor in (pair for pair in named if of_base(pair[0])):
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def determinism(subject: Subject) -> Finding:
    """Two steps from one seed: the same responses and the same metrics."""
    first, second = (_one_step(subject) for _ in range(2))
    responses = first[0] == second[0]
    differ = sorted(name for name, value in first[1].items() if value != second[1].get(name))
    return held(
        responses and not differ,
        f"the same seed twice: responses {'equal' if responses else 'DIFFER'}, "
        + (f"metrics differ: {', '.join(differ)}" if differ else f"{len(first[1])} metrics equal"),
        "a draw that does not come from the run's generator"
        if not responses
        else "a kernel that does not repeat: set CUBLAS_WORKSPACE_CONFIG=:4096:8 on a GPU, or "
        "expect other numbers from every run",
        otherwise="FAIL" if not responses or subject.backbone.device.type == "cpu" else "warn",
    )


def _one_step(subject: Subject) -> tuple[list[list[int]], dict[str, Any]]:
    """The tokens that a fresh trainer draws, and its first step's metrics."""
    drawn = subject.trainer().rollout().batch
    row = subject.trainer().step()
    return drawn.responses.masked_fill(~drawn.mask, -1).tolist(), row
