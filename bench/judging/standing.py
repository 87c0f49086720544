"""Several models that one judge compared with one reference: rank groups and paired differences.

The statistics are those of the leaderboard (`bench.stats`): paired by instruction, Holm over all
pairs, with Student's intervals of the differences, as the p-values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from bench.errors import UserError
from bench.judging.report import Averaged, Report
from bench.preference import win
from bench.records.schema import Mark, Metric
from bench.stats import WinRate, holm, rank_groups, two_way

STANDING = "models.json"
ALPHA = 0.05


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Model(_Kept):
    """One model. Rates are fractions, lengths are in characters.

    Attributes:
        name: whose outputs these are; no other has it.
        n, missing: instructions, and how many of them have no verdict.
        samples: outputs of each.
        group: of its rank; None where it has no verdict.
        length: mean of its outputs.
        win_rate, bounds, marks: as a `Report`'s.
        equal_length: `Report.length_adjusted`, with `length_warning`.
        length_controlled: AlpacaEval's, where it was asked for and can be had.
    """

    name: str
    n: int
    missing: int
    samples: int
    group: int | None
    length: FiniteFloat
    win_rate: Metric | None
    bounds: tuple[FiniteFloat, FiniteFloat]
    equal_length: Metric | None
    length_warning: str = ""
    length_controlled: Metric | None = None
    marks: list[Mark]


class Difference(_Kept):
    """One model's win rate minus another's, over the instructions on which both have a verdict.

    Attributes:
        n: these instructions.
        p_value, p_holm: two-sided, of Student's t; the second after Holm over all pairs.
    """

    model: str
    other: str
    mean: FiniteFloat
    standard_error: FiniteFloat | None
    ci95: tuple[FiniteFloat, FiniteFloat] | None
    n: int
    p_value: FiniteFloat
    p_holm: FiniteFloat

    @property
    def significant(self) -> bool:
        """At 5 %, after Holm."""
        return self.p_holm <= ALPHA


class Standing(_Kept):
    """What `models.json` holds.

    Attributes:
        judge, model, template_sha: who judged, and by which prompt.
        reference, reference_sha: what all models were compared with.
        models: the best win rate first; what has none last.
            differences: of every two of them, the better minus the other.
        details: what the judge says of its work on all of them: cost, models, dates, canaries.
    """

    document: Literal["bench.judged-1"] = "bench.judged-1"
    judge: str
    model: str | None
    template_sha: str | None
    reference: str
    reference_sha: str
    models: list[Model]
    differences: list[Difference]
    details: dict[str, Any]

    @property
    def title(self) -> str:
        """Judge and reference, in words."""
        who = f"{self.judge} ({self.model})" if self.model else self.judge
        prompt = f", prompt {self.template_sha[:8]}" if self.template_sha else ""
        return (
            f"{len(self.models)} models against {self.reference} [{self.reference_sha[:8]}], "
            f"judged by {who}{prompt}"
        )


def rank(
    judged: Mapping[str, tuple[Report, Sequence[Averaged]]], details: Mapping[str, Any]
) -> Standing:
    """Set models beside each other.

    Args:
        judged: by name each model's report, and its instructions; all have the same.
        details: what the judge says of all of its work.
    """
    rates = {name: one.win_rate for name, (one, _) in judged.items() if one.win_rate is not None}
    names = sorted(judged, key=lambda name: (name not in rates, -_mean(rates.get(name)), name))
    differences = _differences({name: judged[name][1] for name in names})
    groups = rank_groups(
        {name: rate.mean for name, rate in rates.items()},
        {(one.model, one.other): one.p_value for one in differences},
    )
    first = next(iter(judged.values()))[0]
    return Standing(
        judge=first.judge,
        model=first.model,
        template_sha=first.template_sha,
        reference=first.reference.name,
        reference_sha=first.reference.sha,
        models=[_model(name, *judged[name], groups.get(name)) for name in names],
        differences=differences,
        details=dict(details),
    )


def read_standing(path: Path) -> Standing:
    """Read `models.json`, or the one in a folder.

    Raises:
        UserError: there is none, or it is something else.
    """
    file = path / STANDING if path.is_dir() else path
    try:
        return Standing.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read {file}: {reason}; `judge A.json B.json --out FOLDER` writes it"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{file}: {field}: {first['msg']}; `judge` wrote no such file") from error


def _mean(rate: WinRate | None) -> float:
    return rate.mean if rate else 0.0


def _model(name: str, report: Report, own: Sequence[Averaged], group: int | None) -> Model:
    adjusted = report.length_adjusted
    return Model(
        name=name,
        n=report.n,
        missing=report.missing,
        samples=report.samples,
        group=group,
        length=fmean(one.length for one in own),
        win_rate=report.win_rate and Metric.of(report.win_rate),
        bounds=report.bounds,
        equal_length=adjusted and Metric.of(adjusted),
        length_warning=report.length_warning,
        length_controlled=report.length_controlled and Metric.of(report.length_controlled),
        marks=list(report.marks),
    )


def _differences(models: Mapping[str, Sequence[Averaged]]) -> list[Difference]:
    """The better minus the other, of every two that have a verdict on a common instruction.

    Args:
        models: the instructions of each, the best model first.
    """
    scores = {
        name: {one.prompt: win(one.preference) for one in own if one.preference is not None}
        for name, own in models.items()
    }
    found = {}
    for a, b in combinations(scores, 2):
        both = [scores[a][prompt] - scores[b][prompt] for prompt in scores[a].keys() & scores[b]]
        if both:
            found[a, b] = two_way([sorted(both)], bootstrap=False)
    adjusted = holm([one.p_value for one in found.values()])
    return [
        Difference(
            model=a,
            other=b,
            mean=one.mean,
            standard_error=one.standard_error,
            ci95=one.ci95,
            n=one.n,
            p_value=one.p_value,
            p_holm=p,
        )
        for ((a, b), one), p in zip(found.items(), adjusted, strict=True)
    ]
