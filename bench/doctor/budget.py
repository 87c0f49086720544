"""Memory by part for every stage of a run, counted before any of it is spent.

Parts: the base; adapters, their gradients and AdamW's two moments, float32; the cache of keys and
values, with a merged rollout's copy of weights; what a pass keeps (activations); what the head adds
(logits). A stage is as large as the largest thing that it does. What does not fit is answered with
the setting that helps, which is found by counting again with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import psutil
import torch

from bench.config.run import LoRAConfig, RunConfig
from bench.doctor.footprint import Footprint
from bench.models import processes
from bench.models.context import context_length
from bench.models.devices import pick_device, pick_dtype
from bench.models.fast.packing import may_pack
from bench.models.heads import SCORING_CHUNK
from bench.models.rollout import Sampling
from bench.stages.checks import context_needs

if TYPE_CHECKING:
    from bench.models.tokens import Tokens

GIB = 2**30
COMFORT = 0.8  # share of the memory above which a run may fail where something else grows a little
PARTS = ("base", "adapters", "gradients", "optimiser", "cache", "activations", "logits")
# Of a run with PPO, which `doctor` looks at; and all that are counted.
PPO_RUN = ("sft", "samples", "reward_model", "rm_evaluation", "ppo", "outputs", "judgement")
STAGES = (*PPO_RUN[:4], "best_responses", "offline", *PPO_RUN[4:])
LONGEST = 32  # demonstrations, the longest as texts, of which the longest as tokens is looked for
DECODED = Sampling(1).batch_size  # outside of PPO's rollouts, where nothing else is said

# What can be lowered, most welcome first; a number is halved until it helps, down to 1.
Knob = tuple[str, str, Any]
_AGAIN: Knob = ("model", "gradient_checkpointing", True)
_FEWER: Knob = ("model", "decode_batch_size", None)
_HALF: Knob = ("model", "dtype", "bfloat16")
KNOBS: Mapping[str, tuple[Knob, ...]] = {
    "sft": (("sft", "microbatch_size", None), _AGAIN, ("sft", "full", False), _HALF),
    "samples": (_FEWER, _HALF, ("preferences", "max_new_tokens", None)),
    "best_responses": (_FEWER, _HALF, ("ppo", "max_new_tokens", None)),
    "reward_model": (("reward_model", "microbatch_size", None), _AGAIN, _HALF),
    "offline": (("offline", "microbatch_size", None), _FEWER, _AGAIN, _HALF),
    "ppo": (
        ("ppo", "rollout_batch_size", None),
        ("ppo", "microbatch_size", None),
        _FEWER,  # of the responses to validation prompts
        _AGAIN,
        ("ppo", "merge_rollouts", False),
        _HALF,
    ),
    "outputs": (_FEWER, _HALF, ("evaluation", "max_new_tokens", None)),
}
# What a microbatch or a rollout batch is where none is said.
_WHOLE = {
    ("sft", "microbatch_size"): "batch_size",
    ("reward_model", "microbatch_size"): "batch_size",
    ("offline", "microbatch_size"): "batch_size",
    ("ppo", "rollout_batch_size"): "batch_size",
    ("ppo", "microbatch_size"): "minibatch_size",
}


class Uncountable(Exception):
    """What a model computes depends on its numbers, as of a mixture of experts."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest rows that a run may meet.

    Attributes:
        prompts: of each split's prompts.
        demonstration: of a demonstration, prompt and response.
    """

    prompts: Mapping[str, int]
    demonstration: tuple[int, int]

    @classmethod
    def of(cls, config: RunConfig, suite: Any, tokens: Tokens) -> Lengths:
        """Those of the suite's texts."""
        needs = context_needs(config, suite, tokens)
        reads = config.sft.path is None or config.ppo.ptx_coef > 0
        shown = (
            suite.demonstrations(config.sft.demonstrations, config.seeded_sft.seed) if reads else []
        )
        longest = sorted(shown, key=lambda row: len(row[0]) + len(row[1]))[-LONGEST:]
        found = [(len(tokens.prompt(p)), len(tokens.response(r))) for p, r in longest]
        kept = [pair for pair in found if sum(pair) <= config.sft.max_length]
        demonstration = max(kept or found, key=sum, default=(0, 0))
        return cls({need.split: need.prompt for need in needs}, demonstration)


@dataclass(frozen=True)
class Count:
    """What a stage holds at most.

    Attributes:
        stage: its name.
        doing: what it does then.
        parts: bytes by part (`PARTS`).
    """

    stage: str
    doing: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def cells(self) -> list[str]:
        """The parts and their sum in GiB, for a table."""
        return [_gib(self.parts.get(part, 0.0)) for part in PARTS] + [_gib(self.total)]


def _gib(size: float) -> str:
    return f"{size / GIB:.2g}" if size else ""


class Counter:
    """Counts the stages of one configuration.

    Args:
        config: of the run.
        settings: of the model (transformers).
        lengths: of the longest rows.
        device: where the model runs.
        paying: adapters that PPO holds beside its own: of the models that its rewards are made of.
    """

    def __init__(
        self,
        config: RunConfig,
        settings: Any,
        lengths: Lengths,
        device: torch.device,
        *,
        paying: int = 1,
    ) -> None:
        self.config, self.settings, self.lengths, self.device = config, settings, lengths, device
        self.paying = paying
        self.dtype = pick_dtype(config.model.dtype, device)
        self.foot = self._footprint(self.dtype)
        # Embedding and head are whole in every process: with shares this is a little too little.
        self.shares = processes.world() if config.model.shard else 1
        self.base = self.foot.base / self.shares
        self.most = context_length(settings)
        self.decoded = config.model.decode_batch_size or DECODED

    def having(self, config: RunConfig) -> Counter:
        """The counter of another configuration of the same run."""
        return Counter(config, self.settings, self.lengths, self.device, paying=self.paying)

    def stage(self, name: str) -> Count:
        """The largest of what a stage does.

        Raises:
            Uncountable: the model cannot go through its passes without numbers.
        """
        try:
            phases = dict(getattr(self, f"_{name}")())
        except (NotImplementedError, RuntimeError) as error:
            why = " ".join(str(error).split())[:100]
            raise Uncountable(
                f"memory is not counted: a {self.settings.model_type} model needs its weights for "
                f"that ({why})"
            ) from error
        doing, parts = max(phases.items(), key=lambda item: sum(item[1].values()))
        return Count(name, doing, parts)

    def _footprint(self, dtype: torch.dtype) -> Footprint:
        recomputes = self.config.model.gradient_checkpointing
        lora = self.config.lora.model_dump_json()
        return _footprint(_Settings(self.settings), lora, dtype, recomputes)

    def _sft(self) -> Iterable[tuple[str, dict[str, float]]]:
        config = self.config.sft
        if config.path is not None or config.steps == 0:
            yield "loading", {"base": self.base}
            return
        prompt, new = self.lengths.demonstration
        rows = min(config.microbatch_size or config.batch_size, config.batch_size)
        if not config.full:
            parts = self._adapters(1) | self._learning(1) | self._pass(rows, prompt, new, True)
        else:  # in float32, whatever the base is in afterwards
            foot = self._footprint(torch.float32)
            size = 4.0 * foot.weights / self.shares
            parts = {"base": size, "gradients": size, "optimiser": 2 * size}
            parts |= self._pass(rows, prompt, new, True, foot=foot, full=True)
        yield "a step", parts

    def _samples(self) -> Iterable[tuple[str, dict[str, float]]]:
        new = self.config.preferences.max_new_tokens
        yield "decoding", self._adapters(0) | self._decoding(self.decoded, "preference", new)

    def _reward_model(self) -> Iterable[tuple[str, dict[str, float]]]:
        config, k = self.config.reward_model, self.config.preferences.responses
        if config.path is not None:  # a classifier's own weights are not counted
            yield "scoring", self._adapters(1) | self._scoring(*self._compared(), False)
            return
        groups = min(config.microbatch_size or config.batch_size, config.batch_size)
        prompt, new = self._compared()
        if may_pack(self.settings):  # a prompt is computed once for all its responses
            prompt = -(-prompt // k)
        parts = self._adapters(1) | self._learning(1) | self._pass(k * groups, prompt, new, False)
        yield "a step", parts
        yield "scoring", self._adapters(1) | self._scoring(*self._compared(), False)

    def _best_responses(self) -> Iterable[tuple[str, dict[str, float]]]:
        prompt, new = self.lengths.prompts["ppo"], self.config.ppo.max_new_tokens
        yield "decoding", self._adapters(1) | self._decoding(self.decoded, "ppo", new)
        yield "scoring", self._adapters(1) | self._scoring(prompt, new, False)

    def _offline(self) -> Iterable[tuple[str, dict[str, float]]]:
        """Of the loss that needs most: one that reads both models' whole distributions."""
        config, k = self.config.offline, self.config.preferences.responses
        held = self._adapters(2)  # the policy, and a copy of the best
        rows = k * min(config.microbatch_size or config.batch_size, config.batch_size)
        step = self._pass(rows, *self._compared(config.max_length), True)
        yield "a step", held | self._learning(1) | step | {"logits": 2 * step["logits"]}
        yield from self._validation(held | self._learning(1, gradients=False))

    def _validation(self, held: dict[str, float]) -> Iterable[tuple[str, dict[str, float]]]:
        evaluation = self.config.evaluation
        if prompts := min(self.decoded, evaluation.validation_prompts):
            most = evaluation.max_new_tokens
            yield "validation", held | self._decoding(prompts, "validation", most, adapted=True)

    def _rm_evaluation(self) -> Iterable[tuple[str, dict[str, float]]]:
        yield "scoring", self._adapters(1) | self._scoring(*self._compared(), False)

    def _ppo(self) -> Iterable[tuple[str, dict[str, float]]]:
        config = self.config.ppo
        new, prompt = config.max_new_tokens, self.lengths.prompts["ppo"]
        learners = 1 if config.value_model == "shared" else 2
        # Those that pay, the learners', and a copy of the best checkpoint's.
        held = self._adapters(self.paying + 2 * learners)
        resting = held | self._learning(learners, gradients=False)
        learning = held | self._learning(learners)
        at_once = min(config.rollout_batch_size or config.batch_size, config.batch_size)
        merge = config.merge_rollouts
        if config.engine == "ours":
            rollouts = self._decoding(at_once, "ppo", new, adapted=True, merge=merge)
            yield "decoding", resting | rollouts
        yield from self._validation(resting)
        yield "scoring", resting | self._scoring(prompt, new, True)
        rows = config.minibatch_size
        if config.minibatch_tokens is not None:
            rows = max(1, config.minibatch_tokens // new)
        rows = min(config.microbatch_size or rows, rows)
        yield "an update", learning | self._pass(rows, prompt, new, True)
        if config.ptx_coef > 0:
            shown = min(config.microbatch_size or config.ptx_batch_size, config.ptx_batch_size)
            yield "PPO-ptx", learning | self._pass(shown, *self.lengths.demonstration, True)

    def _outputs(self) -> Iterable[tuple[str, dict[str, float]]]:
        wanted = self.config.evaluation
        new = wanted.max_new_tokens
        for split in ("test", "unseen") if wanted.unseen_prompts else ("test",):
            decoding = self._decoding(self.decoded, split, new, adapted=True)
            yield f"decoding, {split}", self._adapters(1) | decoding

    def _judgement(self) -> Iterable[tuple[str, dict[str, float]]]:
        new = self.config.evaluation.max_new_tokens
        prompt = self.lengths.prompts["test"]
        yield "scoring", self._adapters(1) | self._scoring(prompt, new, False)

    def _compared(self, most: int | None = None) -> tuple[int, int]:
        """Prompt and response tokens of what a reward model reads; or of pairs up to `most`."""
        prompt = self.lengths.prompts["preference"]
        most = most or self.config.reward_model.max_length
        return prompt, max(1, min(self.config.preferences.max_new_tokens, most - prompt))

    def _adapters(self, n: int) -> dict[str, float]:
        return {"base": self.base, "adapters": 4.0 * n * self.foot.adapter}

    def _learning(self, n: int, *, gradients: bool = True) -> dict[str, float]:
        size = 4.0 * n * self.foot.adapter
        return {"gradients": size if gradients else 0.0, "optimiser": 2 * size}

    def _width(self, prompt: int, new: int) -> int:
        return prompt + new if self.most is None else min(prompt + new, self.most)

    def _pass(
        self,
        rows: int,
        prompt: int,
        new: int,
        logits: bool,
        *,
        foot: Footprint | None = None,
        full: bool = False,
    ) -> dict[str, float]:
        foot, width = foot or self.foot, self._width(prompt, new)
        layers = foot.update(rows, width, new, logits=False, full=full)
        whole = foot.update(rows, width, new, logits=True, full=full) if logits else layers
        return {"activations": layers, "logits": max(0.0, whole - layers)}

    def _scoring(self, prompt: int, new: int, logits: bool) -> dict[str, float]:
        width = self._width(prompt, new)
        layers = self.foot.scoring(SCORING_CHUNK, width, new, logits=False)
        whole = self.foot.scoring(SCORING_CHUNK, width, new, logits=True) if logits else layers
        return {"activations": layers, "logits": max(0.0, whole - layers)}

    def _decoding(
        self, rows: int, split: str, new: int, *, adapted: bool = False, merge: bool | None = None
    ) -> dict[str, float]:
        prompt = self.lengths.prompts[split]
        cache, reading = self.foot.generation(rows, prompt, new)
        merges = self.dtype == torch.float32 if merge is None else merge
        copied = self.foot.adapted if adapted and merges else 0.0
        return {
            "cache": cache + copied,
            "activations": reading,
            "logits": max(0.0, self.foot.drawing(rows) - reading),  # after the prompts' pass
        }


class _Settings:
    """A model's configuration as part of a key."""

    def __init__(self, settings: Any) -> None:
        self.settings, self._text = settings, settings.to_json_string(use_diff=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Settings) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@cache
def _footprint(settings: _Settings, lora: str, dtype: torch.dtype, recomputes: bool) -> Footprint:
    shape = LoRAConfig.model_validate_json(lora)
    return Footprint(settings.settings, shape, dtype, recomputes=recomputes)


def remedy(counter: Counter, stage: str, there: float) -> str:
    """The settings that make a stage fit, each found by counting again with it; or that none does.

    Args:
        counter: of the configuration that does not fit.
        stage: which of its stages.
        there: bytes.
    """
    changes: dict[str, Any] = {}
    now = counter.stage(stage)
    while now.total > COMFORT * there:
        # The first that is enough, else the one that brings most: others may have to follow it.
        best: _Turned | None = None
        for knob in KNOBS.get(stage, ()):
            tried = _turned(counter, stage, knob, there)
            if tried and (best is None or tried.count.total < best.count.total):
                best = tried
            if best and best.count.total <= COMFORT * there:
                break
        if best is None or best.count.total > 0.99 * now.total:
            break
        changes[best.field] = best.value
        counter, now = best.counter, best.count
    listed = ", ".join(f"{field}={str(value).lower()}" for field, value in changes.items())
    if now.total <= there:
        return f"set {listed}"
    largest = max(now.parts, key=lambda part: now.parts[part])
    return (
        f"nothing that could be set is enough{f', not even {listed}' if listed else ''} (its "
        f"{largest}: {now.parts[largest] / GIB:.2g} GiB): take a smaller model.path, shorter "
        "prompts (model.prompt_max_tokens) or responses, or more memory"
    )


@dataclass(frozen=True)
class _Turned:
    """A setting that was tried: the counter with it, and what the stage then holds."""

    field: str
    value: Any
    counter: Counter
    count: Count


def _turned(counter: Counter, stage: str, knob: Knob, there: float) -> _Turned | None:
    """A knob at the mildest value that is enough, or that brings as much as its strongest."""
    section, name, wanted = knob
    config = getattr(counter.config, section)
    value = getattr(config, name)
    if wanted is not None:
        values = [wanted] if value != wanted else []
    else:
        whole = value or getattr(config, _WHOLE.get((section, name), name)) or DECODED
        values = [whole >> i for i in range(1, whole.bit_length())]
    found: list[_Turned] = []
    for one in values:
        changed = config.model_copy(update={name: one})
        other = counter.having(counter.config.model_copy(update={section: changed}))
        found.append(_Turned(f"{section}.{name}", one, other, other.stage(stage)))
        if found[-1].count.total <= COMFORT * there:
            return found[-1]
    least = min((turned.count.total for turned in found), default=0.0)
    return next((turned for turned in found if turned.count.total <= 1.01 * least), None)


def memory_there(device: torch.device) -> float:
    """Bytes that are free, and what this process holds of a GPU's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return float(psutil.virtual_memory().available)


def outline_counter(config: RunConfig, suite: Any, paying: int = 1) -> Counter:
    """The counter of a run whose model is not loaded; arguments as of `Counter`.

    Raises:
        UserError: the model's configuration or its tokenizer cannot be read.
    """
    from bench.models.loading import load_outline, load_tokenizer
    from bench.models.tokens import Tokens

    path = config.model.path or suite.model_path
    tokenizer = load_tokenizer(path, config.model)
    tokens = Tokens.chosen(tokenizer, config.model, suite.prompt_template)
    settings = load_outline(path, config.model).config
    device = pick_device(config.model.device)
    return Counter(config, settings, Lengths.of(config, suite, tokens), device, paying=paying)


def refusal(counter: Counter, counts: Iterable[Count], there: float) -> str | None:
    """What to say where a stage does not fit, with what helps; None where all do."""
    worst = max(counts, key=lambda count: count.total, default=None)
    if worst is None or worst.total <= there:
        return None
    return (
        f"{worst.stage} ({worst.doing}) needs about {worst.total / GIB:.3g} GiB of memory, "
        f"{there / GIB:.3g} GiB are there: {remedy(counter, worst.stage, there)}"
    )
