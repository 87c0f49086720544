"""Will it fit, will it be written down, and is it on the fast path?"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from bench.doctor import budget
from bench.doctor.budget import COMFORT, GIB, PPO_RUN, Count, Counter, Lengths, remedy
from bench.doctor.findings import Finding, held
from bench.doctor.subject import PROBE, Subject
from bench.models.backbone import base_of

# Policy, value, reward model, and PPO's checkpoint twice (the old one goes when the new one is
# there): weights and AdamW's two moments of policy and value, and the best of both.
ADAPTERS_STORED = 3 + 2 * (2 * 3 + 2)


def memory(subject: Subject) -> Finding:
    """What each stage holds at most, by part, against what is there (`bench.doctor.budget`)."""
    counter, there = memory_counter(subject), memory_there(subject)
    try:
        counts = [counter.stage(name) for name in PPO_RUN]
    except budget.Uncountable as error:
        return Finding("warn", str(error), "watch the peak of a short run's record")
    worst = max(counts, key=lambda count: count.total)
    fits = worst.total <= COMFORT * there
    return held(
        fits,
        f"at most {worst.total / GIB:.2g} GiB, {there / GIB:.3g} GiB there; in GiB, "
        + "; ".join(map(_line, counts)),
        ""
        if fits
        else f"{worst.stage} is {'too large' if worst.total > there else 'close'}: "
        + remedy(counter, worst.stage, there),
        otherwise="FAIL" if worst.total > there else "warn",
    )


def _line(count: Count) -> str:
    parts = ", ".join(f"{part} {size / GIB:.2g}" for part, size in count.parts.items() if size)
    return f"{count.stage} {count.total / GIB:.2g} in {count.doing} ({parts})"


def memory_counter(subject: Subject) -> Counter:
    """Counts what the run on the subject's model would hold."""
    backbone = subject.backbone
    lengths = Lengths.of(subject.config, subject.suite, backbone.tokens)
    return Counter(subject.config, base_of(backbone.model).config, lengths, backbone.device)


def memory_there(subject: Subject) -> float:
    """Bytes that the run could have: what is free, and what this process holds of it."""
    device = subject.backbone.device
    loaded = _base_bytes(subject) if device.type == "cpu" else 0
    return budget.memory_there(device) + loaded


def disk(subject: Subject, store: Path) -> Finding:
    """Room for what one run stores: the SFT model, adapters and checkpoints."""
    place = next(folder for folder in (store, *store.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    needed = _base_bytes(subject) + ADAPTERS_STORED * _adapter_bytes(subject)
    if subject.config.sft.full and subject.config.sft.steps != 0:
        # Before there are adapters: full SFT's checkpoint, three float32 numbers a weight, twice.
        needed = max(needed, _base_bytes(subject) + 2 * 12 * _weights(subject))
    return held(
        2 * needed <= free,
        f"a run stores about {needed / GIB:.2g} GiB, {free / GIB:.3g} GiB free at {place}",
        "make room, or store elsewhere with --store DIR or BENCH_STORE",
        otherwise="FAIL" if needed > free else "warn",
    )


def speed(subject: Subject) -> Finding:
    """Device and precision are a pair that is fast."""
    device, dtype = subject.backbone.device.type, subject.backbone.model.dtype
    remedy = ""
    if device == "cpu" and torch.cuda.is_available():
        remedy = "there is a GPU: model.device=cuda"
    elif device == "cpu" and dtype != torch.float32:
        remedy = "bfloat16 is emulated on most CPUs: model.dtype=float32 is faster"
    elif device == "cuda" and dtype == torch.float32:
        remedy = "float32 misses the GPU's fast path: model.dtype=bfloat16 unless it is on purpose"
    name = str(dtype).removeprefix("torch.")
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    return held(not remedy, f"{name} on {device}{threads}", remedy, otherwise="warn")


def of_base(name: str) -> bool:
    """Whether a parameter's name is the base's, not an adapter's."""
    return ".lora_" not in name


def _weights(subject: Subject) -> int:
    """How many weights the base has."""
    named = subject.backbone.model.named_parameters()
    return sum(p.numel() for name, p in named if of_base(name))


def _base_bytes(subject: Subject) -> int:
    named = subject.backbone.model.named_parameters()
    return sum(p.nbytes for name, p in named if of_base(name))


def _adapter_bytes(subject: Subject) -> int:
    return sum(p.nbytes for p in subject.backbone.parameters(PROBE))
