"""alpaca_eval's modules, imported without what that does to the process."""

from __future__ import annotations

import importlib
import logging
import warnings
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
