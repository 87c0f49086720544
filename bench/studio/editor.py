"""The editor `human`: minimal edits that people made in a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.editing.acceptance import EditResult, EditStatus
from bench.editing.changes import text_changes
from bench.studio.options import StudyOptions
from bench.studio.results import Answered

_STATUSES: dict[str, tuple[EditStatus, str]] = {
    "cannot_be_mended": ("refusal", "people say that it cannot be mended"),
    "skip": ("refusal", "people skipped it"),
    "unanswered": ("api_error", "nobody has edited it yet"),
}
_ABSENT: tuple[EditStatus, str] = ("api_error", "the study does not have it")


class HumanEditorOptions(StudyOptions):
    """The study with the edits."""

    task = "edit"


class HumanEditor:
    """Looks edits up, by prompt and response. Of several people's the first one's is taken.

    Args:
        options: which study.
        answers: not needed.
        say: receives a line about responses that nobody edited.
    """

    name = "human"
    Options = HumanEditorOptions

    def __init__(
        self,
        options: HumanEditorOptions,
        *,
        answers: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._options, self._say = options, say
        self._outcomes: Counter[str] = Counter()
        people = len(options.results.people)
        self.source = f"human ({people} {'person' if people == 1 else 'people'})"

    def ready(self) -> None:
        """Nothing can stop it: the study has been read."""

    def edit(self, pairs: Iterable[tuple[str, str]]) -> list[EditResult]:
        """What people made of each (prompt, response), in order."""
        known = self._options.results.by_texts()
        results = [_result(pair, known.get(pair)) for pair in pairs]
        missing = sum(result.status == "api_error" for result in results)
        if missing:
            self._say(f"{missing} of {len(results)} responses are not edited in {self._options.db}")
        self._outcomes.update(result.status for result in results)
        return results

    def about(self) -> dict[str, Any]:
        """Nothing was paid; how many edited, and with what outcome."""
        return {
            "cost_usd": 0.0,
            "people": len(self._options.results.people),
            "outcomes": dict(sorted(self._outcomes.items())),
        }


def _result(pair: tuple[str, str], answered: Answered | None) -> EditResult:
    first = None if answered is None else answered.first
    if answered is None or first is None or first.value is None:
        status, reason = _ABSENT if answered is None else _STATUSES[answered.status]
        return EditResult(*pair, status, reason)
    text = first.value["text"]
    changes = text_changes(pair[1], text)
    if text == pair[1]:
        reason = "people say that there is nothing to mend"
        return EditResult(*pair, "rejected_unchanged", reason, text, "", changes)
    return EditResult(*pair, "ok", "", text, "", changes)
