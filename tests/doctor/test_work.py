"""What work costs: formulas by hand, the stages of a run, and what is told of them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from bench.config.loading import load_config
from bench.config.run import LoRAConfig
from bench.doctor.budget import Counter, Lengths
from bench.doctor.footprint import ADAPTER
from bench.doctor.hours import (
    CPU,
    Device,
    Part,
    about,
    gpu,
    hours,
    in_table,
    offline_work,
    table,
    work,
)
from bench.doctor.work import Weights, forward_flops, read_bytes, update_flops
from bench.models.adapters import attach
from benchmarks import scale
from benchmarks.work import Work, llama_config

SMALL = Weights(
    layers=2,
    attention=10,
    mlp=20,
    inputs=6,
    adapter_attention=3,
    adapter_mlp=4,
    head=7,
    width=5,
    cached=3,
)


def test_flops_of_a_forward_by_hand() -> None:
    """A prompt of 1 token and a response of 2, in 2 layers.

    Base: 3 tokens through 2 x 10 and, but for the last layer, 20: 120 products; the last MLP and
    the head at 2 tokens: 2 x (20 + 7) = 54. Adapter: 3 x (2 x 3 + 4) + 2 x 4 = 38. Attention: 6
    pairs in the first layer, in the last the 5 of the response's queries: 4 x 5 x 11 = 220.
    """
    rows = [(1, 2)]
    assert forward_flops(SMALL, rows, head=True) == 2 * 174 + 2 * 38 + 220
    assert forward_flops(SMALL, rows, head=True, adapter=False) == 2 * 174 + 220
    assert forward_flops(SMALL, rows, head=False) == 2 * 160 + 2 * 38 + 220
    assert forward_flops(SMALL, rows * 3, head=True) == 3 * 644


def test_flops_of_an_update_leave_the_frozen_base_s_weight_gradient_out() -> None:
    """Backward: the base once more, less 3 x 6 below which nothing is trained; adapters twice."""
    backward = 2 * (174 - 18) + 2 * 2 * 38 + 2 * 220
    assert update_flops(SMALL, [(1, 2)], head=True) == 644 + backward


def test_weights_are_read_off_the_model() -> None:
    work = Work(hidden=8, layers=2, heads=2, ffn=12, vocabulary=16)
    model = attach(
        LlamaForCausalLM(llama_config(work)), "policy", LoRAConfig(r=2, target_modules="all-linear")
    )
    model = attach(model, "other", LoRAConfig(r=4, target_modules="all-linear"))
    found = Weights.of(model, "policy")
    assert (found.layers, found.head, found.width, found.cached) == (2, 8 * 16, 8, 2 * 2 * 8)
    assert (found.attention, found.mlp, found.inputs) == (4 * 64, 3 * 96, 3 * 64)
    assert (found.adapter_attention, found.adapter_mlp) == (4 * 2 * 16, 3 * 2 * 20)


def test_a_token_reads_the_weights_once_and_every_row_s_cache() -> None:
    assert read_bytes(100, 3, rows=4, context=10.5) == 100 + 4 * 10.5 * 3


def small(*overrides: str, **best_of: int) -> dict[tuple[str, str], Part]:
    """Parts of a run of a tiny Llama whose texts have 5 tokens, and 3 in a response."""
    ours = [
        "ppo.steps=4", "ppo.value_warmup_steps=1", "ppo.batch_size=6", "ppo.minibatch_size=3",
        "ppo.max_new_tokens=3", "sft.steps=2", "sft.batch_size=4", "model.dtype=float32",
        "ppo.value_model=separate",
    ]  # fmt: skip
    settings = llama_config(Work(hidden=8, layers=2, heads=2, ffn=12, vocabulary=16))
    lengths = Lengths(dict.fromkeys(scale.PROMPTS, 5), (5, 3))
    config = load_config("testbed", [*ours, *overrides], method="token_ppo")
    counter = Counter(config, settings, lengths, torch.device("cpu"))
    small.weights = Weights.of(counter.foot.peft, ADAPTER)  # type: ignore[attr-defined]
    parts = work(counter, brings_pairs=False, best_of=best_of) + offline_work(counter, best_of)
    return {(p.stage, p.doing): p for p in parts}


def test_the_parts_of_ppo_by_hand() -> None:
    """5 rollouts of 6 responses, 4 of which the policy learns from, in minibatches of 3.

    Merged, decoding is 5 batches of 3 passes of 2 layers; a pass reads the weights and, in 6 rows,
    5 + 3 / 2 tokens. Scoring: one pass with log-probabilities and two of states, in chunks of 16.
    """
    parts = small()
    weights, row = small.weights, (5, 3)  # type: ignore[attr-defined]
    drawn, scored = parts["ppo", "rollouts"], parts["ppo", "scoring"]
    whole = 30 * forward_flops(weights, [row], head=True, adapter=False)
    assert drawn.flops + drawn.decoded == whole
    base = 4 * (2 * (4 * 64 + 3 * 96) + 8 * 16)
    assert drawn.read == 5 * 3 * (base + 6 * (5 + 1.5) * 4 * 32)
    assert (drawn.tokens, drawn.calls) == (30 * 8, 5 * 3 * 2 * 36)
    both = forward_flops(weights, [row], head=True) + 2 * forward_flops(weights, [row], head=False)
    assert (scored.flops, scored.calls) == (30 * both, 2 * 3 * 2 * 80)
    policy, value = parts["ppo", "updates of the policy"], parts["ppo", "updates of the value"]
    assert policy.flops == 24 * update_flops(weights, [row], head=True)
    assert value.flops == 30 * update_flops(weights, [row], head=False)
    assert (policy.calls, value.calls, policy.again) == (8 * 2 * 240, 10 * 2 * 240, 0)
    assert parts["sft", "training"].flops == 8 * 3 * forward_flops(
        weights, [row], head=True, adapter=False
    )


def test_the_best_of_n_is_n_draws_and_n_scores() -> None:
    """2 samples of 3 prompts and 4 unseen ones are 10 responses, of 5 draws each; none greedy.

    And 7 prompts of 6 draws, of which 7 responses are imitated.
    """
    sizes = ("test_prompts=3", "unseen_prompts=4", "samples=2", "max_new_tokens=3")
    parts = small(*(f"evaluation.{size}" for size in sizes), outputs=5)
    row = (5, 3)
    drawn, scored = parts["outputs", "decoding"], parts["outputs", "scoring"]
    weights = small.weights  # type: ignore[attr-defined]
    whole = 50 * forward_flops(weights, [row], head=True, adapter=False)
    assert drawn.flops + drawn.decoded == whole
    assert scored.flops == 50 * forward_flops(weights, [row], head=False)
    assert ("outputs", "the KL") not in parts
    parts = small("ppo.prompts=7", best_responses=6)
    assert parts["best_responses", "decoding"].tokens == 42 * 8
    assert parts["best_responses", "scoring"].tokens == 42 * 8
    assert parts["offline", "training"].tokens == 7 * 8
    assert ("outputs", "the KL") in parts


def test_the_parts_of_a_policy_without_a_rollout_by_hand() -> None:
    """Two passes over 6 pairs, 4 a step: 24 responses.

    Looked at before the first of 4 steps and after every second, at 7 prompts, each with one sample
    more for the KL.
    """
    parts = small(
        "offline.epochs=2", "offline.batch_size=4", "offline.eval_every=2", "preferences.pairs=6",
        "preferences.max_new_tokens=3", "evaluation.validation_prompts=7",
        "evaluation.max_new_tokens=3",
    )  # fmt: skip
    weights, row = small.weights, (5, 3)  # type: ignore[attr-defined]
    learned, reference = parts["offline", "training"], parts["offline", "the reference"]
    assert learned.flops == 24 * update_flops(weights, [row], head=True)
    assert learned.calls == 3 * 2 * 240
    assert reference.flops == 24 * forward_flops(weights, [row], head=True)
    drawn = parts["offline", "validation"]
    assert drawn.tokens == 2 * 3 * 7 * 8


def test_what_a_setting_changes() -> None:
    plain, again = small(), small("model.gradient_checkpointing=true")
    key = "ppo", "updates of the policy"
    weights = small.weights  # type: ignore[attr-defined]
    assert again[key].again == 24 * forward_flops(weights, [(5, 3)], head=False)
    assert again[key].flops == plain[key].flops
    halves = small("model.dtype=bfloat16", "ppo.epochs=2")
    assert halves["ppo", "rollouts"].read == plain["ppo", "rollouts"].read / 2
    assert halves["ppo", "rollouts"].calls == 5 * 3 * 2 * 80  # not merged
    assert halves["ppo", "scoring"].tokens == 4 / 3 * plain["ppo", "scoring"].tokens
    assert halves[key].flops == 2 * plain[key].flops
    assert ("ppo", "updates of the value") not in small("ppo.value_model=shared")
    assert small("model.cuda_graphs=true")["ppo", "rollouts"].calls == 0
    assert ("sft", "training") not in small("sft.steps=0")


def test_seconds_are_the_longer_of_products_and_reading_and_every_call() -> None:
    device = Device("a", flops=10, decoded=5, bandwidth=2, call_s=0.5)
    part = Part("ppo", "rollouts", 1, flops=20, again=10, decoded=10, read=6, calls=4)
    assert part.seconds(device) == 3 + max(2, 3) + 2
    assert gpu("A100").flops == pytest.approx(0.45 * 312e12)
    times: dict[str, float] = defaultdict(float)
    for one in in_table([Part(name, "", 1, 1) for name in ("sft", "samples", "ppo")], 15, 5):
        times[one.stage] = one.flops
    assert times == {"sft": 1, "samples": 5, "ppo": 75}
    (sft,) = in_table([Part("sft", "", 1, 1)], 15, 5, one_sft=False)
    assert sft.flops == 5
    grid = table([part], [device])
    assert grid.rows[0] == ("ppo", "rollouts", "1e-06", "4e-11", "8 s")
    assert grid.rows[1] == ("all", "", "", "", "8 s")
    found = [about(s) for s in (0.2, 34, 100, 3600 * 9.6, 3600 * 1234)]
    assert found == ["< 1 s", "30 s", "2 min", "10 h", "1000 h"]


def test_the_fit_finds_the_rates_that_made_the_seconds() -> None:
    made = Device("1 CPU core", flops=4e9, decoded=1e9, bandwidth=1e10, call_s=5e-5)
    parts = [
        Part("", "", 1, flops, decoded=decoded, calls=calls)
        for flops, decoded, calls in [(1e9, 0, 300), (2e8, 5e8, 4000), (5e9, 1e8, 900)]
    ]
    found = scale.fit(parts, [part.seconds(made) for part in parts], 1e10)
    assert asdict(found) == pytest.approx(asdict(made))


def test_a_measured_gpu_takes_the_place_of_the_assumed_one(tmp_path: Path) -> None:
    rows = [
        ("update", {"flops": 6e12, "seconds": 2.0}),
        ("decoding 64 rows, plain", {"bytes": 4e9, "token_seconds": 0.1, "share": 0.1}),
        ("decoding 64 rows, as graphs", {"bytes": 4e9, "token_seconds": 0.01, "share": 0.9}),
    ]
    sections = {"rates": {"rows": [{"what": what, "numbers": n} for what, n in rows]}}
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps({"sections": sections, "machine": {"gpu": "X"}}))
    found = scale.measured_gpu(file)
    assert found == Device("X (measured)", 3e12, 3e12, 4e11, 0)


DOC = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_rates_of_a_cpu_are_those_that_were_fitted() -> None:
    result = json.loads((scale.RESULTS / "scale.json").read_text())
    rates, fitted = asdict(CPU), result["device"]
    assert rates.pop("name") == fitted.pop("name")
    assert rates == pytest.approx(fitted, rel=0.01)
    assert scale.fit_table(result) in DOC
    assert scale.rates_table() in DOC
    assert f"${scale.usd('judge'):.2f} a judgement" in " ".join(DOC.split())
    assert f"${scale.usd('editor'):.2f} for all edits" in " ".join(DOC.split())


@pytest.mark.slow  # four models' shapes are built
def test_the_tables_of_the_document_are_what_the_code_gives() -> None:
    """The dry run prints the same of preset `paper`: one function."""
    for found in (scale.stages_table(scale.SCALES[2]), scale.scales_table(), scale.sizes_table()):
        assert found in DOC, found
    paper = scale.SCALES[2].parts()
    assert 8.3 < hours([p for p in paper if p.doing[:2] in ("sc", "up")], gpu("A100")) < 8.7
