"""Texts as a batch of token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.models.sequences import Sequences


def batch_of(backbone: Backbone, texts: list[tuple[str, str]]) -> Sequences:
    """(prompt, response) texts as one batch on the model's device."""
    tokens = backbone.tokens
    return tokens.join(
        [tokens.prompt(prompt) for prompt, _ in texts],
        [tokens.response(response) for _, response in texts],
    ).to(backbone.device)
