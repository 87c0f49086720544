"""The functions that `bench.rl` offers: every public one, its modules' own helpers apart."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import bench.rl

HELPERS = {"zero_masked", "last_counted"}


def _functions() -> dict[str, Callable[..., Any]]:
    modules = [import_module(f"bench.rl.{m.name}") for m in pkgutil.iter_modules(bench.rl.__path__)]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
        if not name.startswith(("_", "check_")) and name not in HELPERS
    }


FUNCTIONS = _functions()
rl = SimpleNamespace(**FUNCTIONS)
