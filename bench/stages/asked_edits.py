"""Minimal edits by an editor of the registry, which asks a language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Preference, read_rows
from bench.editing.acceptance import require_answers
from bench.stages.edits import edit_of, write_edits
from bench.stages.pairs import PREFERENCES

if TYPE_CHECKING:
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Editor


def make_editor(editor: type[Editor], options: Any, context: Context) -> Editor:
    """An editor of this run.

    Raises:
        UserError: an option is wrong.
    """
    return editor(options, answers=context.answers / "edit.jsonl", say=context.progress.say)


def build_asked_edits(
    context: Context, out: Path, inputs: list[Path], make: Callable[[Context], Editor]
) -> dict[str, Any]:
    """Edits by the editor that `make` makes; what has none stays as it was. Inputs: preferences."""
    editor = make(context)
    pairs = read_rows(inputs[0] / PREFERENCES, Preference)
    results = editor.edit([(pair.prompt, pair.rejected) for pair in pairs])
    # As a stage's artifact they would be final.
    config = context.config.edits
    require_answers(results, config.max_missing, "no edits are kept (edits.max_missing)")
    rows = [
        edit_of(pair, pair.rejected if result.edited is None else result.edited, editor.source)
        for pair, result in zip(pairs, results, strict=True)
    ]
    about = editor.about()
    record = {
        "name": editor.name,
        "source": editor.source,
        "cost_usd": about.pop("cost_usd", None),
        "details": about,
    }
    return write_edits(out, rows, config) | {"editor": record}
