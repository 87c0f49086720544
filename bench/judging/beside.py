"""People, judges and a gold score side by side, on the comparisons that all of them labelled.

Two labels agree as in `bench.stats.people`: a tie by half with either side, so that chance is 1/2.
People of whom several labelled a comparison are left out in turn, both where a judge is held
against them and where they are held against each other: all that stands in one table compares with
what the others say most often, on the same comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from statistics import fmean
from typing import Any

from bench.errors import UserError
from bench.judging.labels import VALUE, Key, Labelled
from bench.judging.people import alpha_of
from bench.plugins.protocols import Judge
from bench.preference import side
from bench.stats import Accuracy, Estimate, accuracy_interval
from bench.stats.people import agreement, human_agreement, judge_agreement


@dataclass(frozen=True)
class Rater:
    """One source of labels.

    Attributes:
        name: as tables have it.
        labels: 0, 1/2 or 1 by comparison, one a person.
        people: how many there are; 1: a judge, or somebody alone.
        single: comparisons left out, since one of several people alone labelled them.
    """

    name: str
    labels: Mapping[Key, Sequence[float]]
    people: int
    single: int = 0

    @classmethod
    def of(cls, labelled: Labelled) -> Rater:
        """From a file: of people, where a comparison has several labels.

        Raises:
            UserError: somebody labels a comparison twice, or there is no label.
        """
        found = labelled.by_comparison()
        if not found:
            raise UserError(f"{labelled.path} has no verdict")
        several = {key: list(own.values()) for key, own in found.items() if len(own) > 1}
        if several:
            people = len({who for own in found.values() for who in own})
            name = f"{labelled.path.name}, {people} people"
            return cls(name, several, people, len(found) - len(several))
        names = {str(row.annotator) for _, row in labelled.rows if row.annotator is not None}
        alone = {key: list(own.values()) for key, own in found.items()}
        return cls(", ".join(sorted(names)) or labelled.path.name, alone, 1)

    @classmethod
    def judged(cls, judge: Judge, keys: Sequence[Key]) -> Rater:
        """A judge that is asked now, as one that knows the truth.

        Raises:
            UserError: these are no comparisons for it, as those of another suite are not.
        """
        prompts, firsts, seconds = (list(texts) for texts in zip(*keys, strict=True))
        try:
            verdicts = judge.compare(prompts, seconds, firsts)
        except ValueError as error:
            raise UserError(f"{judge.name} cannot judge these comparisons: {error}") from error
        labels = {
            key: [VALUE[side(verdict.preference)]]
            for key, verdict in zip(keys, verdicts, strict=True)
            if verdict.preference is not None
        }
        return cls(judge.name, labels, 1)


@dataclass(frozen=True)
class Beside:
    """How far each two raters agree.

    Attributes:
        names: of the raters.
        comparisons: that all of them labelled; all numbers are of these.
        others: comparisons of each rater that are not among them.
        single: of each, comparisons that one of several people alone labelled; not in `others`.
        agreement: of the first with the second, who come in the order of `names`; people with
            themselves are each left out.
        alpha: Krippendorff's of each rater of several people; None: not defined.
    """

    names: list[str]
    comparisons: int
    others: list[int]
    single: list[int]
    agreement: dict[tuple[str, str], Accuracy]
    alpha: dict[str, Estimate | None]

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        pairs = [
            {"first": first, "second": second, **asdict(value)}
            for (first, second), value in self.agreement.items()
        ]
        return asdict(self) | {"agreement": pairs}


def common(raters: Sequence[Rater]) -> list[Key]:
    """The comparisons that all of them labelled.

    Raises:
        UserError: there are none.
    """
    keys = [key for key in raters[0].labels if all(key in one.labels for one in raters)]
    if not keys:
        names = " and ".join(rater.name for rater in raters)
        raise UserError(f"no comparison (instruction and both outputs) has a verdict of {names}")
    return keys


def beside(raters: Sequence[Rater]) -> Beside:
    """Compare each two raters, and people with each other.

    Raises:
        UserError: two have the same name, or no comparison was labelled by all.
    """
    names = [rater.name for rater in raters]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two of the files are by {twice[0]}: their rows could not be told apart")
    keys = common(raters)
    clusters = [key[0] for key in keys]
    found = {}
    for one, other in combinations_with_replacement(raters, 2):
        if one is not other or one.people > 1:
            agree = _itself if one is other else _two(one, other)
            values = [agree(one.labels[key], other.labels[key]) for key in keys]
            found[one.name, other.name] = accuracy_interval(values, clusters)
    return Beside(
        names=names,
        comparisons=len(keys),
        others=[len(rater.labels) - len(keys) for rater in raters],
        single=[rater.single for rater in raters],
        agreement=found,
        alpha={
            rater.name: alpha_of({key: rater.labels[key] for key in keys})
            for rater in raters
            if rater.people > 1
        },
    )


_Agree = Callable[[Sequence[float], Sequence[float]], float]


def _two(one: Rater, other: Rater) -> _Agree:
    """How the labels of two raters are compared, by how many people each is."""
    if one.people > 1 and other.people == 1:
        return lambda a, b: judge_agreement(b[0], a)
    if other.people > 1 and one.people == 1:
        return lambda a, b: judge_agreement(a[0], b)
    return lambda a, b: fmean(agreement(label, b) for label in a)  # each label with each


def _itself(labels: Sequence[float], _same: Sequence[float]) -> float:
    return human_agreement(labels)
