"""The judge of a run, how many of its verdicts may be missing, and what is to be said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.models import processes

if TYPE_CHECKING:
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Judge, Verdict
    from bench.records.schema import JudgeRecord

_RETRY = "--set judge.retry="  # what goes before the statuses that are to be asked again


def make_judge(judge: type[Judge], options: Any, context: Context) -> Judge:
    """A judge of this run.

    Raises:
        UserError: it does not fit the suite, or an option is wrong.
    """
    answers = context.answers / "judge.jsonl"
    return judge(context.suite, options, answers=answers, say=context.progress.say)


def ask(
    judge: Judge, prompts: list[str], outputs: list[str], references: list[str], *, together: bool
) -> list[Verdict]:
    """The judge's verdicts. Of several processes one asks, since an answer may cost money.

    Args:
        judge: who is asked.
        prompts: as `Judge.compare` has them, and so
        outputs: and
        references: are.
        together: the judge asks a reward model, of which every process may have a part.
    """
    if together:
        return judge.compare(prompts, outputs, references)
    return processes.from_first(lambda: judge.compare(prompts, outputs, references))


def check_missing(judge: Judge, judged: Mapping[str, list[list[Verdict]]], limit: float) -> None:
    """Refuse a judgement with too many holes: as a stage's artifact it would be final.

    Args:
        judge: who judged, for the message.
        judged: by metric, the verdicts of each sample, instruction by instruction; an instruction
            is missing where one of its samples is.
        limit: share of a metric's instructions that may be missing.

    Raises:
        UserError: more are missing of one (exit code 3).
    """
    for metric, samples in judged.items():
        statuses = [_why_missing(verdicts) for verdicts in zip(*samples, strict=True)]
        missing = Counter(status for status in statuses if status is not None)
        if missing.total() > limit * len(statuses):
            counts = ", ".join(f"{n} {status}" for status, n in missing.most_common())
            asker = getattr(judge, "asker", None)  # who asks nobody says the same every time
            how = asker.mending(missing, _RETRY) if asker else ""
            raise UserError(
                f"{metric}: the judge {judge.name} gave no verdict on {missing.total()} of "
                f"{len(statuses)} instructions ({counts}), more than evaluation.max_missing="
                f"{limit:g}" + (f"; what was answered is kept: {how}" if how else ""),
                exit_code=3,
            )


def say_marks(context: Context, judge: JudgeRecord) -> None:
    """Say what a judge says against its own verdicts; they are kept, and the record has it too."""
    for mark in judge.marks:
        context.progress.say(f"the judge {judge.name}: {mark}")


def _why_missing(verdicts: tuple[Verdict, ...]) -> str | None:
    return next((v.status for v in verdicts if v.preference is None), None)
