"""What a person, or a type of errors, may be called."""

from __future__ import annotations

LONGEST = 60
NAME = f"one line of 1 to {LONGEST} characters"
"""For a message."""


def is_name(text: str) -> bool:
    """Whether a text can be shown as a name: not empty, not long, without control characters."""
    return bool(text.strip()) and len(text) <= LONGEST and text.isprintable()
