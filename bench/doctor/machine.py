"""Will it fit, will it be written down, and is it on the fast path?"""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import torch
from torch import Tensor

from bench.doctor.findings import Finding, held
from bench.doctor.subject import PROBE, Subject
from bench.models.heads import SCORING_CHUNK

GIB = 2**30
COMFORT = 0.8  # share of the memory above which a run may fail where a batch is a little longer
# Policy, reward model, and PPO's checkpoint twice (the old one goes when the new one is there):
# weights and AdamW's two moments of policy and value, and the best policy.
ADAPTERS_STORED = 2 + 2 * (2 * 3 + 1)


def memory(subject: Subject) -> Finding:
    """What the configured run needs, as far as one micro step shows, against what is there."""
    parts = memory_parts(subject)
    needed, there = sum(parts.values()), memory_there(subject)
    largest = max(parts, key=lambda name: parts[name])
    listed = ", ".join(f"{name} {size / GIB:.2g}" for name, size in parts.items())
    remedies = {
        "working": "lower ppo.microbatch_size, ppo.max_new_tokens or sft.batch_size",
        "SFT": "train SFT in an adapter with sft.full=false",
        "base": "take a smaller model.path, or model.dtype=bfloat16",
    }
    return held(
        needed <= COMFORT * there,
        f"needs about {needed / GIB:.2g} GiB ({listed}), {there / GIB:.3g} GiB there",
        f"{'too little' if needed > there else 'close'}: "
        + remedies.get(largest, "lower lora.r or name fewer lora.target_modules"),
        otherwise="FAIL" if needed > there else "warn",
    )


def memory_parts(subject: Subject) -> dict[str, float]:
    """Bytes by purpose; PPO and full SFT are never held at once, so the larger one counts.

    base + 3 adapters (policy, value, reward model) + gradients and AdamW's two moments of policy
    and value + what the largest pass works on. Full SFT holds weights, gradients and moments in
    float32: 16 bytes a weight, where PPO has the base and its adapters.
    """
    config = subject.config
    base, adapter = _base_bytes(subject), _adapter_bytes(subject)
    ppo = {"base": base, "adapters": 3.0 * adapter, "optimisers": 6.0 * adapter}
    ppo["working"] = _ppo_working_bytes(subject)
    if not (config.sft.full and config.sft.steps):
        return ppo
    rows = config.sft.batch_size * min(config.sft.max_length, subject.level.ids.shape[1])
    sft = {"SFT": 16.0 * _weights(subject), "working": rows * pass_bytes(subject)}
    return max(ppo, sft, key=lambda parts: sum(parts.values()))


def _ppo_working_bytes(subject: Subject) -> float:
    """The largest of what a micro step, scoring and generation hold.

    A micro step holds its activations; scoring the logits of `SCORING_CHUNK` rows, in the base's
    precision and twice in float32; generation keys and values, and where rollouts are merged a
    copy of the weights that carry the policy's adapter (at most all of the base).
    """
    config, model = subject.config.ppo, subject.backbone.model
    new = config.max_new_tokens
    width = new + max(len(prompt) for prompt in subject.tokens[0])
    rows = config.microbatch_size or config.minibatch_size
    if config.microbatch_size is None and config.minibatch_tokens is not None:
        rows = max(1, config.minibatch_tokens // new)
    merges = (
        model.dtype == torch.float32 if config.merge_rollouts is None else config.merge_rollouts
    )
    merged = _base_bytes(subject) if merges else 0
    vocabulary, size = model.get_output_embeddings().weight.shape[0], model.dtype.itemsize
    return max(
        rows * width * pass_bytes(subject),
        SCORING_CHUNK * new * vocabulary * (size + 8),
        config.batch_size * width * cache_bytes(subject) + merged,
    )


def pass_bytes(subject: Subject) -> float:
    """Bytes a token (padding included) that one forward and backward of the policy adds.

    On a GPU the allocator's peak; on a CPU, which has none, what autograd saves of the forward and
    the gradients of logits and log-softmax, with which the backward begins.
    """
    backbone, batch = subject.backbone, subject.level
    if backbone.device.type == "cuda":
        return _cuda_peak(subject) / batch.ids.numel()
    saved: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in backbone.model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone.logprobs(batch, PROBE)
    vocabulary = backbone.model.get_output_embeddings().weight.shape[0]
    tokens = int(batch.mask.sum()) if backbone.packs else batch.mask.numel()
    return (sum(saved.values()) + 2 * 4 * tokens * vocabulary) / batch.ids.numel()


def _cuda_peak(subject: Subject) -> int:
    """Bytes that one forward and backward of the policy add at their peak."""
    backbone, device = subject.backbone, subject.backbone.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    loss = backbone.logprobs(subject.level, PROBE).sum()
    torch.autograd.grad(loss, backbone.parameters(PROBE))
    return torch.cuda.max_memory_allocated(device) - before


@torch.no_grad()
def cache_bytes(subject: Subject) -> float:
    """Bytes of keys and values a token."""
    ids = subject.level.ids[:1]
    with subject.backbone.using(None) as model:
        cache = model(input_ids=ids, use_cache=True).past_key_values
    kept = [x for layer in cache.layers for x in vars(layer).values() if isinstance(x, Tensor)]
    return sum(x.nbytes for x in kept) / ids.numel()


def memory_there(subject: Subject) -> float:
    """Bytes that the run could have: what is free, and what this process holds of it."""
    device = subject.backbone.device
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return psutil.virtual_memory().available + _base_bytes(subject)


def disk(subject: Subject, store: Path) -> Finding:
    """Room for what one run stores: the SFT model, adapters and checkpoints."""
    place = next(folder for folder in (store, *store.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    needed = _base_bytes(subject) + ADAPTERS_STORED * _adapter_bytes(subject)
    if subject.config.sft.full and subject.config.sft.steps:
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
