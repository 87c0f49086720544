"""Contenders in turns on the same work: A B C A B C, so that the machine's noise hits all alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from benchmarks.peers.install import PPO, REWARD, import_path
from benchmarks.work import Work

REPO = Path(__file__).resolve().parents[2]
COPIES_GOAL = 1.1
WARM_UP = 2  # steps that are not measured: first calls allocate, and the first has no KL


@dataclass(frozen=True)
class Case:
    """A piece of work and who does it.

    Attributes:
        title: what is measured.
        unit: of the throughput: "steps", or the name of a worker's count ("tokens", "pairs").
        peer: the contender that the others are held against.
        package: what has the peer's code.
        goals: contender of ours -> throughput / the peer's that it should reach; None: no goal.
        copies: whether copies of the base in memory have a goal as well.
        work: sizes.
    """

    title: str
    unit: str
    peer: str
    package: str
    goals: dict[str, float | None]
    copies: bool = True
    work: Work = field(default_factory=Work)


CASES = {
    "ppo": Case(
        "One PPO step, all responses of full length",
        "steps",
        "trl_ppo",
        PPO,
        {"ppo_separate": 2.0, "ppo_shared": 2.5},
    ),
    "ppo_eos": Case(
        "One PPO step, responses that end in EOS; throughput in response tokens up to EOS",
        "tokens",
        "trl_ppo",
        PPO,
        {"ppo_separate": None, "ppo_shared": None},
        work=Work(eos_rate=0.04),
    ),
    "reward_model": Case(
        "One epoch of reward modelling",
        "pairs",
        "trl_reward",
        REWARD,
        {"reward_model": 1.8},
        copies=False,
    ),
}


class Worker:
    """A contender's process.

    Args:
        name: of `benchmarks.peers.worker`.
        work: sizes.
        path: folder put in front of the import path, for a peer.
    """

    def __init__(self, name: str, work: Work, path: str | None) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed in __exit__
        folders = [str(REPO)] if path is None else [path, str(REPO)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.worker", name, json.dumps(asdict(work))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ
            | {
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(folders),
                "TOKENIZERS_PARALLELISM": "false",
                "TRL_EXPERIMENTAL_SILENCE": "1",
            },
        )

    def ask(self, command: str) -> dict[str, Any]:
        """Answer to "step" or "measure".

        Raises:
            RuntimeError: if the worker died; with the end of what it printed.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError(f"worker {self.name} died:\n{self.log.read()[-2000:]}") from error
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()
        self.log.close()


def contest(case: Case, rounds: int, work: Work) -> dict[str, Any]:
    """Let the case's contenders take turns for `rounds` rounds.

    Args:
        case: who does what.
        rounds: measured steps of each contender.
        work: sizes, those of the case or smaller ones.

    Returns:
        Contenders with their seconds, throughput, phases and memory, and ratios to the peer.

    Raises:
        UserError: if the peer is not installed.
        RuntimeError: if a worker dies.
    """
    path = import_path(case.package)
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name, work, path if name == case.peer else None))
            for name in (*case.goals, case.peer)
        }
        for worker in workers.values():
            for _ in range(WARM_UP):
                worker.ask("step")
        steps = [
            {name: worker.ask("step") for name, worker in workers.items()} for _ in range(rounds)
        ]
        memory = {name: worker.ask("measure") for name, worker in workers.items()}
    contenders = {
        name: summary([row[name] for row in steps], case.unit) | {"memory": memory[name]}
        for name in workers
    }
    return {
        "title": case.title,
        "unit": case.unit,
        "peer": case.peer,
        "package": case.package,
        "work": asdict(work),
        "contenders": contenders,
        "ratios": {name: _ratio(contenders, name, case, goal) for name, goal in case.goals.items()},
    }


def summary(steps: list[dict[str, Any]], unit: str) -> dict[str, Any]:
    """Medians of a contender's steps; throughput in `unit` a second."""
    rates = [step["counts"].get(unit, 1.0) / step["seconds"] for step in steps]
    return {
        "seconds": [step["seconds"] for step in steps],
        "rates": rates,
        "median_seconds": median(step["seconds"] for step in steps),
        "median_rate": median(rates),
        "phases": {name: median(s["phases"][name] for s in steps) for name in steps[0]["phases"]},
        "counts": {name: median(s["counts"][name] for s in steps) for name in steps[0]["counts"]},
    }


def _ratio(
    contenders: dict[str, Any], name: str, case: Case, goal: float | None
) -> dict[str, float | bool | None]:
    """Throughput of `name` / the peer's: of the medians, and the range over the rounds."""
    ours, peer = contenders[name], contenders[case.peer]
    rounds = [a / b for a, b in zip(ours["rates"], peer["rates"], strict=True)]
    ratio = ours["median_rate"] / peer["median_rate"]
    copies = max(ours["memory"]["copies"], ours["memory"]["copies_forward"])
    return {
        "of_medians": ratio,
        "lowest": min(rounds),
        "highest": max(rounds),
        "goal": goal,
        "met": None if goal is None else ratio >= goal,
        "copies_goal": COPIES_GOAL if case.copies else None,
        "copies_met": copies <= COPIES_GOAL if case.copies else None,
    }
