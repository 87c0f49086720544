"""What the page of stability says first: differences at equal KL, with their uncertainty."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from bench.stats import Estimate
from leaderboard.analysis.lines import LENGTH, MASS, NOT_RECORDED, QUANTITIES, REPEATS, SCORE, Line
from leaderboard.analysis.rows import is_percent, number
from leaderboard.analysis.stability import Stability
from leaderboard.plots.data import STRETCHED

_MORE = {
    LENGTH: ("writes {} {} tokens a response", "more", "fewer"),
    REPEATS: ("repeats {} percentage points {} of its 4-grams", "more", "less"),
    MASS: ("is paid {} {} in absolute reward", "more", "less"),
}
_UNIT = {LENGTH: "tokens a response", REPEATS: "% of 4-grams repeated", MASS: "reward mass"}


def steady_finding(found: Stability) -> list[Markup]:
    """The sentence, and what must be read with it."""
    if found.matched <= 0:
        text = "No row has moved away from SFT where its KL is known: there is none to compare at."
        return [Markup(text)]
    return [*_comparison(found), *_stretched(found), *_apart(found)]


def _comparison(found: Stability) -> list[Markup]:
    groups = found.groups
    if len(groups) > 1:
        coarse, *finer = groups
        said = [_compared(found, coarse, fine) for fine in reversed(finer)]
        caveat = Markup(
            "Methods of one granularity are averaged, a method's variants first, although they "
            "differ in what their reward models learned from, too. Intervals are of this one "
            "difference each."
        )
        return [*said, caveat, *_left_out(found)]
    unknown = [line.label for line in found.compared if line.granularity == NOT_RECORDED]
    if len(unknown) == len(found.compared):
        return [_extremes(found), Markup("How finely a response is paid is not in these records.")]
    more = Markup("How finely a response is paid is not in the records of {}.")
    return [_extremes(found), *([more.format(_listed(unknown))] if unknown else [])]


def _left_out(found: Stability) -> list[Markup]:
    """The rows that a comparison of granularities is without."""
    coarse, *finer = found.groups.values()
    labels = [label for fine in finer for label in found.left_out(coarse, fine)]
    text = Markup("Left out of a comparison, for want of the others' seeds: {}.")
    return [text.format(_listed(list(dict.fromkeys(labels))))] if labels else []


def _stretched(found: Stability) -> list[Markup]:
    """The rows whose values are no validation's own, with how many of their seeds."""
    rows = []
    for line in found.compared:
        straight = max(line.stretched(quantity, found.matched) for quantity in QUANTITIES)
        seeds = max(map(len, line.paths.values()))
        if straight:
            said = Markup("{} ({} of {} seeds)").format(_strong(line.label), straight, seeds)
            rows.append(said)
    text = Markup("{}: {}.").format(STRETCHED, Markup(", ").join(rows))
    return [text] if rows else []


def _apart(found: Stability) -> list[Markup]:
    """The rows that the sentence does not speak of."""
    text = Markup("Not compared, for they hardly move away from SFT (the numbers below): {}.")
    return [text.format(_listed(found.apart))] if found.apart else []


def _compared(found: Stability, coarse: str, fine: str) -> Markup:
    """Every quantity of the rows of one granularity less that of another."""
    own, others = found.groups[fine], found.groups[coarse]
    differences = {q: found.difference(own, others, q) for q in _MORE}
    parts = [_difference(q, e) for q, e in differences.items() if e is not None]
    if not parts:
        return Markup("Nothing is known of both rows paid by the {} and by the {}.").format(
            fine, coarse
        )
    return Markup("{}a policy that is paid by the {} {} than one that is paid by the {}.").format(
        _start(found), fine, Markup("; ").join(parts), coarse
    )


def _difference(quantity: str, estimate: Estimate) -> Markup:
    phrase, up, down = _MORE[quantity]
    sign = 1.0 if estimate.mean >= 0 else -1.0
    size = number(quantity, sign * estimate.mean)
    text = phrase.format(size, up if sign > 0 else down)
    return Markup("{} ({})").format(text, _sure(quantity, estimate, sign))


def _sure(metric: str, estimate: Estimate, sign: float, how: str = "") -> str:
    """The interval in the direction that the sentence speaks of, and whether it holds 0."""
    if estimate.ci95 is None:
        return "one seed: no interval"
    low, high = sorted(sign * end for end in estimate.ci95)
    ends = f"95 % interval {number(metric, low)} to {number(metric, high)}{how}"
    return ends if low > 0 else f"{ends}: not shown"


def _extremes(found: Stability) -> Markup:
    """The rows with the least and the most of the first quantity that all rows have."""
    read = {q: [line.at(q, found.matched) for line in found.compared] for q in QUANTITIES}
    quantity = next((q for q, estimates in read.items() if all(estimates)), None)
    if quantity is None:
        return Markup("No quantity was recorded in all rows.")
    means = {
        line.label: e
        for line, e in zip(found.compared, read[quantity], strict=True)
        if e is not None
    }
    ordered = sorted(found.compared, key=lambda line: means[line.label].mean)
    least, most = ordered[0], ordered[-1]
    metric, unit = found.metric(quantity), _unit(found, quantity)
    if least is most:
        text = number(metric, means[least.label].mean)
        return Markup("{}{} is at {} {}.").format(_start(found), _strong(least.label), text, unit)
    apart = _paired(found, most, least, quantity)
    low, high = (number(metric, means[line.label].mean) for line in (least, most))
    return Markup("{}rows go from {} ({}) to {} {} ({}){}.").format(
        _start(found), low, _strong(least.label), high, unit, _strong(most.label), apart
    )


def _unit(found: Stability, quantity: str) -> str:
    score = found.score or ""
    return _UNIT.get(quantity, f"% {score}" if is_percent(found.metric(SCORE)) else score)


def _paired(found: Stability, most: Line, least: Line, quantity: str) -> str:
    """How far apart the two rows are that were chosen for being farthest apart."""
    pairs = math.comb(len(found.compared), 2)
    estimate = found.difference([most], [least], quantity, among=pairs)
    if estimate is None:
        return ", without a seed in common"
    how = f", Bonferroni's over all {pairs} pairs of rows" if pairs > 1 else ""
    metric = found.metric(quantity)
    return f", {number(metric, estimate.mean)} apart ({_sure(metric, estimate, 1.0, how)})"


def _start(found: Stability) -> Markup:
    who = "every compared row" if found.apart else "every row"
    return Markup("At a KL of {} nats a response, the largest that {} reaches, ").format(
        f"{found.matched:g}", who
    )


def _listed(labels: Sequence[str]) -> Markup:
    return Markup(", ").join(map(_strong, labels))


def _strong(label: str) -> Markup:
    return Markup("<strong>{}</strong>").format(label)
