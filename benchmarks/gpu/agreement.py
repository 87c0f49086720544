"""Are the numbers on the device right? The testbed's own small base, through a run's own code."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bench.config.loading import load_config
from bench.doctor import examine, load_subject
from bench.doctor.findings import tolerance
from bench.doctor.invariance import gradients
from bench.doctor.subject import PROBE, Subject
from bench.models.layout import Padded
from bench.models.names import POLICY, VALUE
from bench.models.rollout import Sampling, draw_responses
from bench.training.experience import Rollout
from bench.training.optimisation import set_values
from benchmarks.gpu.sections import Row, held
from benchmarks.gpu.setting import Setting

DTYPES = ("bfloat16", "float32")
TOKENS = 8  # of a response
GRAPH_ROWS, GRAPH_TOKENS = 8, 40  # times the subject's prompts; of a response
GRAPHS_AGREE = 0.95
ABOUT_THE_MACHINE = ("memory", "disk", "speed")  # checks that say nothing of numbers
# Two devices add in another order, through every layer and back. In bfloat16 the doctor's own
# tolerance holds: there the base itself is rounded.
FLOAT32_GRADIENTS = 1e-3


def agreement(setting: Setting) -> Iterator[Row]:
    """The doctor, packed against padded, gradients against the CPU's, in both precisions."""
    device = setting.device.type
    for dtype in DTYPES:
        subject = _subject(device, dtype)
        yield _doctor(subject, dtype)
        yield _packed(subject, dtype)
        yield _gradients(subject, _subject("cpu", "float32"), dtype)
    yield from graph_decode(setting)


def graph_decode(setting: Setting) -> Iterator[Row]:
    """Responses of the decoding as CUDA graphs against the plain loop's, from the same numbers.

    What follows decodes as graphs where they agree. On a CPU the same loop has no graphs.
    """
    subject = _subject(setting.device.type, "float32")
    backbone = subject.backbone
    prompts = [backbone.tokens.prompt(text) for text in subject.prompts] * GRAPH_ROWS
    backbone.add_adapter(POLICY, subject.config.lora)
    found = []
    for graphs in (False, True):
        backbone.graphs = graphs
        rng = torch.Generator().manual_seed(0)
        found.append(draw_responses(backbone, POLICY, prompts, Sampling(GRAPH_TOKENS), rng))
    same = sum(a.ids == b.ids for a, b in zip(*found, strict=True)) / len(prompts)
    # A draw within rounding of two tokens' border may fall to either side.
    setting.graphs = same >= GRAPHS_AGREE
    yield held(
        "decoding as graphs against the plain loop, float32",
        f"{same:.1%} of {len(prompts)} responses alike",
        f"≥ {GRAPHS_AGREE:.0%}",
        setting.graphs,
        alike=same,
    )


def _subject(device: str, dtype: str) -> Subject:
    overrides = [f"model.device={device}", f"model.dtype={dtype}", f"ppo.max_new_tokens={TOKENS}"]
    return load_subject(load_config("testbed", overrides))


def _doctor(subject: Subject, dtype: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        findings = examine(subject, Path(folder), lambda finding: None, ABOUT_THE_MACHINE)
    counts = Counter(finding.status for finding in findings)
    failed = [finding.name for finding in findings if finding.status == "FAIL"]
    listed = ", ".join(f"{counts[status]} {status}" for status in ("pass", "warn", "FAIL"))
    return held(
        f"doctor, {dtype}",
        listed + (f": {', '.join(failed)}" if failed else ""),
        "no FAIL",
        not failed,
        findings={f.name: f"{f.status}: {f.measured}" for f in findings},
    )


@torch.no_grad()
def _packed(subject: Subject, dtype: str) -> Row:
    what, goal = f"packed against padded, {dtype}", tolerance(subject.backbone.model.dtype).logprob
    backbone, batch = subject.backbone, subject.rollout.batch
    if not backbone.packs:
        return held(what, "the model does not pack here", f"≤ {goal:g} nats", ok=False)
    packed = backbone.logprobs(batch, PROBE)
    own, backbone.lay_out = backbone.lay_out, Padded
    try:
        padded = backbone.logprobs(batch, PROBE)
    finally:
        backbone.lay_out = own
    apart = float((packed - padded).abs().max())
    return held(what, f"{apart:.1e} nats", f"≤ {goal:g} nats", apart <= goal, nats=apart)


def _gradients(subject: Subject, reference: Subject, dtype: str) -> Row:
    """One step's gradients from the same tokens, relative to their norm on the CPU."""
    rollout = reference.rollout
    expected, weights = step_gradients(reference, rollout, None)
    found, _ = step_gradients(subject, _moved(rollout, subject.backbone.device), weights)
    apart = float((found - expected).norm() / expected.norm())
    goal = FLOAT32_GRADIENTS if dtype == "float32" else subject.tolerance.relative
    return held(
        f"gradients of a token_ppo step, {dtype}, against float32 on the CPU",
        f"{apart:.1e} of their norm",
        f"≤ {goal:g}",
        apart <= goal,
        relative=apart,
    )


def step_gradients(
    subject: Subject, rollout: Rollout, weights: list[Tensor] | None
) -> tuple[Tensor, list[Tensor]]:
    """Gradients that policy and value are given in one step, flattened, and the adapters' weights.

    Args:
        subject: whose model.
        rollout: the tokens, on its device.
        weights: of the adapters; None: as they start, the policy's and value's stirred.
    """
    trainer = subject.trainer(stirred=True, rollout_logprobs="forward", max_grad_norm=None)
    ours = [p for name in (PROBE, POLICY, VALUE) for p in subject.backbone.parameters(name)]
    if weights is not None:
        set_values(ours, weights)
    weights = [p.detach().cpu().clone() for p in ours]
    experience, _ = trainer.experience(rollout, subject.config.ppo.kl_coef)
    with gradients() as steps:
        trainer.update(experience, policy=True)
    return torch.cat(steps).cpu(), weights


def _moved(rollout: Rollout, device: torch.device) -> Rollout:
    parts = ("batch", "finished", "logprobs", "entropies")
    return replace(rollout, **{part: getattr(rollout, part).to(device) for part in parts})
