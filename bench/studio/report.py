"""What a study came to: who did how much, how fast and how attentively, who agrees with whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.stats import Estimate, mean_interval
from bench.studio.agreement import Measure, alike, measures, unlike
from bench.studio.results import Answered, Given, Results
from bench.studio.tasks import Value


@dataclass(frozen=True)
class Work:
    """What one person did, or all of them.

    Attributes:
        person: name.
        answers: items that were finished, hidden known answers apart.
        seconds: time of a finished item, hidden ones included; None where there is none.
        gold: how far the answers to hidden items are the known ones, from 0 to 1; one that was
            skipped is missing; None where there is none.
    """

    person: str
    answers: int
    seconds: Estimate | None
    gold: Estimate | None


@dataclass(frozen=True)
class Disagreement:
    """An item on which people differ.

    Attributes:
        item: its id in the study.
        id: the row's own.
        prompt: what was asked.
        alike: from 0 to 1, mean over pairs of people.
        said: value by person.
        adjudicated: by whom; None: by nobody yet.
    """

    item: str
    id: str | None
    prompt: str
    alike: float
    said: dict[str, Value | None]
    adjudicated: str | None


@dataclass(frozen=True)
class Report:
    """One task of a study; all its items are accounted for: `items` is the sum of `outcomes`.

    `several` and `adjudicated` are items among them; `agreement` and `disagreements` are of what
    people said, also where an adjudicator decided.
    """

    task: str
    items: int
    golds: int
    outcomes: dict[str, int]
    several: int
    adjudicated: int
    work: list[Work]
    agreement: list[Measure]
    disagreements: list[Disagreement]

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def make_report(results: Results) -> Report:
    """Measure what people said."""
    given = [one for answered in results.items for one in answered.given]
    hidden = [
        (answered, one) for answered in results.golds for one in answered.given if answered.gold
    ]
    names = sorted({one.person for one in (*given, *(one for _, one in hidden))})
    outcomes = Counter(answered.status for answered in results.items)
    return Report(
        task=results.task,
        items=len(results.items),
        golds=len(results.golds),
        outcomes={"ok": 0, **dict(sorted(outcomes.items()))},
        several=results.several,
        adjudicated=results.adjudicated,
        work=[_work(name, given, hidden) for name in names],
        agreement=measures(results),
        disagreements=_disagreements(results.items),
    )


def _work(name: str, given: Sequence[Given], hidden: Sequence[tuple[Answered, Given]]) -> Work:
    own = [one for one in given if one.person == name]
    known = [(answered, one) for answered, one in hidden if one.person == name]
    times = [one.seconds for one in (*own, *(one for _, one in known))]
    scores = [_score(answered, one) for answered, one in known]
    has_score = any(score is not None for score in scores)
    return Work(
        person=name,
        answers=len(own),
        seconds=mean_interval(times) if times else None,
        gold=mean_interval(scores) if has_score else None,
    )


def _score(answered: Answered, one: Given) -> float | None:
    if one.value is not None and answered.gold is not None:
        return alike(answered.item, one.value, answered.gold)
    return None if one.answer.kind == "skip" else 0.0


def _disagreements(items: Sequence[Answered]) -> list[Disagreement]:
    """The items of several people that are not all alike, the least alike first."""
    found = []
    for answered in items:
        mean = unlike(answered)
        if mean is None:
            continue
        said = {one.person: one.value for one in answered.given}
        content, ruled = answered.item.content, answered.adjudicated
        by = None if ruled is None else ruled.person
        one = Disagreement(answered.item.id, content.id, content.prompt, mean, said, by)
        found.append(one)
    return sorted(found, key=lambda one: one.alike)
