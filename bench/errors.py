"""Errors that a user can cause, and a run that diverged: one line, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ROOM = 700  # characters for the names in a message
_NEAREST = 8


class UserError(Exception):
    """What is wrong, where, and how to mend it, in one or two lines.

    Attributes:
        exit_code: 2 for bad input (usage), 1 where the run itself failed, 3 for a result that must
            not be used: a regression, a rerun that differs, too many missing verdicts.
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it, in the place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class Diverged(RuntimeError):
    """Training produced a NaN or an infinity."""


def yaml_problem(error: Exception) -> str:
    """What a YAML parser says, in one line, with the place and without its word for the file."""
    mark = getattr(error, "problem_mark", None)  # none where the text was no text at all
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"
    return " ".join(str(error).split())


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """Say that `name` is no `kind`, with the nearest match and all valid names."""
    options = sorted(valid)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = options
    if len(", ".join(options)) > _ROOM:  # run ids are long
        alike = difflib.get_close_matches(name, options, n=_NEAREST, cutoff=0.0)
        shown = [*sorted(alike), f"{len(options) - len(alike)} more"]
    return f"unknown {kind} {name!r}{hint} (one of: {', '.join(shown) or 'none'})"
