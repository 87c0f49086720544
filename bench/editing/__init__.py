"""Minimal edits of a response, and their alignment to token masks."""

from bench.editing.align import align_edit

__all__ = ["align_edit"]
