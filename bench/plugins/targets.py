"""From where a plug-in is, ``module:attribute``, to the plug-in.

Apart from the registry, so that what builds a stage need not import it: the plan looks a name up
and hands on the place, and no stage is computed again because the registry got another line.
"""

from __future__ import annotations

import importlib
from typing import Any


def import_target(target: str) -> Any:
    """Import what is there.

    Raises:
        Exception: whatever importing it raises, and AttributeError where the module lacks it.
    """
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    return found
