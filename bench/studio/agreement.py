"""How far two answers to one item agree, and the people of a study over all items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from bench.editing.changes import TOKEN, text_changes
from bench.preference import exchanged, side
from bench.stats import Estimate, cohen_kappa, mean_interval
from bench.stats.people import krippendorff_alpha
from bench.studio.results import Answered, Results
from bench.studio.tasks import Item, TaskName, Value


@dataclass(frozen=True)
class Measure:
    """One way to say how far people agree.

    Attributes:
        name: what is measured.
        estimate: with its interval over items; None: `problem` says why.
        problem: "" where there is an estimate.
    """

    name: str
    estimate: Estimate | None
    problem: str = ""


def alike(item: Item, one: Value, other: Value) -> float:
    """From 0 to 1: how far two values of an item agree; of a known answer it is the second."""
    return _ALIKE[item.task](item, one, other)


def unity(answered: Answered) -> float | None:
    """From 0 to 1: how far the people of an item agree, mean over pairs; None: fewer than two.

    Who skipped the item said nothing of it. One who says that it cannot be mended agrees with
    everybody who says so, and with nobody who edits it. Of marked spans the types count, too.
    """
    said = [one.value for one in answered.given if one.answer.kind != "skip"]
    if len(said) < 2:
        return None

    def agree(one: Value | None, other: Value | None) -> float:
        if one is None or other is None:
            return float(one is other)
        return (_typed_spans if answered.item.task == "spans" else alike)(answered.item, one, other)

    return fmean(agree(*pair) for pair in combinations(said, 2))


def unlike(answered: Answered) -> float | None:
    """The `unity` of an item on which people disagree, below 1; None: they do not."""
    found = unity(answered)
    return None if found == 1 else found


def measures(results: Results) -> list[Measure]:
    """How far people agree on the items that several of them answered."""
    several = [one for one in results.items if len(one.said) > 1]
    found = [_mean(_NAMES[results.task], several, alike)]
    if results.task == "prefer":
        found += _chance_corrected(several, _sides, len(several))
        found += _kappas(several)
    if results.task == "rank":
        found += _chance_corrected(several, _orders, len(several))
    if results.task == "spans":
        found.append(_mean("token F1 of places and types", several, _typed_spans))
    return found


def _mean(
    name: str, several: Sequence[Answered], score: Callable[[Item, Value, Value], float]
) -> Measure:
    """Over items, of the mean over an item's pairs of people."""
    if not several:
        return Measure(name, None, "no item was answered by two")
    means = [fmean(score(one.item, *pair) for pair in combinations(one.said, 2)) for one in several]
    return Measure(name, mean_interval(means))


def _chance_corrected(
    several: Sequence[Answered], units_of: Callable[[Answered], list[list[str]]], n: int
) -> list[Measure]:
    found = [(unit, answered.item.id) for answered in several for unit in units_of(answered)]
    name = "Krippendorff's alpha"
    try:
        alpha = krippendorff_alpha([unit for unit, _ in found], [label for _, label in found])
    except ValueError as error:
        return [Measure(name, None, str(error))] if n else []
    return [Measure(name, alpha)]


def _kappas(several: Sequence[Answered]) -> list[Measure]:
    """Cohen's, of each two people."""
    by_person: dict[str, dict[str, float]] = {}
    for answered in several:
        for one in answered.given:
            if one.value is not None:
                said = by_person.setdefault(one.person, {})
                said[answered.item.id] = _by_text(answered.item, one.value)
    found = []
    for (first, a), (second, b) in combinations(sorted(by_person.items()), 2):
        shared = sorted(a.keys() & b.keys())
        if not shared:
            continue
        name = f"Cohen's kappa, {first} and {second}"
        try:
            kappa = cohen_kappa([a[key] for key in shared], [b[key] for key in shared])
            found.append(Measure(name, kappa))
        except ValueError:
            problem = f"undefined, both say one and the same of all {len(shared)}"
            found.append(Measure(name, None, problem))
    return found


def _sides(answered: Answered) -> list[list[str]]:
    return [[side(_by_text(answered.item, value)) for value in answered.said]]


def _by_text(item: Item, value: Value) -> float:
    """A preference, were the response first that is first by its text.

    Where the file has the better response first throughout, as pairs do, all who are right say the
    same side, and what they agree on would pass for chance.
    """
    first, second = item.responses
    preference: float = value["preference"]
    return preference if first <= second else exchanged(preference)


def _orders(answered: Answered) -> list[list[str]]:
    """Each two responses are a unit: which of them is better, in the order of `_by_text`."""
    texts = answered.item.responses
    by_text = sorted(range(len(texts)), key=texts.__getitem__)
    return [
        [_order(value["ranks"], i, j) for value in answered.said]
        for i, j in combinations(by_text, 2)
    ]


def _order(ranks: Sequence[int], i: int, j: int) -> str:
    return "tie" if ranks[i] == ranks[j] else "first" if ranks[i] < ranks[j] else "second"


def _same_side(_item: Item, one: Value, other: Value) -> float:
    return float(side(one["preference"]) == side(other["preference"]))


def _same_order(item: Item, one: Value, other: Value) -> float:
    pairs = list(combinations(range(len(item.responses)), 2))
    return fmean(_order(one["ranks"], *ij) == _order(other["ranks"], *ij) for ij in pairs)


def _edits(item: Item, one: Value, other: Value) -> float:
    return _f1(*(_changed(item.responses[0], value["text"]) for value in (one, other)))


def _spans(item: Item, one: Value, other: Value) -> float:
    return _f1(*(_marked(item.responses[0], value) for value in (one, other)))


def _typed_spans(item: Item, one: Value, other: Value) -> float:
    return _f1(*(_marked(item.responses[0], value, typed=True) for value in (one, other)))


def _f1(one: set[Any], other: set[Any]) -> float:
    """2 |A & B| / (|A| + |B|); 1 where both are empty."""
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0


def _changed(original: str, edited: str) -> set[tuple[int, str, str]]:
    """What was taken out where, and what was put in where: one element a token."""
    found = set()
    for change in text_changes(original, edited).changes:
        out, into = original[slice(*change.original)], edited[slice(*change.edited)]
        start = change.original[0]
        found |= {(start + token.start(), "out", token[0]) for token in TOKEN.finditer(out)}
        found |= {(start, "in", token[0]) for token in TOKEN.finditer(into)}
    return found


def _marked(text: str, value: Value, *, typed: bool = False) -> set[tuple[int, str]]:
    """Tokens that a span touches, with its type if that counts."""
    return {
        (token.start(), span["kind"] if typed else "")
        for token in TOKEN.finditer(text)
        for span in value["spans"]
        if span["start"] < token.end() and token.start() < span["end"]
    }


_ALIKE: dict[TaskName, Callable[[Item, Value, Value], float]] = {
    "edit": _edits,
    "prefer": _same_side,
    "rank": _same_order,
    "spans": _spans,
}
_NAMES: dict[TaskName, str] = {
    "edit": "F1 of changed tokens",
    "prefer": "equal preferences",
    "rank": "pairs in equal order",
    "spans": "token F1 of places",
}
