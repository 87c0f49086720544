"""Minimal edits of a response, and their alignment to tokens.

align.py        which of a model's tokens an edit changed
changes.py      what it changed in the text
acceptance.py   whether it is a minimal edit
claude.py       edits by a language model
files.py        from a file of preferences to one of edits; report.py says what it came to, show.py
                shows it
"""

from bench.editing.align import align_edit
from bench.editing.changes import Change, TextChanges, text_changes

__all__ = ["Change", "TextChanges", "align_edit", "text_changes"]
