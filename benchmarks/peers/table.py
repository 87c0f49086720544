"""The peers' result as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.report import origin_text, table

NAMES = {
    "ppo_separate": "GrainBench, policy and value separate",
    "ppo_shared": "GrainBench, one trunk",
    "trl_ppo": "TRL PPOTrainer",
    "reward_model": "GrainBench",
    "trl_reward": "TRL RewardTrainer",
}
PHASES = ("generation", "scoring", "update", "gc")
MEMORY = ("copies of the base", "in the first forward", "goal", "peak RSS, MiB")


def as_markdown(result: dict[str, Any]) -> str:
    """A section a case: throughput, ratios, where the time went, memory."""
    notes = f"{result['rounds']} rounds in turns, one thread each, medians. {origin_text(result)}"
    if result["quick"]:
        notes += "\n\n**Tiny sizes (`--quick`): these numbers say nothing about speed.**"
    sections = [_section(case) for case in result["cases"].values()]
    return "\n\n".join(["# Beside the peers", notes, *sections])


def _section(case: dict[str, Any]) -> str:
    unit = case["unit"]
    header = ["", "s", f"{unit}/s", "times the peer", "range", "goal", *MEMORY]
    rows = [_row(case, name) for name in case["contenders"]]
    parts = [f"## {case['title']}", f"Peer: {case['package']}. {_sizes(case)}", table(header, rows)]
    if any(contender["phases"] for contender in case["contenders"].values()):
        parts.append(_phases(case))
    return "\n\n".join(parts)


def _row(case: dict[str, Any], name: str) -> list[str]:
    contender = case["contenders"][name]
    memory, ratio = contender["memory"], case["ratios"].get(name)
    compared = ["", "", ""]
    if ratio is not None:
        span = f"{ratio['lowest']:.2f} to {ratio['highest']:.2f}"
        compared = [f"{ratio['of_medians']:.2f}", span, _goal("≥", ratio["goal"], ratio["met"])]
    copies_goal = "" if ratio is None else _goal("≤", ratio["copies_goal"], ratio["copies_met"])
    return [
        NAMES[name],
        f"{contender['median_seconds']:.2f}",
        f"{contender['median_rate']:.4g}",
        *compared,
        f"{memory['copies']:.2f}",
        f"{memory['copies_forward']:.2f}",
        copies_goal,
        f"{memory['mib_peak']:.0f}",
    ]


def _goal(sign: str, goal: float | None, met: bool | None) -> str:
    return "" if goal is None else f"{sign} {goal}: {'met' if met else 'not met'}"


def _phases(case: dict[str, Any]) -> str:
    """Seconds by phase; what no timer saw is the update where the peer has none of its own."""
    rows = []
    for name, contender in case["contenders"].items():
        phases = dict(contender["phases"])
        rest = contender["median_seconds"] - sum(phases.values())
        phases.setdefault("update", rest)
        rows.append([NAMES[name], *(f"{phases.get(p, 0.0):.2f}" for p in PHASES)])
    return table(["seconds", *PHASES], rows)


def _sizes(case: dict[str, Any]) -> str:
    work = case["work"]
    model = (
        f"Llama: hidden {work['hidden']}, {work['layers']} layers, {work['heads']} heads, ffn "
        f"{work['ffn']}, vocabulary {work['vocabulary']}; LoRA r 8 on q and v"
    )
    if case["unit"] == "pairs":
        return f"{model}; {work['pairs']} pairs, batch {work['pair_batch']}."
    tokens = {NAMES[name]: round(c["counts"]["tokens"]) for name, c in case["contenders"].items()}
    drawn = ", ".join(f"{name} {count}" for name, count in tokens.items())
    return (
        f"{model}; {work['prompts']} prompts of {work['prompt_tokens']} ± "
        f"{work['prompt_spread']} tokens, at most {work['response_tokens']} response tokens, "
        f"{work['epochs']} epochs, minibatch {work['minibatch']}. Response tokens drawn: {drawn}."
    )
