"""How good judges are: their verdicts beside the labels of people, several of each comparison.

The floor. People disagree as well, so a judge is held to what a person reaches: `human_agreement`,
one of them left out and compared with what the others say most often, H. A judge that agrees less
than

    floor = 1/2 + (H - 1/2) / 2

keeps less than half of what a person has beyond a coin. A win rate is drawn to 50 % by just that
factor, and four times as many instructions are needed to tell two models apart as with a person.
It is marked, and not valid where its whole 95 % interval lies below. Also marked is a judge that
agrees no more than preferring the longer output does: whatever it looks at, length does as well.
Fewer than `ENOUGH` comparisons mark nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.judging.alpaca_eval import Comparison
from bench.judging.diagnostics import diagnose
from bench.judging.files import REPORT
from bench.judging.labels import VALUE, Key, Label, Labelled, key_of
from bench.judging.pairs import Pair
from bench.plugins.protocols import OrderVerdict, Verdict
from bench.preference import exchanged, side
from bench.records.judges import JudgeQuality
from bench.records.schema import Mark, MarkLevel, Metric
from bench.stats import Estimate, accuracy_interval
from bench.stats.people import human_agreement, judge_agreement, krippendorff_alpha

ENOUGH = 30  # comparisons
_DIAGNOSTICS = ("flip_rate", "first_position_rate", "longer_wins")


@dataclass(frozen=True)
class People:
    """What people say of comparisons, each of which several of them labelled.

    Attributes:
        labels: 0, 1/2 or 1 by comparison, one a person.
        sha: of the file.
        people: how many there are.
        single: comparisons left out, since one person alone labelled them.
        alpha: Krippendorff's, its interval over instructions; None: not defined.
    """

    labels: Mapping[Key, list[float]]
    sha: str
    people: int
    single: int
    alpha: Estimate | None

    @classmethod
    def read(cls, path: Path) -> People:
        """From a file of annotations with several rows a comparison.

        Raises:
            UserError: as `of`, or a row is wrong.
        """
        return cls.of(Labelled.read(path))

    @classmethod
    def of(cls, labelled: Labelled) -> People:
        """From labels, of which comparisons have several.

        Raises:
            UserError: a person labelled a comparison twice, or none was labelled by two.
        """
        found = labelled.by_comparison()
        several = {key: list(own.values()) for key, own in found.items() if len(own) > 1}
        if not several:
            raise UserError(
                f"{labelled.path}: no comparison has labels of several people (field annotator), "
                "so that nobody knows how far people agree; two files are compared by `bench agree`"
            )
        return cls(
            several,
            labelled.sha,
            len({who for own in found.values() for who in own}),
            len(found) - len(several),
            alpha_of(several),
        )

    def agreement(self, of: Callable[[Key], float | None] | None = None) -> Metric | None:
        """With what most people say, of a verdict by comparison; None: of the people themselves."""
        values, clusters = [], []
        for key, labels in self.labels.items():
            verdict = None if of is None else of(key)
            if of is not None and verdict is None:
                continue
            agree = human_agreement(labels) if verdict is None else judge_agreement(verdict, labels)
            values.append(agree)
            clusters.append(key[0])
        return Metric.of(accuracy_interval(values, clusters)) if values else None


def alpha_of(labels: Mapping[Key, Sequence[float]]) -> Estimate | None:
    """Krippendorff's alpha, its interval over instructions; None: not defined."""
    try:
        return krippendorff_alpha(list(labels.values()), [key[0] for key in labels])
    except ValueError:
        return None


def pairs_to_judge(labelled: Labelled) -> list[dict[str, Any]]:
    """Each comparison of some labels once, as `bench judge` takes them."""
    rows: dict[Key, dict[str, Any]] = {}
    for _, row in labelled.rows:
        kept = row.model_dump(include={*Comparison.model_fields}, exclude_none=True)
        rows.setdefault(key_of(row)[0], kept)
    return list(rows.values())


def quality(judged: Path, people: People, labels: Path) -> JudgeQuality:
    """A judge against people.

    Args:
        judged: a folder of `bench judge --out`, or a file of annotations.
        people: their labels.
        labels: the file of these, for messages.

    Raises:
        UserError: a file cannot be read, or it has no verdict on what people labelled.
    """
    verdicts: dict[Key, Verdict] = {}
    names = []
    for _, row in Labelled.read(judged).rows:
        key, swapped = key_of(row)
        if key in people.labels:
            verdicts[key] = _verdict(row, swapped)
            names += [str(row.annotator)] if row.annotator is not None else []

    def value(key: Key) -> float | None:
        found = verdicts.get(key)
        known = None if found is None else found.preference
        return None if known is None else VALUE[side(known)]

    agreement = people.agreement(value)
    if agreement is None:
        raise UserError(f"{judged} has no verdict on a comparison that people labelled in {labels}")
    same = replace(people, labels={k: v for k, v in people.labels.items() if value(k) is not None})
    ceiling, longer = same.agreement(), same.agreement(_longer)
    assert ceiling is not None  # it has the comparisons of `agreement`
    report = _report(judged / REPORT) if judged.is_dir() else {}
    about = report.get("details", {})
    known = [(Pair(*key), verdict) for key, verdict in verdicts.items()]
    diagnostics = {name: diagnose(known)[name] for name in _DIAGNOSTICS}
    who = report.get("model") or report.get("judge") or ", ".join(sorted(set(names)))
    prompt = about.get("template")
    floor = _floor(ceiling)
    return JudgeQuality(
        judge=report.get("judge"),
        model=report.get("model"),
        template_sha=report.get("template_sha"),
        label=", ".join(filter(None, (who, prompt))) or judged.name,
        labels_sha=people.sha[:16],
        comparisons=agreement.n or 0,
        agreement=agreement,
        people=ceiling,
        longer=longer,
        floor=floor,
        diagnostics=diagnostics,
        canaries=about.get("canaries") or {},
        cost_usd=about.get("cost_usd"),
        marks=_marks(agreement, ceiling, longer, floor),
    )


def _verdict(row: Label, swapped: bool) -> Verdict:
    def turned(preference: float | None) -> float | None:
        return exchanged(preference) if swapped and preference is not None else preference

    orders = [
        OrderVerdict(turned(own.get("preference")), str(own.get("status", "")))
        for own in row.orders
    ]
    # The output that comes first by the key was shown first in the first of the two.
    shown = tuple(reversed(orders)) if swapped else tuple(orders)
    return Verdict(turned(row.preference), row.status or "", orders=shown)


def _longer(key: Key) -> float:
    first, second = len(key[1]), len(key[2])
    return 0.5 if first == second else float(second > first)


def _report(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}, which `bench judge --out` writes: {error}") from error
    return found


def _floor(people: Metric) -> float | None:
    """Half of what people have beyond a coin; None where they have nothing for certain."""
    low = people.ci95[0] if people.ci95 else 0.0
    return None if low <= 0.5 else 0.5 + (people.mean - 0.5) / 2


def _marks(
    agreement: Metric, people: Metric, longer: Metric | None, floor: float | None
) -> list[Mark]:
    n = agreement.n or 0
    if n < ENOUGH:
        return []
    found = []
    said = f"it agrees with people in {agreement.mean:.1%} of {n} comparisons"
    if floor is not None and agreement.mean < floor:
        whole = agreement.ci95 is not None and agreement.ci95[1] < floor
        level: MarkLevel = "invalid" if whole else "marked"
        text = f"{said}, below the floor of {floor:.1%} (people: {people.mean:.1%}, a coin: 50 %)"
        found.append(Mark(what="agreement", level=level, text=text))
    if longer is not None and agreement.mean <= longer.mean:
        text = f"{said}, and preferring the longer output does in {longer.mean:.1%}"
        found.append(Mark(what="agreement", level="marked", text=text))
    return found


def summary(people: People) -> Sequence[tuple[str, str]]:
    """What is to be read beside the table, in words."""
    rows = [("comparisons", str(len(people.labels))), ("people", str(people.people))]
    if people.single:
        rows.append(("left out, labelled by one person alone", str(people.single)))
    return [*rows, ("Krippendorff's alpha of the people", alpha_text(people.alpha))]


def alpha_text(alpha: Estimate | None) -> str:
    """Alpha with its interval, in words."""
    if alpha is None:
        return "not defined"
    if alpha.ci95 is None:
        return f"{alpha.mean:.2f}"
    return "{:.2f} [{:.2f}, {:.2f}]".format(alpha.mean, *alpha.ci95)
