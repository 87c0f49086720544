"""One metric of the regression check: the strongest test that there are numbers for.

    repeats      all runs have a run of their seed in the baseline, and equal it to the bit
    equivalence  several runs against several: the 90 % interval of the difference of their means
                 lies within the tolerance (two one-sided tests at 5 %); a true difference as large
                 as the tolerance passes in at most one case in twenty
    band         each run lies in the band of one new run

A metric that is missing fails, unless the baseline's run of the same seed lacks it too, and so does
one that differs from a run of the same code, configuration and CPU: that one must repeat. Where the
baseline shows no spread, a metric that is there is "not tested".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bench.records.files import Item, Record, Run
from leaderboard.analysis.bounds import clipped
from leaderboard.regression.baseline import Band, BaselineRun
from leaderboard.regression.environment import environment
from leaderboard.regression.rerun import by_instruction, paired

OK = "ok"
NOT_TESTED = "not tested"
_POWER = NormalDist().inv_cdf(0.8)  # standard errors by which a test finds it in 80 % of cases
_SLACK = 1e-9


@dataclass(frozen=True)
class CheckRow:
    """One metric of the baseline.

    Attributes:
        value: mean over the runs; None where one has none.
        mean, low, high: of the baseline.
        test: which it was.
        verdict: "ok", "not tested", or what is wrong.
        distance: of value from mean, in standard errors of one new run.
        residual: mean difference to the baseline's runs of the same seeds.
        largest: greatest absolute difference on one instruction, where both have items.
        detects: the true difference that fails with 80 % probability.
    """

    metric: str
    value: float | None
    mean: float
    low: float | None
    high: float | None
    test: str
    verdict: str
    distance: float | None = None
    residual: float | None = None
    largest: float | None = None
    detects: float | None = None

    @property
    def ok(self) -> bool:
        """Nothing is wrong with it, as far as it could be tested."""
        return self.verdict in (OK, NOT_TESTED)


class Twin(NamedTuple):
    """The baseline's run of the same seed: its place there, its items where they are at hand."""

    run: BaselineRun
    place: int
    items: list[Item]


class Candidate(NamedTuple):
    """A run that is checked with its items, and its twin where the baseline has one."""

    run: Run
    items: list[Item]
    twin: Twin | None

    @property
    def record(self) -> Record:
        """Of the run."""
        return self.run.record

    @property
    def must_repeat(self) -> bool:
        """Whether the twin ran the same code and configuration on the same machine, a CPU."""
        if self.twin is None or self.record.code.commit is None or self.record.hardware.gpu:
            return False
        same_config = self.twin.run.config_sha == self.record.config_sha
        return same_config and self.twin.run.environment == environment(self.record)


class _Apart(NamedTuple):
    """How far a metric is from that of the run's twin: in the mean, and on any instruction."""

    mean: float
    largest: float | None

    @property
    def is_nothing(self) -> bool:
        """Equal to the bit, as far as it is known."""
        return self.mean == 0 and not self.largest


class _Result(NamedTuple):
    """Of a test; fields as those of `CheckRow`."""

    test: str
    verdict: str
    detects: float | None = None


def judge(name: str, band: Band, candidates: Sequence[Candidate]) -> CheckRow:
    """Hold one metric of some runs against its band.

    Args:
        name: of the metric.
        band: the baseline's.
        candidates: runs of the baseline's label, at least one.
    """
    ends = _shown(name, band, candidates[0].record.suite)
    has = [one for one in candidates if name in one.record.metrics]
    lacks = [one for one in candidates if name not in one.record.metrics]
    if missing := [one.record.run_id for one in lacks if not _twin_lacks(band, one)]:
        verdict = f"missing from {', '.join(missing)}"
        return CheckRow(
            name,
            None,
            band.mean,
            *_shown(name, band, candidates[0].record.suite),
            "presence",
            verdict,
        )
    if not has:
        return CheckRow(name, None, band.mean, *ends, "repeats", OK)
    return _judge(name, band, has)


def _shown(name: str, band: Band, suite: str) -> tuple[float | None, float | None]:
    """The ends of a band, never where no run can lie."""
    if band.low is None or band.high is None:
        return band.low, band.high
    return clipped(suite, name, (band.low, band.high))


def _twin_lacks(band: Band, one: Candidate) -> bool:
    return one.twin is not None and bool(band.values) and band.values[one.twin.place] is None


def _judge(name: str, band: Band, candidates: Sequence[Candidate]) -> CheckRow:
    """The row of a metric that all of the runs have."""
    values = [one.record.metrics[name].mean for one in candidates]
    apart = [_apart(name, band, one) for one in candidates]
    known = [one for one in apart if one is not None]
    largest = [one.largest for one in known if one.largest is not None]
    value = math.fsum(values) / len(values)
    result = _test(band, values, apart, candidates)
    low, high = _shown(name, band, candidates[0].record.suite)
    return CheckRow(
        metric=name,
        value=value,
        mean=band.mean,
        low=low,
        high=high,
        test=result.test,
        verdict=result.verdict,
        distance=(value - band.mean) / band.spread if band.spread else None,
        residual=math.fsum(one.mean for one in known) / len(known) if known else None,
        largest=max(largest, default=None),
        detects=result.detects,
    )


def _apart(name: str, band: Band, one: Candidate) -> _Apart | None:
    from bench.stats import residual

    before = band.values[one.twin.place] if one.twin is not None and band.values else None
    if one.twin is None or before is None:
        return None
    mean = one.record.metrics[name].mean - before
    old, new = paired(by_instruction(one.twin.items), by_instruction(one.items), name)
    return _Apart(mean, residual(new, old).max_absolute if old else None)


def _test(
    band: Band,
    values: Sequence[float],
    apart: Sequence[_Apart | None],
    candidates: Sequence[Candidate],
) -> _Result:
    """The strongest test that there are numbers for."""
    if all(own is not None and own.is_nothing for own in apart):
        return _Result("repeats", OK)
    for one, own in zip(candidates, apart, strict=True):
        if own is not None and one.twin is not None and one.must_repeat and not own.is_nothing:
            reason = f"{one.twin.run.run_id}, the same code and configuration on the same machine"
            return _Result("repeats", f"differs by {own.mean:+.4g} from {reason}")
    if len(values) > 1 and len(band.known) > 1 and band.tolerance:
        return _equivalence(band, values, band.tolerance)
    return _within(band, values)


def _equivalence(band: Band, values: Sequence[float], tolerance: float) -> _Result:
    """Student's two-sample t on the runs' means, pooled: seeds are what varies."""
    from scipy import special

    from bench.stats import tost

    sizes = len(values), len(band.known)
    df = sum(sizes) - 2
    squares = sum(
        (size - 1) * np.var(x, ddof=1) for size, x in zip(sizes, (values, band.known), strict=True)
    )
    error = math.sqrt(squares / df * sum(1 / size for size in sizes))
    difference = math.fsum(values) / len(values) - band.mean
    found = tost(difference, error, tolerance, df=df)
    kept = float(special.stdtrit(df, 0.95) - _POWER) * error
    detects = max(0.0, tolerance - kept)
    if found.equivalent:
        return _Result("equivalence", OK, detects)
    low, high = found.ci90
    verdict = (
        f"differs by {difference:+.4g}; 90 % interval [{low:.4g}, {high:.4g}] is not within "
        f"± {tolerance:.4g}"
    )
    return _Result("equivalence", verdict, detects)


def _within(band: Band, values: Sequence[float]) -> _Result:
    """Each run in the band of one new run."""
    if band.low is None or band.high is None:
        return _Result("presence", NOT_TESTED)
    detects = None
    if band.spread is not None and band.tolerance is not None:
        detects = band.tolerance + _POWER * band.spread
    for value in values:
        if value < band.low - _SLACK:
            return _Result("band", f"{value:.4g} is below {band.low:.4g}", detects)
        if value > band.high + _SLACK:
            return _Result("band", f"{value:.4g} is above {band.high:.4g}", detects)
    return _Result("band", OK, detects)
