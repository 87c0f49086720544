"""`python -m benchmarks.studio`: a study under load, while a writer is killed again and again.

In one process, as in the server of the studio, each of 20 people does one action a second, a thread
a person: an edit is saved, and the next item taken. Beside them a second process writes to the same
file, gets `kill -9` at a random moment, and is started again. All numbers of
actions that `save` returned are then looked for in the file: one that is not there was lost. The
goals are the issue's: no lost row, and 95 % of the saves in less than 100 ms on two cores. A third
process only sleeps for 5 ms, again and again: where it slept for more than the goal, a save could
not have been faster, for the machine ran something else. Then the same people work for as long at
the page (`benchmarks.studio_page`).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.studio.study import Study
from benchmarks.report import RESULTS, origin, origin_text, table, write
from benchmarks.studio_page import save_times

_WRITER = """
import sys, time
from pathlib import Path
from bench.studio.study import Study
study = Study(Path(sys.argv[1]))
person = study.person(sys.argv[2])
while given := study.next(person, "edit"):
    text = given.texts[0].replace("lazy", "busy", 1)
    print(study.save(person, given.item.id, {"kind": "edit", "text": text}, seconds=1), flush=True)
    time.sleep(float(sys.argv[3]))
"""
# What the machine alone costs: a program that only sleeps, and how long it then slept.
_SLEEPER = """
import time
while True:
    start = time.perf_counter()
    time.sleep(0.005)
    print(time.perf_counter() - start, flush=True)
"""
_WORDS = "the quick brown fox jumps over a lazy dog and goes home to sleep under an old oak "
_PAUSE_S = 0.05  # of the writer between two rows: it does about what the 20 people do
GOAL_S = 0.1
_KILL_S = (0.5, 5.0)  # after its first row


def rows(n: int) -> Iterator[str]:
    """Pairs whose responses have about 130 words."""
    for i in range(n):
        texts = {"prompt": f"question {i}", "chosen": "yes", "rejected": f"{i}: " + _WORDS * 8}
        yield json.dumps({"id": f"pair{i}", **texts}) + "\n"


class Person:
    """Somebody who does one action a second, and what the study took for it.

    Args:
        study: which all people of a process share.
        token: the person's.
        delay_s: before the first action, so that not all come at once.
    """

    def __init__(self, study: Study, token: str, delay_s: float) -> None:
        self._study, self._delay_s = study, delay_s
        self._person = study.person(token)
        self.said: list[int] = []
        self.save_s: list[float] = []
        self.next_s: list[float] = []

    def work(self, seconds: float) -> None:
        """Answer for so long; an action that took longer than its second is followed at once."""
        assert self._person is not None
        due = time.monotonic() + self._delay_s
        end = due + seconds
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1.0
            start = time.perf_counter()
            given = self._study.next(self._person, "edit")
            self.next_s.append(time.perf_counter() - start)
            assert given is not None
            answer = {"kind": "edit", "text": given.texts[0].replace("lazy", "busy", 1)}
            start = time.perf_counter()
            self.said.append(self._study.save(self._person, given.item.id, answer, seconds=1))
            self.save_s.append(time.perf_counter() - start)


def killed(path: Path, token: str, until: threading.Event) -> tuple[list[int], int]:
    """Start a writer and kill it at random, over and over; what it was told is saved, and kills."""
    said: list[int] = []
    kills, rng = 0, random.Random(0)
    while not until.is_set():
        command = [sys.executable, "-c", _WRITER, str(path), token, str(_PAUSE_S)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said.append(int(writer.stdout.readline()))
            timer = threading.Timer(rng.uniform(*_KILL_S), os.kill, (writer.pid, signal.SIGKILL))
            timer.start()
            said += [int(line) for line in writer.stdout if line.endswith("\n")]
            timer.join()
        assert writer.returncode == -signal.SIGKILL
        kills += 1
    return said, kills


def measure(people: int, seconds: float, folder: Path) -> dict[str, Any]:
    """All of it, as numbers; times in milliseconds."""
    path, source = folder / "study.db", folder / "pairs.jsonl"
    enough = people * (seconds + 2) + (seconds + 2 * _KILL_S[1]) / _PAUSE_S
    source.write_text("".join(rows(int(enough))))
    study = Study(path, create=True)
    study.add(source, "edit")
    tokens = [study.invite(f"p{i}") for i in range(people + 1)]
    at_work = [Person(study, token, i / people) for i, token in enumerate(tokens[1:])]
    over = threading.Event()
    with (
        ThreadPoolExecutor(people + 1) as pool,
        (folder / "late").open("w+") as late,
        subprocess.Popen([sys.executable, "-c", _SLEEPER], stdout=late) as sleeper,
    ):
        writer = pool.submit(killed, path, tokens[0], over)
        try:
            for working in [pool.submit(one.work, seconds) for one in at_work]:
                working.result()
        finally:
            over.set()
            sleeper.kill()
            sleeper.wait()
        others, kills = writer.result()
        late.seek(0)
        slept = [float(line) for line in late if line.endswith("\n")]
    study.close()
    own = [number for one in at_work for number in one.said]
    return {
        "people": people,
        "seconds": seconds,
        "actions": len(own),
        "kills": kills,
        "actions_of_the_killed": len(others),
        "lost": len({*own, *others} - kept(path)),
        "save_ms": percentiles([s for one in at_work for s in one.save_s]),
        "next_ms": percentiles([s for one in at_work for s in one.next_s]),
        "stalled": sum(s for s in slept if s > GOAL_S) / sum(slept),
        "load": list(os.getloadavg()),
    }


def measure_page(people: int, seconds: float, folder: Path) -> dict[str, Any]:
    """The same through the page, without a second writer."""
    path, source = folder / "page.db", folder / "page.jsonl"
    source.write_text("".join(rows(int(people * (seconds + 2)))))
    study = Study(path, create=True)
    took = save_times(study, source, people, seconds)
    study.close()
    return {"page_ms": percentiles(took), "page_lost": max(0, len(took) - len(kept(path)))}


def kept(path: Path) -> set[int]:
    """Numbers of the actions in the file; opening it checks all of its pages and references."""
    study = Study(path)
    with study.database.read() as connection:
        found = {int(row[0]) for row in connection.execute("SELECT number FROM actions")}
    study.close()
    return found


def percentiles(seconds: list[float]) -> dict[str, float]:
    """50, 95, 99 and 100 %, in milliseconds."""
    found = np.percentile(np.array(seconds) * 1e3, [50, 95, 99, 100])
    return {name: float(ms) for name, ms in zip(("p50", "p95", "p99", "max"), found, strict=True)}


def text_of(found: dict[str, Any]) -> str:
    """The table: what, measured, goal."""

    def times(ms: dict[str, float]) -> str:
        return ", ".join(f"{name} {value:.1f}" for name, value in ms.items()) + " ms"

    people, seconds = found["people"], found["seconds"]
    writer = f"{found['actions_of_the_killed']} rows of a writer killed {found['kills']} times"
    lines = [
        [f"{people} people for {seconds:.0f} s, {found['actions']} actions; {writer}",
         f"{found['lost']} lost", "0"],
        ["a save", times(found["save_ms"]), "p95 100 ms"],
        ["the next item", times(found["next_ms"]), "–"],
        ["a save through the page, until the next item is shown", times(found["page_ms"]),
         "p95 100 ms"],
        ["lost through the page", str(found["page_lost"]), "0"],
        ["time in which a program that only sleeps was not woken for over 100 ms",
         f"{found['stalled']:.1%}", "–"],
        ["load of the machine at the end, over 1, 5 and 15 min",
         ", ".join(f"{load:.1f}" for load in found["load"]), "–"],
    ]  # fmt: skip
    return table(["what", "measured", "goal"], lines)


def main(
    people: Annotated[int, typer.Option(min=1, help="At once, one action a second each.")] = 20,
    seconds: Annotated[float, typer.Option(min=1, help="For how long.")] = 300.0,
    out: Annotated[Path, typer.Option(help="Also written: the same name with .md.")] = RESULTS
    / "studio.json",
) -> None:
    """Measure, and write JSON and a table; exit code 1 where a row was lost."""
    command = f"python -m benchmarks.studio --people {people} --seconds {seconds:g}"
    with tempfile.TemporaryDirectory() as folder:
        result = origin(command) | measure(people, seconds, Path(folder))
        result |= measure_page(people, seconds, Path(folder))
    text = f"{text_of(result)}\n\n{origin_text(result)}"
    write(result, text, out)
    typer.echo(text)
    raise typer.Exit(int(result["lost"] + result["page_lost"] > 0))


if __name__ == "__main__":
    typer.run(main)
