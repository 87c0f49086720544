"""Cells of a notebook without a kernel: code whose source `linecache` knows, as in IPython."""

from __future__ import annotations

import itertools
import linecache
import sys
import types
from typing import Any

_numbers = itertools.count()


class Notebook:
    """Runs cells in a module that no file holds, as IPython runs them in `__main__`."""

    def __init__(self) -> None:
        self.module = types.ModuleType(f"cells_{next(_numbers)}")
        self.names: dict[str, Any] = vars(self.module)
        self.names["In"] = []  # what IPython has of the cells that were run
        sys.modules[self.module.__name__] = self.module

    def run(self, cell: str) -> None:
        """Run one cell."""
        file = f"<cell {next(_numbers)}>"
        linecache.cache[file] = (len(cell), None, cell.splitlines(True), file)
        self.names["In"].append(cell)
        exec(compile(cell, file, "exec"), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


METHOD = '''
class Shifted:
    """Sequence rewards, shifted."""

    name = "shifted"

    class Options(Section):
        shift: float = 0.5

    def __init__(self, options):
        self.options = options

    def plan(self, stages):
        return stages.ppo(self, stages.reward_model(stages.preferences(), granularity="sequence"))

    def rewards(self, paid, mask):
        return sequence_rewards(shifted(paid.sum(dim=1), self.options.shift), mask)
'''
AROUND = """
from bench.config.section import Section
from bench.rl import sequence_rewards

SCALE = 1.0

def shifted(x, by):
    return SCALE * x + by
"""
