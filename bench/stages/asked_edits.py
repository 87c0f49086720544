"""Minimal edits by an editor of the registry, which asks a language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.editing.acceptance import require_answers
from bench.stages.edits import less_preferred, write_edits

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
    responses = less_preferred(inputs[0])
    results = editor.edit(responses)
    # As a stage's artifact they would be final.
    limit = context.config.preferences.max_missing
    require_answers(results, limit, "no edits are kept (preferences.max_missing)")
    texts = [
        original if result.edited is None else result.edited
        for (_, original), result in zip(responses, results, strict=True)
    ]
    about = editor.about()
    record = {
        "name": editor.name,
        "source": editor.source,
        "cost_usd": about.pop("cost_usd", None),
        "details": about,
    }
    return write_edits(out, responses, texts, editor.source) | {"editor": record}
