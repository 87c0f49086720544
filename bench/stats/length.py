"""Win rate at equal length: how much of it is that judges like long answers."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.stats.intervals import Estimate, Floats, Values, rate_interval, to_floats, to_scores

_STEPS = 50
_ROUNDING = 1e-6  # of what a number usually is: as little of it is none


@dataclass(frozen=True)
class LengthAdjusted(Estimate):
    """An `Estimate` of the win rate where both answers are equally long.

    Attributes:
        length_effect: log-odds that go with tanh(length difference / sd) from 0 to 1; above 0
            where the longer answer wins.
        length_effect_error: its standard error.
    """

    length_effect: float
    length_effect_error: float


def length_adjusted(
    preferences: Values,
    lengths_model: Values,
    lengths_reference: Values,
) -> LengthAdjusted:
    """Win rate at a length difference of 0, by fractional logistic regression.

    ``E[score_i] = expit(b_0 + b_1 tanh((l_i - l'_i) / sd(l - l')))``; the estimate is expit(b_0),
    its standard error by the delta method from the robust (sandwich, HC1) covariance, its interval
    Student's on the logit scale.

    This is ours, and not AlpacaEval's length-controlled win rate (arXiv:2404.04475), from which it
    takes the tanh term: that one has an instruction-difficulty term besides, estimated over many
    models, regularises, and averages over the instructions. The two may not be compared.

    Args:
        preferences: (N,) as `win_rate` takes them.
        lengths_model: (N,) of the model's answers, in any unit; None or NaN where missing.
        lengths_reference: (N,) of the reference's, in the same unit.

    Raises:
        ValueError: if the shapes differ, a value is no preference, fewer than three items are
            complete, lengths differ by about the same on all of them (nothing to adjust by), the
            verdicts are all alike or follow from length alone (the fit has no maximum), or they
            leave no spread to tell an error from (as of items that the fit meets exactly).

    References:
        L. E. Papke and J. M. Wooldridge (1996), J. Appl. Econometrics 11(6), 619-632.
    """
    scores = to_scores(preferences)
    model, reference = to_floats(lengths_model), to_floats(lengths_reference)
    if not scores.shape == model.shape == reference.shape:
        shapes = ", ".join(str(x.shape) for x in (scores, model, reference))
        raise ValueError(f"preferences and lengths differ in shape: {shapes}")
    longer = model - reference
    present = ~np.isnan(scores) & ~np.isnan(longer)
    kept, longer = scores[present], longer[present]
    if kept.size < 3:
        raise ValueError(f"length adjustment needs three items, but {kept.size} are complete")
    term = np.tanh(longer / (longer.std(ddof=1) or 1.0))
    if np.ptp(term) < _ROUNDING:
        raise ValueError(
            f"all lengths differ by about {longer.mean():g}: there is nothing to adjust by"
        )
    design = np.column_stack([np.ones(kept.size), term])
    coefficients, errors = _fractional_logit(kept, design)
    mean = float(special.expit(coefficients[0]))
    error = mean * (1 - mean) * float(errors[0])
    return LengthAdjusted(
        mean=mean,
        standard_error=error,
        ci95=rate_interval(mean, error, kept.size - 2, kept.size),
        n=kept.size,
        missing=scores.size - kept.size,
        length_effect=float(coefficients[1]),
        length_effect_error=float(errors[1]),
    )


def _fractional_logit(scores: Floats, design: Floats) -> tuple[Floats, Floats]:
    """Coefficients (K,) by Newton's method, and their standard errors (K,), HC1."""
    n, terms = design.shape
    coefficients = np.zeros(terms)
    for _ in range(_STEPS):
        fitted = special.expit(design @ coefficients)
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if np.linalg.cond(hessian) > 1e12:
            break
        step = np.linalg.solve(hessian, design.T @ (scores - fitted))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            bread = np.linalg.inv(hessian)
            # A sum of squares: rounding cannot make it negative, as it can the product of three.
            influence = design * (scores - fitted)[:, None] @ bread
            errors = np.sqrt(n / (n - terms) * (influence**2).sum(axis=0))
            _require_spread(errors, np.sqrt(np.diag(bread)))
            return coefficients, errors
    raise ValueError("no fit: the verdicts are all alike, or length alone tells them")


def _require_spread(errors: Floats, usual: Floats) -> None:
    """Refuse errors that are rounding, beside what they would be if each verdict were a draw.

    Raises:
        ValueError: one is, or is not finite.
    """
    if not (np.isfinite(errors).all() and (errors > _ROUNDING * usual).all()):
        raise ValueError(
            "no standard error: the fit meets the verdicts that decide the estimate exactly, as it "
            "may with few of them"
        )
