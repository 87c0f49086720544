"""GrainBench: what does finer-grained supervision buy in RLHF?

What Python code and notebooks call (docs/python.md) is in `bench.api`, which is imported when one
of its names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = (
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
)

if TYPE_CHECKING:
    from bench.api import (
        PUBLISHED,
        Comparisons,
        Leaderboard,
        Records,
        RunRecord,
        UserError,
        compare,
        load,
        plot,
        register_method,
        run,
    )
else:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Not a plain name: no stage's result depends on it (bench/pipeline/sources.py).
        return getattr(import_module(f"{__name__}.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
