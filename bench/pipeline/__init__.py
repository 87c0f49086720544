"""Stages, their keys, the store of what they made, and how they say how far they are."""
