"""The judge of a run, and how many of its verdicts may be missing."""

from __future__ import annotations

from collections import Counter

from bench.errors import UserError
from bench.loading import plugin_options
from bench.pipeline import Context
from bench.protocols import Judge, Verdict
from bench.registry import JUDGES


def make_judge(context: Context, name: str) -> Judge:
    """The judge of this name for the run's suite; the options are the configured judge's.

    Raises:
        UserError: there is no such judge, it does not fit the suite, or an option is wrong.
    """
    plugin = JUDGES.get(name)
    chosen = name == context.config.evaluation.judge
    options = plugin_options(context.config, "judge") if chosen else plugin.Options()
    judge: Judge = plugin(
        context.suite,
        options,
        answers=context.answers / "judge.jsonl",
        say=context.progress.say,
    )
    return judge


def check_missing(judge: Judge, judged: list[list[Verdict]], limit: float) -> None:
    """Refuse a judgement with too many holes: as a stage's artifact it would be final.

    Args:
        judge: who judged, for the message.
        judged: verdicts, list by list.
        limit: share of them that may be missing.

    Raises:
        UserError: more are missing (exit code 3).
    """
    verdicts = [verdict for one in judged for verdict in one]
    missing = Counter(v.status for v in verdicts if v.preference is None)
    if missing.total() > limit * len(verdicts):
        counts = ", ".join(f"{n} {status}" for status, n in missing.most_common())
        raise UserError(
            f"the judge {judge.name} gave no verdict on {missing.total()} of {len(verdicts)} "
            f"comparisons ({counts}), more than evaluation.max_missing={limit:g}; what was "
            "answered is kept, run the same command again to ask for the rest",
            exit_code=3,
        )
