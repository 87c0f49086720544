"""What `import bench` gives to Python code and notebooks; docs/python.md shows it.

runs.py     `run`: one run, in this process
results.py  `load`: records, each of which knows its folder
tables.py   `compare`, and the leaderboard, as tables that show themselves
plot.py     figures
methods.py  `register_method`

Each is what a verb of the command line does, by the same code.
"""

from bench.api import plot
from bench.api.methods import register_method
from bench.api.results import Records, RunRecord, load
from bench.api.runs import run
from bench.api.tables import Comparisons, Leaderboard, compare
from bench.errors import UserError
from bench.records.files import PUBLISHED

__all__ = [
    "PUBLISHED",
    "Comparisons",
    "Leaderboard",
    "Records",
    "RunRecord",
    "UserError",
    "compare",
    "load",
    "plot",
    "register_method",
    "run",
]
