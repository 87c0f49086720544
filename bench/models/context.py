"""How long a sequence may be: the positions that a model has."""

from __future__ import annotations

from typing import Any

LONGROPE = "longrope"


def context_length(config: Any) -> int | None:
    """Positions that a sequence may have; None: the model states no limit.

    Behind the last one a learned embedding has no row, and a rotary one was never trained. Where a
    long row would change the short ones of its batch (`batch_rope`) that length is the limit.

    Args:
        config: of a model of the transformers library.
    """
    settings = config.get_text_config()
    limits = [getattr(settings, "max_position_embeddings", None)]
    limits += [
        rope.get("original_max_position_embeddings")
        for rope in _ropes(config)
        if rope.get("rope_type") == LONGROPE
    ]
    return min((limit for limit in limits if limit), default=None)


def batch_rope(config: Any) -> str | None:
    """The type of a rotary embedding whose frequencies follow the longest row of a batch.

    "dynamic" (NTK scaling) and "longrope" switch them behind the length that the model was first
    trained with, for every row of the batch at once: a row's numbers then depend on the others.
    """
    kinds = [str(rope.get("rope_type")) for rope in _ropes(config)]
    return next((kind for kind in kinds if kind == LONGROPE or "dynamic" in kind), None)


def _ropes(config: Any) -> list[dict[str, Any]]:
    """The rotary embeddings' parameters: one set, or one for each type of layer."""
    found = getattr(config.get_text_config(), "rope_parameters", None) or {}
    return [found, *(inner for inner in found.values() if isinstance(inner, dict))]
