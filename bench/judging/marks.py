"""What must be said before a win rate is quoted: its verdicts are marked, or not valid.

Where its two orders contradict each other, a comparison adds one half to the win rate, as a tie
does. Averaging takes a taste for a position out of the win rate, but not what is lost by it: with a
share f of contradictions, a win rate w among the rest is reported as f / 2 + (1 - f) w, and a judge
that always takes what is shown first as 50.0 with a standard error of 0.

The thresholds:

- Contradictions, not valid above 1/2. A judge that does not go by the position chooses an output
  with some probability p in either order, and contradicts itself with 2 p (1 - p) <= 1/2, whatever
  the texts: what is above is owed to the position. Marked above 1/3: GPT-4 contradicted itself on
  35 % of MT-bench's pairs, GPT-3.5 on 54 % and Claude-v1 on 76 % (arXiv:2306.05685, Table 2, where
  a tie beside a preference counts as well).
- What is shown first (or second), not valid above 3/4 of the answers and marked above 2/3. Where
  all contradictions have one direction, f of them make a share of (1 + f) / 2; but a verdict in one
  order and a tie in the other is half a contradiction, and shows here alone.
- Ties that the judge itself called, marked above 1/2: more of the win rate is then made of them
  than of preferences. A tie is an answer that a judge may give, so they never make it not valid.

Not valid goes by the 95 % interval, which has to lie above the threshold as a whole, so that chance
alone seldom raises it. A mark claims less: from ten comparisons on it goes by the share itself,
below that by the interval or by there being nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench.judging.diagnostics import Judged, contradict, counts, diagnose, rate
from bench.preference import TIE
from bench.records.schema import Mark, MarkLevel

Share = Mapping[str, Any]  # of verdicts, as `bench.judging.diagnostics.rate` gives it
_ENOUGH = 10  # comparisons from which on their share is taken as it is


class _Limits(NamedTuple):
    """Shares above which verdicts are marked, and not valid."""

    marked: float
    invalid: float


_FLIPS = _Limits(1 / 3, 1 / 2)
_POSITION = _Limits(2 / 3, 3 / 4)
_TIES = _Limits(1 / 2, 1.0)  # no share is above 1


def marks(judged: Judged, diagnostics: Mapping[str, Any]) -> list[Mark]:
    """Of a judge's verdicts; none where it was asked in one order alone and does not tie.

    Args:
        judged: every pair with its verdict.
        diagnostics: what `bench.judging.diagnostics.diagnose` says of them.
    """
    ties = rate(
        (pair.prompt, verdict.preference == TIE and not contradict(verdict.orders))
        for pair, verdict in judged
        if verdict.preference is not None and verdict.status != "identical"
    )
    found = [_flips(diagnostics["flip_rate"]), _position(diagnostics["first_position_rate"])]
    return [mark for mark in (*found, _ties(ties)) if mark is not None]


def account(judged: Judged) -> dict[str, Any]:
    """What every judge's `about` says of its verdicts: counts, diagnostics and marks."""
    diagnostics = diagnose(judged)
    return {
        "counts": counts(verdict for _, verdict in judged),
        "diagnostics": diagnostics,
        "marks": [mark.model_dump() for mark in marks(judged, diagnostics)],
    }


def _flips(share: Share | None) -> Mark | None:
    if share is None:
        return None
    said = f"the two orders contradict each other in {_counted(share)} comparisons"
    return _mark("flip_rate", said, share, _FLIPS, share["n"] >= _ENOUGH or _all(share))


def _position(share: Share | None) -> Mark | None:
    if share is None:
        return None
    position, seen = ("first", share) if share["mean"] >= 0.5 else ("second", _complement(share))
    said = f"what is shown {position} is chosen in {_counted(seen)} answers"
    # Of two answers a comparison, so it takes twice as many.
    return _mark("first_position_rate", said, seen, _POSITION, share["n"] >= 2 * _ENOUGH)


def _ties(share: Share | None) -> Mark | None:
    if share is None:
        return None
    said = f"{_counted(share)} verdicts are ties"
    return _mark("tie_rate", said, share, _TIES, share["n"] >= _ENOUGH or _all(share))


def _mark(what: str, said: str, share: Share, limits: _Limits, enough: bool) -> Mark | None:
    """The mark of a share above a limit; `enough`: its mean counts, and not just its interval."""
    level = _level(share, limits, enough)
    if level is None:
        return None
    text = f"{said}, {_than(level, limits, share)}; {_MEANING[level]}"
    return Mark(what=what, level=level, text=text)


_MEANING: dict[MarkLevel, str] = {
    "marked": "each of them draws the win rate to 50 %",
    "invalid": "the position decides more than the texts, and the win rate is drawn to 50 %: take "
    "another judge or prompt, or outputs that differ more",
}


def _level(share: Share, limits: _Limits, enough: bool) -> MarkLevel | None:
    low = share["ci95"][0]
    if low > limits.invalid:
        return "invalid"
    return "marked" if (share["mean"] if enough else low) > limits.marked else None


def _all(share: Share) -> bool:
    """Whether the win rate is made of nothing else."""
    return bool(share["mean"] == 1)


def _complement(share: Share) -> dict[str, Any]:
    low, high = share["ci95"]
    return {"mean": 1 - share["mean"], "ci95": (1 - high, 1 - low), "n": share["n"]}


def _counted(share: Share) -> str:
    return f"{round(share['mean'] * share['n'])} of {share['n']}"


def _than(level: MarkLevel, limits: _Limits, share: Share) -> str:
    if level == "marked":
        return f"more than {limits.marked:.0%}"
    low = share["ci95"][0]
    return f"significantly more than {limits.invalid:.0%} (95 % interval from {low:.0%})"
