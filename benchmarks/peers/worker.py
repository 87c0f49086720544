"""One contender in a process of its own: `python -m benchmarks.peers.worker NAME WORK`.

NAME is a key of `CONTENDERS`, WORK the fields of `Work` as JSON. Commands come on stdin, answers
go to stdout (`Gate`); what the contender prints goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, TextIO

import torch

from benchmarks.peers.gate import Gate
from benchmarks.peers.memory import WeightCount, peak_resident_mib, resident_mib
from benchmarks.work import Work, causal_model

CONTENDERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ppo_separate": ("benchmarks.peers.ours", "run_ppo", {"value_model": "separate"}),
    "ppo_shared": ("benchmarks.peers.ours", "run_ppo", {"value_model": "shared"}),
    "trl_ppo": ("benchmarks.peers.trl_ppo", "run", {}),
    "reward_model": ("benchmarks.peers.ours", "run_reward_model", {}),
    "trl_reward": ("benchmarks.peers.trl_reward", "run", {}),
}


def serve(name: str, work: Work, commands: TextIO, answers: TextIO) -> None:
    """Build contender `name` and let it step until there are no more commands."""
    module, function, options = CONTENDERS[name]
    run = getattr(importlib.import_module(module), function)
    before = resident_mib()
    model = causal_model(work)
    count = WeightCount(model)

    def measure() -> dict[str, float]:
        return {
            "copies": count.now(),
            "copies_forward": count.forward,
            "mib_before_models": before,
            "mib_peak": peak_resident_mib(),
        }

    run(work, model, Gate(commands, answers, measure, count.arm), **options)


def main() -> None:
    """Serve the contender named on the command line."""
    name, fields = sys.argv[1:]
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(name, work_of(fields), sys.stdin, answers)


def work_of(fields: str) -> Work:
    """`Work` from its fields as JSON."""
    content = json.loads(fields)
    if "pair_response" in content:
        content["pair_response"] = tuple(content["pair_response"])
    return Work(**content)


if __name__ == "__main__":
    main()
