"""alpaca_eval's modules and functions, used without what they do to the process's log."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any


def quiet_import(name: str) -> Any:
    """The module; the root logger is left as it was."""
    level = logging.getLogger().level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    finally:
        logging.getLogger().setLevel(level)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what is logged meanwhile to oneself; `logging.error` would set the root logger up."""
    root, nowhere = logging.getLogger(), logging.NullHandler()
    handlers = root.handlers[:]
    root.handlers[:] = [nowhere]
    try:
        yield
    finally:
        root.handlers[:] = handlers
