"""`python -m benchmarks.scale`: the cost model's rates, fitted here, and what it says of scale.

A PPO step is timed, part by part, on random Llamas on one thread: three shapes give the rates, the
others check them. `--gpu FILE` prints docs/scale.md's tables from what `benchmarks.gpu` measured.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy.optimize import nnls
from transformers import LlamaConfig

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.doctor.budget import Counter, Lengths
from bench.doctor.footprint import ADAPTER
from bench.doctor.hours import ASSUMED, PEAKS, Device, Part, gpu, hours, in_table, work
from bench.doctor.work import Weights
from bench.llm.answers import Usage
from bench.llm.money.prices import Prices
from benchmarks.peers.ours import backbone_of, ppo_config, ppo_on
from benchmarks.report import RESULTS, origin, origin_text, table, write
from benchmarks.work import LORA, Work, causal_model, prompts

_WORK = Work(prompts=8, minibatch=8, response_tokens=32, prompt_spread=0)
FITTED = {
    "64 x 2": replace(_WORK, hidden=64, layers=2, ffn=176),
    "128 x 4": _WORK,
    "256 x 4": replace(_WORK, hidden=256, ffn=688, minibatch=4),
}
CHECKED = {
    "192 x 8, long": replace(
        _WORK, hidden=192, layers=8, ffn=512, prompt_tokens=96, response_tokens=64
    ),
    "512 x 3": replace(
        _WORK, hidden=512, layers=3, heads=8, ffn=1376, vocabulary=4096, response_tokens=16
    ),
    "96 x 12, one row": replace(
        _WORK, hidden=96, layers=12, ffn=256, prompts=4, minibatch=1, response_tokens=24
    ),
}
PARTS = ("rollouts", "scoring", "updates")

# Of real models no weights are needed to count: their shapes.
SEVEN = LlamaConfig(bos_token_id=1, eos_token_id=2)  # LLaMA-7B (arXiv:2302.13971), by default
SEVENTY = LlamaConfig(  # LLaMA-2-70B (arXiv:2307.09288): queries share 8 keys and values
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
    max_position_embeddings=4096,
    bos_token_id=1,
    eos_token_id=2,
)
SMOLLM2 = LlamaConfig(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)
TESTBED = LlamaConfig(
    hidden_size=128,
    intermediate_size=344,
    num_hidden_layers=4,
    num_attention_heads=4,
    vocab_size=1024,
    max_position_embeddings=256,
    tie_word_embeddings=True,
)
# The longest evaluation prompt has 1,917 characters, about 480 tokens, and the template's; of
# pairs' prompts nothing is known, so 700.
PROMPTS = {"preference": 700, "ppo": 192, "validation": 0, "test": 560, "unseen": 0}
LENGTHS = Lengths(PROMPTS, (212, 300))
_SHORT = Lengths(dict.fromkeys(PROMPTS, 26), (26, 53))  # docs/smollm2.md: a demonstration has 79
METHODS, SEEDS = 15, 5
USD = {"A100": 2.0, "H100": 3.0}  # an hour of one GPU: an example and no quotation
# docs/paper.md, by the dry run: calls of one judgement and of all edits, tokens of one call.
ASKED = {"judge": (1610, 683, 400), "editor": (9400, 755, 489)}
MODEL = "claude-sonnet-5-5"
LINKS = {"NVLink (450 GB/s)": 450e9, "100 Gbit Ethernet": 12.5e9}  # one way, nominal


@dataclass(frozen=True)
class Scale:
    """A table of methods and seeds at one size.

    Attributes:
        name: for people.
        preset: of the runs.
        settings: shape of the model.
        lengths: of the texts.
        asks: whether judge and editor are paid for.
    """

    name: str
    preset: str
    settings: LlamaConfig
    lengths: Lengths
    asks: bool = False

    def counter(self, *overrides: str) -> Counter:
        """Of one run, on a GPU's precision."""
        config = load_config(self.preset, ["model.dtype=bfloat16", *overrides], method="token_ppo")
        return Counter(config, self.settings, self.lengths, torch.device("cpu"))

    def parts(self) -> list[Part]:
        """The work of one run."""
        return work(self.counter(), brings_pairs=self.asks)


SCALES = (
    Scale("testbed, .9M", "testbed", TESTBED, _SHORT),
    Scale("SmolLM2-135M", "smollm2-gpu", SMOLLM2, _SHORT),
    Scale("LLaMA-7B", "paper", SEVEN, LENGTHS, asks=True),
    Scale("LLaMA-2-70B", "paper", SEVENTY, LENGTHS, asks=True),
)


def usd(who: str, times: int = 1) -> float:
    """Dollars of so many judgements, or of all edits, by the table of prices."""
    calls, read, written = ASKED[who]
    one = Prices.load().cost(MODEL, Usage(input_tokens=read, output_tokens=written))
    if one is None:
        raise ValueError(f"no price of {MODEL}")
    return times * calls * one


def counted(shape: Work) -> dict[str, Part]:
    """The parts of a PPO step of a random Llama, as the dry run counts them."""
    ppo = _ppo_config(shape).model_copy(update={"steps": 1})
    config = RunConfig(lora=LORA, ppo=ppo)
    lengths = Lengths(dict.fromkeys(PROMPTS, shape.prompt_tokens), (1, 1))
    settings = causal_model(shape).config
    parts = [
        part
        for part in work(Counter(config, settings, lengths, torch.device("cpu")), brings_pairs=True)
        if part.stage == "ppo" and part.doing != "validation"
    ]
    rollouts, scoring, policy, value = parts
    both = {k: getattr(policy, k) + getattr(value, k) for k in ("tokens", "flops", "calls")}
    return dict(zip(PARTS, (rollouts, scoring, replace(policy, **both)), strict=True))


def _ppo_config(shape: Work) -> Any:
    """As the presets decode: merged, and old log-probabilities kept."""
    changes = {"merge_rollouts": None, "score_position": "last"}
    return ppo_config(shape, "separate").model_copy(update=changes)


def measured(shape: Work, rounds: int) -> dict[str, float]:
    """CPU seconds of the same parts, one thread's: others' work on the machine is not in them."""
    backbone = backbone_of(shape, causal_model(shape))
    ppo = ppo_on(backbone, prompts(shape), _ppo_config(shape), LORA, "token")
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}

    def timed(part: str, do: Callable[[], Any]) -> Any:
        started = time.process_time()
        found = do()
        seconds[part].append(time.process_time() - started)
        return found

    for _ in range(rounds + 1):
        rollout = timed("rollouts", ppo.rollout)
        experience, _ = timed("scoring", lambda r=rollout: ppo.experience(r, 0.05))
        timed("updates", lambda e=experience: ppo.update(e, policy=True))
    return {part: median(found[1:]) for part, found in seconds.items()}  # the first warms up


def read_bandwidth(size: int = 2**27) -> float:
    """Bytes a CPU second of adding up numbers that no cache holds."""
    numbers = torch.ones(size // 4)
    taken = []
    for _ in range(5):
        started = time.process_time()
        numbers.sum()
        taken.append(time.process_time() - started)
    return size / median(taken)


def fit(parts: Sequence[Part], seconds: Sequence[float], bandwidth: float) -> Device:
    """The rates with the smallest squared relative error; none is below 0.

    Reading is left out: these models stay in the processor's cache.
    """
    columns = np.array([[part.flops, part.decoded, part.calls] for part in parts])
    scale = columns.max(axis=0)
    found, _ = nnls(columns / scale / np.array(seconds)[:, None], np.ones(len(parts)))
    products, drawing, call = found / scale
    return Device("1 CPU core", 1 / products, 1 / drawing, bandwidth, call)


def measure(rounds: int, shapes: Mapping[str, Mapping[str, Work]]) -> dict[str, Any]:
    """Time all shapes, fit on the first group, and predict both."""
    rows = []
    for group, named in shapes.items():
        for name, shape in named.items():
            parts, seconds = counted(shape), measured(shape, rounds)
            rows += [(group, name, part, parts[part], seconds[part]) for part in PARTS]
    given = [(part, s) for group, _, _, part, s in rows if group == "fitted"]
    device = fit([part for part, _ in given], [s for _, s in given], read_bandwidth())
    return {
        "rounds": rounds,
        "device": asdict(device),
        "rows": [
            {
                "group": group,
                "shape": name,
                "part": doing,
                "seconds": s,
                "estimated": part.seconds(device),
                "error": part.seconds(device) / s - 1,
            }
            for group, name, doing, part, s in rows
        ],
    }


def fit_table(result: dict[str, Any]) -> str:
    """Every measurement beside its estimate."""
    return table(
        ["shape (width x layers)", "used for", "part", "measured s", "estimated s", "error"],
        [
            [
                row["shape"],
                "fit" if row["group"] == "fitted" else "check",
                row["part"],
                f"{row['seconds']:.3g}",
                f"{row['estimated']:.3g}",
                f"{row['error']:+.0%}",
            ]
            for row in result["rows"]
        ],
    )


def rates_table() -> str:
    """What is assumed of GPUs."""
    cases = list(ASSUMED)
    shares = zip(
        ("products, share of the peak", "reading, share of the bandwidth", "an operator call, µs"),
        zip(*((a, b, c * 1e6) for a, b, c in ASSUMED.values()), strict=True),
        strict=True,
    )
    rows = [[what, *(f"{x:.2g}" for x in found)] for what, found in shares]
    peaks = [
        [f"{name}: dense bf16 TFLOP/s, TB/s", "", f"{flops / 1e12:.0f}, {read / 1e12:.3g}", ""]
        for name, (flops, read) in PEAKS.items()
    ]
    return table(["assumed, not measured", *cases], rows + peaks)


def _two(number: float) -> str:
    """Two significant digits, and no exponent."""
    return f"{float(f'{number:.2g}'):,g}"


def _range(parts: Sequence[Part], name: str) -> str:
    found = [hours(parts, gpu(name, case)) for case in ("expected", "fast", "slow")]
    return "{} ({} to {})".format(*map(_two, found))


def stages_table(scale: Scale, devices: Sequence[Device] = ()) -> str:
    """One run's parts: tokens, work, and hours of one GPU."""
    parts = scale.parts()
    groups = [[part] for part in parts] + [parts]
    return table(
        ["part", "million tokens", "PFLOP", *(f"{d.name}, h" for d in devices)]
        + ([] if devices else [f"{name}, h" for name in PEAKS]),
        [
            [
                "all" if group is parts else f"{group[0].stage}, {group[0].doing}",
                "" if group is parts else f"{group[0].tokens / 1e6:.2g}",
                _two(sum(p.flops + p.again + p.decoded for p in group) / 1e15),
                *(_two(hours(group, d)) for d in devices),
                *([] if devices else [_range(group, name) for name in PEAKS]),
            ]
            for group in groups
        ],
    )


def sizes_table() -> str:
    """What the engines' limits come from: bytes of the base, of an adapter and of the cache."""
    rows = []
    for scale in SCALES[2:]:
        counter = scale.counter()
        cached = 2 * Weights.of(counter.foot.peft, ADAPTER).cached
        adapter = 4 * counter.foot.adapter
        # What each of 8 ranks sends and receives in a ring that sums the gradients up.
        ring = 2 * 7 / 8 * adapter
        rows.append(
            [
                scale.name,
                f"{counter.foot.base / 1e9:.3g}",
                f"{adapter / 1e6:.0f}",
                f"{cached / 1e6:.2g}",
                *(_two(ring / link * 1e3) for link in LINKS.values()),
            ]
        )
    header = ["model", "base, GB", "adapter in float32, MB", "cache, MB a token"]
    return table([*header, *(f"gradients over {name}, ms" for name in LINKS)], rows)


def scales_table() -> str:
    """GPU-hours and dollars of one run, and of all methods and seeds."""
    rows = []
    for scale in SCALES:
        one = scale.parts()
        own = load_config(scale.preset, method="token_ppo").sft.seed
        many = in_table(one, METHODS, SEEDS, one_sft=own is not None)
        rented = [hours(many, gpu(name)) * USD[name] for name in PEAKS]
        asked = usd("judge", METHODS * SEEDS) + usd("editor") if scale.asks else 0.0
        rows.append(
            [
                scale.name,
                scale.preset,
                *(_range(one, name) for name in PEAKS),
                *(_range(many, name) for name in PEAKS),
                " / ".join(f"{x:,.0f}" for x in rented),
                f"{asked:,.0f}",
            ]
        )
    table_of = f"{METHODS} x {SEEDS}"
    header = ["model", "preset", *(f"one run, {name}-h" for name in PEAKS)]
    header += [f"{table_of}, {name}-h" for name in PEAKS]
    return table([*header, f"{table_of}, GPU $ ({' / '.join(PEAKS)})", "judge and editor $"], rows)


def measured_gpu(path: Path) -> Device:
    """The rates that `benchmarks.gpu` wrote: of updates, and of decoding 64 rows (graphs, if any).

    A call's own time is in both already.
    """
    result = json.loads(path.read_text())
    rows = [row for section in result["sections"].values() for row in section["rows"]]
    numbers = {row["what"]: row["numbers"] for row in rows}
    update = numbers["update"]["flops"] / numbers["update"]["seconds"]
    drawn = max(
        (found for what, found in numbers.items() if what.startswith("decoding 64 rows")),
        key=lambda found: found["share"],
    )
    name = result["machine"]["gpu"] or "this device"
    return Device(f"{name} (measured)", update, update, drawn["bytes"] / drawn["token_seconds"], 0)


def as_markdown(result: dict[str, Any]) -> str:
    """The fit."""
    device = result["device"]
    notes = (
        f"CPU seconds of one thread, medians of {result['rounds']} PPO steps. Fitted: "
        f"{device['flops'] / 1e9:.3g} GFLOP/s in training and scoring, "
        f"{device['decoded'] / 1e9:.3g} while tokens are drawn, {device['call_s'] * 1e6:.3g} µs an "
        f"operator call. Measured apart: {device['bandwidth'] / 1e9:.3g} GB/s of reading. "
        f"{origin_text(result)}"
    )
    return "\n\n".join(["# The cost model's rates on a CPU", notes, fit_table(result)])


def main(
    out: Annotated[Path, typer.Option(help="JSON file; a .md stands beside it")] = RESULTS
    / "scale.json",
    rounds: Annotated[int, typer.Option(min=1, help="PPO steps of each shape")] = 3,
    gpu_file: Annotated[
        Path | None, typer.Option("--gpu", help="result of benchmarks.gpu: its rates, no fit")
    ] = None,
) -> None:
    """Fit the rates on this CPU and print how far they are off; or take a measured GPU's."""
    if gpu_file is not None:
        typer.echo(stages_table(SCALES[2], [measured_gpu(gpu_file)]))
        return
    torch.set_num_threads(1)
    shapes = {"fitted": FITTED, "checked": CHECKED}
    result = origin("python -m benchmarks.scale") | measure(rounds, shapes)
    text = as_markdown(result)
    write(result, text, out)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
