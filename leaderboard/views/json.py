"""What the analysis computed as one JSON document, in the shapes of `leaderboard.views.shapes`."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from typing import Any, get_args

from leaderboard.views.shapes import DOCUMENTS


def document(name: str, data: object) -> str:
    """One document: letters of ASCII alone, numbers unrounded, null for what is not finite.

    Args:
        name: of `DOCUMENTS`.
        data: what the analysis computed; attributes or keys have the names of the shape.
    """
    envelope = {
        "schema": f"grainbench/{name}",
        "version": version_of(name),
        "grainbench": version("grainbench"),
        "data": data,
    }
    made = DOCUMENTS[name].model_validate(envelope, from_attributes=True)
    # The escapes hold on any terminal, whose own way to write a letter would be no JSON.
    return json.dumps(finite(made.model_dump(mode="json")), allow_nan=False, indent=1)


def version_of(name: str) -> int:
    """The version of a document's shape."""
    (number,) = get_args(DOCUMENTS[name].model_fields["version"].annotation)
    return int(number)


def finite(value: Any) -> Any:
    """Plain data with null in the place of NaN and infinity, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
