"""Reports as tables; rates in per cent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.grid import DASH, Grid, words
from bench.judging.agreement import SIDES, Agreement
from bench.judging.beside import Beside
from bench.judging.people import People, alpha_text, summary
from bench.judging.report import Report
from bench.llm.money.prices import dollars
from bench.records.judges import JudgeQuality
from bench.records.schema import Metric
from bench.stats import Estimate

_RATES = {
    "flip_rate": "orders contradict each other",
    "first_position_rate": "first shown is chosen",
    "longer_wins": "longer output wins",
    "tie_rate": "ties",
    "refusal_rate": "refusals",
}
_BIASES = ("flip_rate", "first_position_rate", "longer_wins")
_CONTROLLED = "length-controlled win rate (AlpacaEval's)"
_HOW_BESIDE = (
    "A tie agrees by half with either side, so chance is 50 %. With people: with what most of the "
    "others say, each left out in turn. 95 % intervals are over instructions."
)
Interval = tuple[float, float] | None


def report_table(report: Report) -> Grid:
    """Win rate, what is missing, what it may depend on; what is to be said first as warnings."""
    who = f"{report.judge} ({report.model})" if report.model else report.judge
    title = f"{report.generator} against {report.reference}, judged by {who}"
    rows = [*_headline(report), *_diagnostics(report), *_provenance(report)]
    return words(title, ("", ""), rows, _banners(report))


def agreement_tables(agreement: Agreement) -> list[Grid]:
    """Agreement, kappa and who said what."""
    a, b = agreement.first, agreement.second
    unjudged = agreement.both - agreement.agreement.n
    rows = [
        ("judged by both", f"{agreement.agreement.n} ({unjudged} without a verdict in one)"),
        (
            "only in one",
            f"{agreement.only_first} in the first, {agreement.only_second} in the second",
        ),
        ("agreement", _estimate(agreement.agreement)),
        ("Cohen's kappa", _kappa(agreement)),
    ]
    confusion = [
        (f"{a}: {side}", *(str(agreement.confusion[side][other]) for other in SIDES))
        for side in SIDES
    ]
    return [
        words(f"{a} and {b}, against {agreement.reference}", ("", ""), rows),
        words("", ["", *(f"{b}: {side}" for side in SIDES)], confusion),
    ]


def beside_table(found: Beside) -> list[Grid]:
    """Each rater's agreement with each; people with each other where row and column meet."""
    both = found.agreement | {(b, a): value for (a, b), value in found.agreement.items()}
    rows = [
        [name, *(_rate(both.get((name, other))) for other in found.names)] for name in found.names
    ]
    notes = [_HOW_BESIDE]
    notes += [f"Krippendorff's alpha of {who}: {alpha_text(a)}." for who, a in found.alpha.items()]
    for counts, why in ((found.others, "others have not"), (found.single, "one of them alone has")):
        named = zip(found.names, counts, strict=True)
        notes += [f"Left out of {who}: {n} that {why} labelled." for who, n in named if n]
    title = f"Agreement in % on the same {found.comparisons} comparisons"
    return [Grid(title, ["", *found.names], rows, notes)]


def quality_tables(found: Sequence[JudgeQuality], people: People) -> list[Grid]:
    """Judges beside people and beside preferring the longer output; then what to read with it."""
    headers = ["", "agreement with people %", "people, same %", "longer, same %", "floor %"]
    headers += ["flips %", "first shown %", "longer wins %", "canaries won", "USD"]
    own = people.agreement()
    rows = [["people, each left out", _rate(own), *[DASH] * 8]]
    rows += [
        [
            judge.label,
            _rate(judge.agreement),
            _rate(judge.people),
            _rate(judge.longer),
            DASH if judge.floor is None else f"{100 * judge.floor:.1f}",
            *(_rate(judge.diagnostics.get(name)) for name in _BIASES),
            _won(judge.canaries),
            dollars(judge.cost_usd),
        ]
        for judge in sorted(found, key=lambda one: -one.agreement.mean)
    ]
    warnings = [f"{judge.label}: {mark}" for judge in found for mark in judge.marks]
    warnings += [
        f"{judge.label}: people agree with each other no more than a coin for certain, so there is "
        "no floor"
        for judge in found
        if judge.floor is None
    ]
    unnamed = [judge.label for judge in found if judge.judge is None]
    notes = ["With 95 % intervals. How the floor is set and what is marked: docs/judging.md."]
    if unnamed:
        notes.append(
            f"{', '.join(unnamed)}: no report.json says who judged, so no win rate is marked; give "
            "the folder of `bench judge --out`."
        )
    title = "Judges by people's labels"
    facts = words("", ("", ""), summary(people))
    return [Grid(title, headers, rows, notes, warnings=warnings), facts]


def _rate(metric: Metric | Estimate | None) -> str:
    if metric is None:
        return DASH
    text = f"{100 * metric.mean:.1f}"
    if metric.ci95 is None:
        return text
    return f"{text} [{100 * metric.ci95[0]:.1f}, {100 * metric.ci95[1]:.1f}]"


def _won(canaries: Mapping[str, Mapping[str, Any]]) -> str:
    own = [result for name, result in canaries.items() if name != "self"]
    return f"{sum(r['wins'] for r in own)} of {sum(r['n'] for r in own)}" if own else DASH


def canary_table(results: Mapping[str, Mapping[str, Any]], who: str) -> Grid:
    """How the canaries fared; to have passed is to be here."""
    rows = [
        (
            name,
            str(result["wins"]),
            str(result["n"]),
            "none" if result["mean"] is None else f"{result['mean']:.2f}",
        )
        for name, result in results.items()
    ]
    headers = ["canary", "won", "of", "mean (1 reference, 1.5 tie, 2 canary)"]
    return words(f"{who}: no canary won", headers, rows)


def _banners(report: Report) -> list[str]:
    lines = [str(mark) for mark in report.marks]
    if report.shared_family:
        lines.append(
            f"SAME FAMILY: a {report.shared_family} model edited the data, and one judged the "
            "result; a judge of another family tells how much of the win rate is owed to that"
        )
    return lines


def _headline(report: Report) -> list[tuple[str, str]]:
    rate = report.win_rate
    low, high = report.bounds
    counts = ", ".join(f"{n} {status}" for status, n in report.counts.items())
    samples = f", {report.samples} samples of each" if report.samples > 1 else ""
    rows = [
        ("win rate", _estimate(rate) if rate else "none: no instruction has a verdict"),
        (
            "instructions",
            f"{report.n}{samples}: {report.scored} scored, {report.missing} missing ({counts})",
        ),
        ("missing taken as lost, won", f"{low:.1%}, {high:.1%}"),
    ]
    if rate:
        rows.insert(1, ("wins, losses, ties", f"{rate.wins}, {rate.losses}, {rate.ties}"))
    if report.refusals:
        rows.append(("refusals by category", _listed(report.refusals)))
    return rows


def _diagnostics(report: Report) -> list[tuple[str, str]]:
    rows = []
    for name, label in _RATES.items():
        if rate := report.diagnostics[name]:
            spread = _interval(rate.get("ci95"))
            rows.append((label, f"{rate['mean']:.1%}{spread}, n = {rate['n']}"))
    adjusted = report.length_adjusted
    text = _estimate(adjusted) if adjusted else f"none: {report.length_problem}"
    if report.length_warning:
        text += f"; {report.length_warning}"
    rows.append(("win rate at equal length (ours, not AlpacaEval's)", text))
    if controlled := report.length_controlled:
        extreme = "; far from the raw one: the fit may have failed" * controlled.extreme
        rows.append((_CONTROLLED, _estimate(controlled) + extreme))
    elif report.length_controlled_problem:
        rows.append((_CONTROLLED, f"none: {report.length_controlled_problem}"))
    return rows


def _provenance(report: Report) -> list[tuple[str, str]]:
    about = report.details
    rows = []
    if canaries := about.get("canaries"):
        rows.append(("canaries", "; ".join(map(_canary, canaries, canaries.values()))))
    if about.get("models"):
        rows.append(("answered by", _listed(about["models"])))
    if about.get("first_at"):
        rows.append(("answers from", f"{about['first_at']} to {about['last_at']}"))
    if report.template_sha:
        rows.append(("prompt", f"{about.get('template')} [{report.template_sha[:8]}]"))
    rows.append(("cost", dollars(about.get("cost_usd"))))
    if (lost := about.get("possibly_billed_usd", 0.0)) != 0:
        rows.append(("may be billed beside, at most", dollars(lost)))
    return rows


def _canary(name: str, result: Mapping[str, Any]) -> str:
    if name == "self" and result["mean"] is not None:
        return f"self {result['mean']:.2f}"
    return f"{name} won {result['wins']} of {result['n']}"


def _estimate(estimate: Estimate) -> str:
    error = estimate.standard_error
    spread = "" if error is None else f" ± {100 * error:.1f} (one standard error)"
    return f"{estimate.mean:.1%}{spread}{_interval(estimate.ci95)}"


def _kappa(agreement: Agreement) -> str:
    if agreement.kappa is None:
        return f"none: {agreement.kappa_problem}"
    low, high = agreement.kappa.ci95 or (float("nan"), float("nan"))
    return f"{agreement.kappa.mean:.3f}, 95 % interval [{low:.3f}, {high:.3f}]"


def _interval(ci95: Interval) -> str:
    return "" if ci95 is None else f", 95 % interval [{100 * ci95[0]:.1f}, {100 * ci95[1]:.1f}]"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())
