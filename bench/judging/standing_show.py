"""Several judged models as tables; rates in per cent."""

from __future__ import annotations

from bench.grid import DASH, Grid, drop_empty
from bench.judging.standing import Difference, Model, Standing
from bench.llm.money.prices import dollars
from bench.records.schema import Metric

_FEW = 6  # models of which all pairs are shown
_EDGE = "*"
_SPARE = ("Samples", "Missing", "Instructions", "Length", "Equal length %", "LC SE", "SE")
_GROUPS = (
    "Group: two models that differ significantly (paired by instruction, Holm over all pairs, "
    "5 %) are never in one group, and within a group the order means nothing. Models of different "
    "groups need not differ."
)

Interval = tuple[float, float] | None


def standing_grids(standing: Standing) -> list[Grid]:
    """The models by rank, and their paired differences; what is to be said first as warnings."""
    return [_ranking(standing), _pairs(standing)]


def _ranking(standing: Standing) -> Grid:
    headers = ["Model", "Group", "Win %", "SE", "95 % interval", "LC %", "LC SE"]
    headers += ["Equal length %"]
    headers += ["Length", "Instructions", "Missing", "Samples"]
    headers, rows = drop_empty(headers, [_row(model) for model in standing.models])
    notes = [
        _GROUPS,
        "Equal length: ours, not AlpacaEval's. Length: mean characters.",
        *_length_notes(standing),
        f"Cost of all together: {dollars(standing.details.get('cost_usd'))}.",
    ]
    warnings = [f"{model.name}: {mark}" for model in standing.models for mark in model.marks]
    spare = [name for name in _SPARE if name in headers]
    return Grid(standing.title, headers, rows, notes, warnings=warnings, spare=spare)


def _length_notes(standing: Standing) -> list[str]:
    notes = []
    if any(model.length_controlled for model in standing.models):
        notes.append(
            "LC: AlpacaEval's length-controlled win rate; its SE, alpaca_eval's own, holds no "
            "spread of the fit."
        )
    if any(model.length_warning for model in standing.models):
        notes.append(
            f"{_EDGE}: few pairs of this model lie near equal length, so it is extrapolated."
        )
    return notes


def _controlled(metric: Metric | None) -> list[str]:
    if metric is None or metric.standard_error is None:
        return [DASH, DASH]
    return [_percent(metric), f"{100 * metric.standard_error:.1f}"]


def _row(model: Model) -> list[str]:
    rate, equal = model.win_rate, model.equal_length
    return [
        model.name,
        DASH if model.group is None else str(model.group),
        _percent(rate),
        DASH if rate is None or rate.standard_error is None else f"{100 * rate.standard_error:.1f}",
        _interval(rate.ci95 if rate else None),
        *_controlled(model.length_controlled),
        _percent(equal) + _EDGE * bool(model.length_warning),
        f"{model.length:.0f}",
        str(model.n),
        str(model.missing) if model.missing else DASH,
        str(model.samples) if model.samples > 1 else DASH,
    ]


def _pairs(standing: Standing) -> Grid:
    """All pairs of a few models; of many each with the next in rank, and where the others are."""
    found, notes = standing.differences, []
    if len(standing.models) > _FEW:
        following = {
            (a.name, b.name) for a, b in zip(standing.models, standing.models[1:], strict=False)
        }
        found = [one for one in found if (one.model, one.other) in following]
        notes = [f"Each with the next; all {len(standing.differences)} pairs are in models.json."]
    headers = ["Paired difference", "Points", "95 % interval", "p (Holm)", "Instructions"]
    return Grid("Win rates against each other", headers, [_pair(one) for one in found], notes)


def _pair(one: Difference) -> list[str]:
    p = "<0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"
    name = f"{one.model} - {one.other}"
    return [name, f"{100 * one.mean:+z.1f}", _interval(one.ci95, "+z"), p, str(one.n)]


def _percent(metric: Metric | None) -> str:
    return DASH if metric is None else f"{100 * metric.mean:.1f}"


def _interval(ci95: Interval, sign: str = "") -> str:
    if ci95 is None:
        return DASH
    return "[" + ", ".join(format(100 * end, f"{sign}.1f") for end in ci95) + "]"
