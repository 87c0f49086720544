"""What a metric can be: no band ends where none of its values can lie."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.plugins.registry import SUITES
from leaderboard.analysis.rows import Interval, is_percent

if TYPE_CHECKING:
    from bench.plugins.capabilities import Measure

# Of the core's own that are no shares. Not the KL: what is measured is an estimate, which may be
# below 0.
_OWN: dict[str, Interval] = {
    "rm_localisation": (0.0, 1.0),
    "proxy_gold_correlation": (-1.0, 1.0),
    "reward_mass": (0.0, math.inf),
    "length": (0.0, math.inf),
}


def clipped(suite: str, metric: str, band: Interval) -> Interval:
    """A band without what lies beyond the least and the most that a suite's metric can be."""
    least, most = _bounds(suite, metric)
    return max(least, band[0]), min(most, band[1])


def _bounds(suite: str, metric: str) -> Interval:
    name = metric.removesuffix("_greedy")
    if is_percent(metric) or metric.startswith("rm_detection."):
        return 0.0, 1.0
    if name in _OWN:
        return _OWN[name]
    found = (measure.least for measure in declared(suite)[1] if measure.name == name)
    least = next(found, None)
    return -math.inf if least is None else least, math.inf


def declared(suite: str) -> "tuple[Iterable[str], Iterable[Measure]]":
    """Kinds of planted errors and measures of a suite; nothing of one that is not there."""
    try:
        found = SUITES.get(suite)
    except UserError:
        return (), ()
    return getattr(found, "probe_kinds", ()), getattr(found, "measures", ())
