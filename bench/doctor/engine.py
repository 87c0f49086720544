"""What must hold of another engine that draws the rollouts (`ppo.engine`)."""

from __future__ import annotations

import torch

from bench.doctor.findings import Finding, held
from bench.doctor.subject import Subject
from bench.errors import UserError

# Nats a token, in the mean, that an engine's log-probabilities may be from ours of the same tokens.
# In float32 two sets of kernels agree to about 1e-4, so .02 is only passed where something differs
# that should not: the server in bfloat16, its temperature not in its log-probabilities
# (--logprobs-mode), an old adapter, another base. In bfloat16 a logit between 16 and 32 has
# neighbours .125 apart (see `tolerance`). Single tokens are wrong by that, with either sign, and
# most by much less, for most are near certain; a mean over hundreds of tokens of .1 is more than
# rounding. The ratio of policies, which this multiplies unseen, is clipped at .2.
GAP = {torch.float32: 0.02, torch.bfloat16: 0.1}


def engine(subject: Subject) -> Finding:
    """The server draws from the policy that is trained: a stirred adapter, a handful of prompts."""
    backbone, config = subject.backbone, subject.config.ppo
    model = backbone.model.name_or_path
    try:
        trainer = subject.trainer(stirred=True, engine=config.engine)
        _, row = trainer.experience(trainer.rollout(), config.kl_coef)
    except UserError as error:  # so does an id outside the vocabulary end
        return Finding("FAIL", str(error), f"a run ends so; it is held against the model {model}")
    gap, allowed = row.get("engine_gap"), GAP[backbone.model.dtype]
    if gap is None:
        return Finding("warn", "the server gives no log-probabilities: nothing tells whom it has")
    return held(
        gap <= allowed,
        f"log-probabilities of {config.engine} and of {model} are {gap:.1e} nats a token apart "
        f"({allowed:g})",
        "the server does not have this model in this precision (--dtype), its log-probabilities "
        "are not those of ppo.temperature (--logprobs-mode processed_logprobs), or it does not "
        "apply the adapter",
    )
