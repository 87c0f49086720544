"""The rules about texts: none is in training and evaluation, none leaves against its licence."""

from __future__ import annotations

from collections.abc import Iterator

from bench.records.files import SAMPLES
from leaderboard.submission.findings import Finding, Verdict
from leaderboard.submission.offer import Offer
from leaderboard.submission.overlap import N


def contamination(new: Offer, equal_data: bool) -> Iterator[Finding]:
    """Whether evaluation prompts are among those that were trained on.

    Args:
        new: the offer.
        equal_data: whether the table's rows were trained on the same prompts: what these share with
            evaluation is then the suite's, and no advantage.
    """
    rule, seen = "contamination", new.texts.overlap
    also = ", as for the published rows" if equal_data else ""
    if new.unchecked:
        yield Finding(rule, "differs", f"by the submitter's word: {new.unchecked}")
    among = f"of {seen.evaluation:,} evaluation prompts"
    if seen.normalised:
        verdict: Verdict = "differs" if equal_data else "refused"
        text = f"{seen.normalised} {among} are training prompts ({seen.exact} letter by letter)"
        yield Finding(rule, verdict, text + also)
    else:
        yield Finding(rule, "ok", f"none {among} is one of {seen.training:,} training prompts")
    if seen.ngrams:
        text = f"{seen.ngrams} {among} share {N} words in a row with a training prompt"
        yield Finding(rule, "ok" if equal_data else "differs", text + also)


def licence(new: Offer) -> list[Finding]:
    """No text is passed on that its licence keeps back."""
    held = [run.record.run_id for run in new.runs if (run.folder / SAMPLES).is_file()]
    said = f"the suite's licence: {new.texts.licence or 'not said'}"
    if held and not new.texts.may_be_shown:
        text = f"{held[0]}: {SAMPLES} holds texts of the suite, which may not be passed on ({said})"
        return [Finding("licence", "refused", text)]
    what = "samples with texts" if held else "numbers and hashes, no texts"
    return [Finding("licence", "ok", f"{what}; {said}")]
