"""Whether a proposed edit is a minimal one: something changed, and not too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.editing.changes import TextChanges, text_changes
from bench.errors import UserError
from bench.llm.answers import UNANSWERED
from bench.llm.retries import mending
from bench.plugins import protocols

EditStatus = Literal[
    "ok",
    "rejected_unchanged",
    "rejected_changed_too_much",
    "rejected_empty",
    "refusal",
    "truncated",
    "parse_error",
    "api_error",
    "expired",
    "skipped_budget",
]


@dataclass(frozen=True)
class Limits:
    """What makes an edit too large to be minimal; see `bench.editing.changes.TextChanges`.

    What replaces is told from what only cuts or only adds: people take out whole sentences, and add
    what is missing, and leave the rest as it was.

    Attributes:
        max_changed: largest `replaced`.
        max_removed: largest `removed`.
        max_added: largest `growth`.
        always_allowed: changed tokens that are allowed in the shortest response too.

    The defaults accept nine in ten of people's corrections (docs/editing.md).
    """

    max_changed: float = 0.65
    max_removed: float = 0.9
    max_added: float = 2.0
    always_allowed: int = 4

    def problem(self, changes: TextChanges) -> str:
        """Why the changes are too many, in words; "" if they are not."""
        if changes.tokens <= self.always_allowed:
            return ""
        found = (
            ("replaced", changes.replaced, self.max_changed),
            ("taken out", changes.removed, self.max_removed),
            ("added", changes.growth, self.max_added),
        )
        return "; ".join(
            f"{share:.1%} of the words and marks were {what}, at most {most:.1%} may be"
            for what, share, most in found
            if share > most
        )


MINIMAL = Limits()


@dataclass(frozen=True)
class EditResult:
    """What became of one response.

    Attributes:
        prompt: the instruction.
        original: the response.
        status: "ok", or why there is no edit.
        reason: the same in words; "" where it is ok.
        proposed: the last text that the editor gave, accepted or not; None where there is none.
        note: what the editor says needed repair.
        changes: from `original` to `proposed`.
    """

    prompt: str
    original: str
    status: EditStatus
    reason: str = ""
    proposed: str | None = None
    note: str = ""
    changes: TextChanges | None = None

    @property
    def edited(self) -> str | None:
        """The accepted edit."""
        return self.proposed if self.status == "ok" else None

    @property
    def rejected(self) -> bool:
        """Whether there was a proposal, and it was not accepted."""
        return self.status.startswith("rejected")

    @property
    def changed_fraction(self) -> float | None:
        """Of the proposal; see `TextChanges`."""
        return self.changes.fraction if self.changes else None

    @property
    def words_added(self) -> int | None:
        """Words, parted by spaces, that the proposal has more than the original."""
        if self.proposed is None:
            return None
        return len(self.proposed.split()) - len(self.original.split())

    @property
    def characters_added(self) -> int | None:
        """Characters that the proposal has more than the original."""
        return None if self.proposed is None else len(self.proposed) - len(self.original)


def assess(prompt: str, original: str, proposed: str, note: str, limits: Limits) -> EditResult:
    """Accept a proposal or say why not.

    Args:
        prompt: the instruction.
        original: the response, not blank.
        proposed: the editor's text; the blank space around the original is put around it.
        note: what the editor says needed repair.
        limits: how much may be changed.
    """
    proposed = _with_margins(original, proposed.strip())
    changes = text_changes(original, proposed)
    status, reason = _verdict(proposed, changes, limits)
    return EditResult(prompt, original, status, reason, proposed, note, changes)


def require_answers(
    results: Sequence[protocols.EditResult], max_missing: float, consequence: str
) -> None:
    """Refuse edits with too many holes that asking again would fill.

    Args:
        results: of all responses.
        max_missing: share of them that may be without an answer.
        consequence: what is not done, and what allows it; for the message.

    Raises:
        UserError: more are without an answer (exit code 3).
    """
    missing: Counter[str] = Counter(
        result.status for result in results if result.status in UNANSWERED
    )
    if missing.total() > max_missing * len(results):
        counts = ", ".join(f"{n} {status}" for status, n in missing.most_common())
        raise UserError(
            f"{missing.total()} of {len(results)} responses have no answer from the editor "
            f"({counts}), more than {max_missing:.1%}: {consequence}.\nWhat was answered is kept; "
            + mending(missing, "--retry "),
            exit_code=3,
        )


def _verdict(proposed: str, changes: TextChanges, limits: Limits) -> tuple[EditStatus, str]:
    if not proposed.strip():
        return "rejected_empty", "the edited response is empty"
    if not changes.tokens:
        return "rejected_unchanged", "nothing was changed"
    if problem := limits.problem(changes):
        return "rejected_changed_too_much", problem
    return "ok", ""


def _with_margins(original: str, text: str) -> str:
    """`text` between the blank space that is around the original: a model does not see it."""
    start = len(original) - len(original.lstrip())
    end = len(original.rstrip())
    return original[:start] + text + original[end:]
