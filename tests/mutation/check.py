"""Mutation testing: change the code, one small change at a time, and see whether a test notices.

    tox -e mutation                        everything that `[tool.mutmut]` names, afresh
    tox -e mutation -- 'bench.rl.kl*'      the mutants of one module or function

Exits with 1 if a mutant survives that `survivors.toml` does not explain, or if that file explains
one that no longer survives. An explanation names the changed line, not the mutant's number, which
another change to the same function would hand on to a different mutant.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

EXPLANATIONS = Path(__file__).with_name("survivors.toml")
MUTANTS = Path("mutants")
# pytest's "tests failed" and "internal error", and mutmut's codes of a mutant that ran for ever
CAUGHT = {1, 3, 24, -24, 36, 152, 255}


class Mutation(NamedTuple):
    """A changed line: where it stands, and what it says before and after."""

    function: str
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"{self.function}\n    - {self.was}\n    + {self.becomes}"


def exit_codes(patterns: list[str]) -> dict[str, int | None]:
    """How the tests ended for each mutant asked for; None: they were not run."""
    codes: dict[str, int | None] = {}
    for meta in MUTANTS.rglob("*.meta"):
        codes |= json.loads(meta.read_text())["exit_code_by_key"]
    wanted = patterns or ["*"]
    return {k: v for k, v in codes.items() if any(fnmatch.fnmatch(k, p) for p in wanted)}


def mutation(name: str) -> Mutation:
    """What a mutant changes. Several lines are joined by a blank."""
    shown = subprocess.run(["mutmut", "show", name], check=True, capture_output=True, text=True)
    removed, added = [], []
    for line in shown.stdout.splitlines():
        if line.startswith("-") and not line.startswith("---"):
            removed.append(line[1:].strip())
        elif line.startswith("+") and not line.startswith("+++"):
            added.append(line[1:].strip())
    function = re.sub(r"\.x_", ".", re.sub(r"__mutmut_\d+$", "", name))
    function = re.sub(r"\.xǁ(\w+)ǁ", r".\1.", function)
    return Mutation(function, " ".join(removed), " ".join(added))


def explained() -> set[Mutation]:
    """The mutations of `survivors.toml`."""
    entries = tomllib.loads(EXPLANATIONS.read_text())["survivor"]
    unexplained = [e["function"] for e in entries if not e["why"].strip()]
    if unexplained:
        raise SystemExit(f"{EXPLANATIONS.name}: no `why` for a survivor of {unexplained}")
    return {Mutation(e["function"], e["was"], e["becomes"]) for e in entries}


def report(title: str, mutations: set[Mutation]) -> None:
    """Print mutations under a title, if there are any."""
    if mutations:
        print(f"\n{title}:", *sorted(mutations), sep="\n")


def main(patterns: list[str]) -> int:
    """Run mutmut from nothing, since it keeps its verdicts when only tests have changed."""
    shutil.rmtree(MUTANTS, ignore_errors=True)
    subprocess.run(["mutmut", "run", *patterns], check=True)
    codes = exit_codes(patterns)
    if not codes:
        raise SystemExit(f"no mutant matches {patterns or 'the settings of [tool.mutmut]'}")
    survivors = {mutation(name) for name, code in codes.items() if code not in CAUGHT}
    unexplained = survivors - explained()
    # of a part of the mutants it cannot be said which explanations are out of date
    outdated = set() if patterns else explained() - survivors
    report("Survives unexplained: add a test, or a reason to survivors.toml", unexplained)
    report("Explained in survivors.toml, but does not survive: delete the entry", outdated)
    known = len(survivors) - len(unexplained)
    print(f"\n{len(codes)} mutants, {known} survivors explained, {len(unexplained)} not")
    return 1 if unexplained or outdated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
