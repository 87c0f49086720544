"""Work of every stage of a run, counted from its configuration, and how long a device takes for it.

A part of a stage takes the longer of its products and its reading, and what every operator call
costs beside them:

    seconds = FLOPs / rate + max(decoding's FLOPs / rate, bytes / bandwidth) + calls * call_s

Every text is taken to have its full length. What a suite, a judge or an editor does beside the
model is not counted, nor the probes of a reward model. `benchmarks.scale` fits the rates of a CPU;
those of GPUs are assumed: docs/scale.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from bench.config.run import RunConfig
from bench.doctor.budget import Counter
from bench.doctor.footprint import ADAPTER
from bench.doctor.work import Row, Weights, forward_flops, read_bytes, update_flops
from bench.grid import Grid
from bench.models.fast.packing import may_pack
from bench.models.heads import SCORING_CHUNK

# Operators that one layer calls in a forward pass, without and with an adapter; a backward has two
# for each. Counted on a Llama in float32 (36 and 72) and bfloat16 (39 and 88), views left out.
PLAIN, ADAPTED = 36, 80


@dataclass(frozen=True)
class Device:
    """What a device does in a second, of what it could at most.

    Attributes:
        name: for people.
        flops: of the products in training, scoring and reading prompts.
        decoded: FLOPs of the products while tokens are drawn, which have few rows.
        bandwidth: bytes read while tokens are drawn.
        call_s: seconds that an operator call costs beside its work.
    """

    name: str
    flops: float
    decoded: float
    bandwidth: float
    call_s: float


# Fitted by `python -m benchmarks.scale` (benchmarks/results/scale.json): one thread of an AMD EPYC.
CPU = Device("1 CPU core", 4.94e10, 3.63e10, 8.17e9, 6.98e-5)
# FLOP/s of dense bfloat16 products and bytes/s of the memory, by the vendor's data sheets.
PEAKS = {"A100": (312e12, 2.0e12), "H100": (989e12, 3.35e12)}
# Shares of them, and seconds an operator call in an eager loop: assumed, and not measured here.
ASSUMED = {"slow": (0.30, 0.40, 10e-6), "expected": (0.45, 0.60, 5e-6), "fast": (0.55, 0.80, 3e-6)}


def gpu(name: str, case: str = "expected") -> Device:
    """A GPU of `PEAKS` at the shares that a case of `ASSUMED` takes it to reach."""
    (flops, bandwidth), (products, reading, call_s) = PEAKS[name], ASSUMED[case]
    return Device(name, flops * products, flops * products, bandwidth * reading, call_s)


@dataclass(frozen=True)
class Part:
    """One kind of work of a stage.

    Attributes:
        stage, doing: its names.
        tokens: that go through the model, a prompt's and a response's, each pass over them again.
        flops: of use.
        again: FLOPs of what checkpointing computes a second time: work that is done, of no use.
        decoded: FLOPs of use while tokens are drawn, not in `flops`.
        read: bytes while tokens are drawn.
        calls: of operators.
    """

    stage: str
    doing: str
    tokens: float
    flops: float
    again: float = 0.0
    decoded: float = 0.0
    read: float = 0.0
    calls: float = 0.0

    def seconds(self, device: Device) -> float:
        """Estimated."""
        products = (self.flops + self.again) / device.flops
        drawing = max(self.decoded / device.decoded, self.read / device.bandwidth)
        return products + drawing + self.calls * device.call_s


def demonstrations(config: RunConfig) -> int:
    """Demonstrations that SFT goes through, repeated ones counted again."""
    if config.sft.epochs is not None:
        return config.sft.epochs * config.sft.demonstrations
    return (config.sft.steps or 0) * config.sft.batch_size


def work(
    counter: Counter, *, brings_pairs: bool, best_of: Mapping[str, int] = MappingProxyType({})
) -> list[Part]:
    """The parts of all stages of a run that trains a reward model and then PPO.

    Args:
        counter: of the run's memory: it has the model's shape and the texts' lengths.
        brings_pairs: whether the suite has the pairs; else they are sampled.
        best_of: by the stages that keep the best of several draws, how many.
    """
    return list(_Stages(counter, brings_pairs, best_of))


def offline_work(counter: Counter, best_of: Mapping[str, int] = MappingProxyType({})) -> list[Part]:
    """The parts of the stage that trains a policy without a rollout; arguments as of `work`."""
    return list(_Stages(counter, brings_pairs=False, best_of=best_of).offline())


class _Stages:
    """Goes through the stages in the order of a run."""

    def __init__(self, counter: Counter, brings_pairs: bool, best_of: Mapping[str, int]) -> None:
        self.best_of = best_of
        self.counter, self.config, self.brings_pairs = counter, counter.config, brings_pairs
        self.weights = Weights.of(counter.foot.peft, ADAPTER)
        self.exact = counter.dtype == torch.float32
        self.bytes = counter.dtype.itemsize
        self.base = self.bytes * (
            self.weights.layers * (self.weights.attention + self.weights.mlp) + self.weights.head
        )

    def __iter__(self) -> Iterator[Part]:
        config, most = self.config, self.counter.lengths
        if config.sft.path is None and (n := demonstrations(config)):
            rows = min(config.sft.microbatch_size or config.sft.batch_size, config.sft.batch_size)
            yield self._learned("sft", n, rows, most.demonstration, full=config.sft.full)
        pairs, wanted = config.preferences, config.reward_model
        n = (pairs.pairs + pairs.held_out) * pairs.responses
        n = wanted.normalisation_samples if self.brings_pairs else n
        sampled = most.prompts["preference"], pairs.max_new_tokens
        yield self._drawn("samples", n, self.counter.decoded, sampled)
        if wanted.path is None:
            yield self._reward_model()
        row = self._compared(wanted.max_length)
        yield self._scored("reward_model", wanted.normalisation_samples, row, "normalising")
        yield self._scored("rm_evaluation", 2 * 2 * pairs.held_out, row)  # original and edited
        for stage, k in self.best_of.items():
            yield from self._best(stage, k)
        yield from self._ppo()
        if "outputs" not in self.best_of:
            yield from self._outputs()

    def _compared(self, most: int) -> Row:
        """A prompt and response of a pair; a response is cut before a prompt is."""
        new = self.config.preferences.max_new_tokens
        prompt = min(self.counter.lengths.prompts["preference"], most - min(new, most // 2))
        return prompt, min(new, most - prompt)

    def _reward_model(self) -> Part:
        config, k = self.config.reward_model, self.config.preferences.responses
        prompt, new = self._compared(config.max_length)
        if may_pack(self.counter.settings):  # a prompt is computed once for all its responses
            prompt = -(-prompt // k)
        rows = k * min(config.microbatch_size or config.batch_size, config.batch_size)
        n = k * self.config.preferences.pairs * config.epochs
        return self._learned("reward_model", n, rows, (prompt, new), head=False)

    def offline(self) -> Iterator[Part]:
        """Of a loss that reads the reference."""
        config, pairs, ppo = self.config.offline, self.config.preferences, self.config.ppo
        groups, k, row = pairs.pairs, pairs.responses, self._compared(config.max_length)
        if "best_responses" in self.best_of:
            groups, k = ppo.prompts, 1
            row = self.counter.lengths.prompts["ppo"], ppo.max_new_tokens
        if may_pack(self.counter.settings):  # a prompt is computed once for all its responses
            row = -(-row[0] // k), row[1]
        n = k * groups * config.epochs
        rows = k * min(config.microbatch_size or config.batch_size, config.batch_size)
        yield self._scored("offline", n, row, "the reference", heads=1, states=0)
        yield self._learned("offline", n, rows, row)
        steps = config.epochs * -(-groups // config.batch_size)
        # Each has one sample more, for the KL.
        yield from self._validations("offline", steps, config.eval_every, samples=2)

    def _validations(self, stage: str, steps: int, every: int, samples: int = 1) -> Iterator[Part]:
        evaluation = self.config.evaluation
        if prompts := evaluation.validation_prompts:
            n = samples * (1 + -(-steps // every)) * prompts
            row = self.counter.lengths.prompts["validation"], evaluation.max_new_tokens
            at_once = min(self.counter.decoded, prompts)
            yield self._drawn(stage, n, at_once, row, "validation", adapted=not self.exact)

    def _ppo(self) -> Iterator[Part]:
        config, most = self.config.ppo, self.counter.lengths
        row = most.prompts["ppo"], config.max_new_tokens
        steps = config.steps + config.value_warmup_steps
        n, shared = steps * config.batch_size, config.value_model == "shared"
        at_once = min(config.rollout_batch_size or config.batch_size, config.batch_size)
        merges = self.exact if config.merge_rollouts is None else config.merge_rollouts
        yield self._drawn("ppo", n, at_once, row, "rollouts", adapted=not merges)
        kept = config.rollout_logprobs
        again = not self.exact if kept == "auto" else kept == "forward"
        # The reference and, unless generation's own numbers are kept, the policy say
        # log-probabilities; the reward model and the value read states.
        says, reads = 1 + again, 1 if shared and not again else 2
        yield self._scored("ppo", n, row, "scoring", heads=says, states=reads)
        rows = config.minibatch_size
        if config.minibatch_tokens is not None:
            rows = max(1, config.minibatch_tokens // row[1])
        rows = min(config.microbatch_size or rows, rows)
        # While the value warms up the policy rests.
        times = config.steps * config.batch_size * config.epochs
        yield self._learned("ppo", times, rows, row, doing="updates of the policy")
        if not shared:
            doing = "updates of the value"
            yield self._learned("ppo", n * config.epochs, rows, row, head=False, doing=doing)
        if config.ptx_coef > 0:
            shown = config.ptx_batch_size * -(-times // config.minibatch_size)
            yield self._learned("ppo", shown, rows, most.demonstration, doing="PPO-ptx")
        yield from self._validations("ppo", config.steps, config.eval_every)

    def _outputs(self) -> Iterator[Part]:
        wanted, most = self.config.evaluation, self.counter.lengths
        row = most.prompts["test"], wanted.max_new_tokens
        # Of each checkpoint one more sample, and what policy and reference say of it: the KL.
        matched = wanted.matched_kl is not None
        samples = wanted.samples + wanted.greedy + matched + (1 + matched)
        n = wanted.test_prompts * samples + wanted.unseen_prompts
        yield self._drawn("outputs", n, self.counter.decoded, row, adapted=not self.exact)
        n = wanted.test_prompts * (1 + matched)
        yield self._scored("outputs", n, row, "the KL", heads=2, states=0)

    def _best(self, stage: str, k: int) -> Iterator[Part]:
        """k draws of the SFT model for each response, and their scores by a reward model."""
        config, most = self.config, self.counter.lengths
        wanted = config.evaluation
        row, n = (most.prompts["ppo"], config.ppo.max_new_tokens), k * config.ppo.prompts
        if stage == "outputs":
            row = most.prompts["test"], wanted.max_new_tokens
            n = k * (wanted.test_prompts * wanted.samples + wanted.unseen_prompts)
        yield self._drawn(stage, n, self.counter.decoded, row)
        yield self._scored(stage, n, row)

    def _drawn(
        self,
        stage: str,
        n: int,
        rows: int,
        row: Row,
        doing: str = "decoding",
        adapted: bool = False,
    ) -> Part:
        """Responses, `rows` at a time: a pass over the prompts, then one a token."""
        weights, (prompt, new) = self.weights, row
        prompts = n * forward_flops(weights, [(prompt, 0)], head=False, adapter=adapted)
        whole = n * forward_flops(weights, [row], head=True, adapter=adapted)
        passes = -(-n // rows) * new
        context = prompt + new / 2
        read = read_bytes(self.base, self.bytes * weights.cached, n * new / passes, context)
        # As a graph a token's operators are started by one call.
        calls = 0 if self.config.model.cuda_graphs else ADAPTED if adapted else PLAIN
        return Part(
            stage,
            doing,
            n * sum(row),
            prompts,
            decoded=whole - prompts,
            read=passes * read,
            calls=passes * weights.layers * calls,
        )

    def _scored(
        self, stage: str, n: int, row: Row, doing: str = "scoring", heads: int = 0, states: int = 1
    ) -> Part:
        """Passes without gradients over n responses; so many with log-probabilities, or states."""
        weights, passes = self.weights, heads + states
        flops = heads * forward_flops(weights, [row], head=True)
        flops += states * forward_flops(weights, [row], head=False)
        calls = -(-n // SCORING_CHUNK) * passes * weights.layers * ADAPTED
        return Part(stage, doing, n * passes * sum(row), n * flops, calls=calls)

    def _learned(
        self,
        stage: str,
        n: int,
        rows: int,
        row: Row,
        *,
        head: bool = True,
        full: bool = False,
        doing: str = "training",
    ) -> Part:
        """Forward and backward of n responses, `rows` at a time.

        With all weights trained a backward costs two forwards: gradients of weights, too.
        """
        weights, recomputes = self.weights, self.config.model.gradient_checkpointing
        forward = forward_flops(weights, [row], head=head, adapter=not full)
        flops = 3 * forward if full else update_flops(weights, [row], head=head)
        again = forward_flops(weights, [row], head=False, adapter=not full) if recomputes else 0
        each = (PLAIN if full else ADAPTED) * (3 + recomputes)
        calls = -(-n // rows) * weights.layers * each
        return Part(stage, doing, n * sum(row), n * flops, n * again, calls=calls)


def in_table(
    parts: Sequence[Part], methods: int, seeds: int, *, one_sft: bool = True
) -> list[Part]:
    """The work of a table of methods and seeds, whose stages are shared as the store shares them.

    Samples are made once a seed, SFT once for all or (not `one_sft`) once a seed, too; each method
    and seed has the rest to itself.
    """
    times: Mapping[str, int] = {"sft": 1 if one_sft else seeds, "samples": seeds}
    return [
        replace(
            part,
            **{
                name: times.get(part.stage, methods * seeds) * getattr(part, name)
                for name in ("tokens", "flops", "again", "decoded", "read", "calls")
            },
        )
        for part in parts
    ]


def hours(parts: Sequence[Part], device: Device) -> float:
    """Of all parts, estimated."""
    return sum(part.seconds(device) for part in parts) / 3600


def about(seconds: float) -> str:
    """A time with one significant digit: nothing more is known of it."""
    size, unit = next(
        ((size, unit) for size, unit in ((3600, "h"), (60, "min")) if seconds >= size), (1, "s")
    )
    return f"{float(f'{seconds / size:.1g}'):.0f} {unit}" if seconds >= 1 else "< 1 s"


def table(parts: Sequence[Part], devices: Sequence[Device]) -> Grid:
    """Tokens, FLOPs and estimated time of every part, and the time of all."""
    rows = [
        (
            part.stage,
            part.doing,
            f"{part.tokens / 1e6:.2g}",
            f"{(part.flops + part.again + part.decoded) / 1e12:.2g}",
            *(about(part.seconds(device)) for device in devices),
        )
        for part in parts
    ]
    total = [about(3600 * hours(parts, device)) for device in devices]
    notes = ["every text at its full length; rates of docs/scale.md, of GPUs assumed"]
    headers = ["stage", "what", "million tokens", "TFLOP", *(device.name for device in devices)]
    title = "Work at most, and about how long it takes (an estimate)"
    return Grid(title, headers, [*rows, ("all", "", "", "", *total)], notes=notes, words=True)
