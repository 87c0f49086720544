"""Slow, independent references: plain Python floats (float64), one loop per sum, no torch."""

import math

Row = list[float]
Mask = list[bool]


def counted(row: Row, mask: Mask) -> Row:
    """The counted elements of a row, in order."""
    return [x for x, keep in zip(row, mask, strict=True) if keep]


def softplus(x: float) -> float:
    """log(1 + exp(x)), which is -log sigma(-x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def log_softmax(logits: Row) -> Row:
    """Log-probabilities of one distribution."""
    top = max(logits)
    normaliser = top + math.log(math.fsum(math.exp(x - top) for x in logits))
    return [x - normaliser for x in logits]


def kl_estimate(logprob: float, ref_logprob: float, kind: str) -> float:
    """One token's KL estimate, Schulman's r = pi_ref / pi."""
    r = math.exp(ref_logprob) / math.exp(logprob)
    return {"k1": -math.log(r), "k2": math.log(r) ** 2 / 2, "k3": (r - 1) - math.log(r)}[kind]


def sequence_rewards(score: float, kl: Row, mask: Mask, kl_coef: float) -> Row:
    """One row; the last counted position found by walking from the right."""
    rewards = [-kl_coef * k if keep else 0.0 for k, keep in zip(kl, mask, strict=True)]
    position = len(mask) - 1
    while not mask[position]:
        position -= 1
    rewards[position] += score
    return rewards


def gae(rewards: Row, values: Row, mask: Mask, gamma: float, lam: float) -> tuple[Row, Row]:
    """One row by the double sum of arXiv:1506.02438, Eq. 16, over the row with its gaps cut out."""
    r, v = counted(rewards, mask), [*counted(values, mask), 0.0]
    deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(r))]
    compact = [
        math.fsum((gamma * lam) ** step * delta for step, delta in enumerate(deltas[t:]))
        for t in range(len(r))
    ]
    advantages, returns, t = [0.0] * len(mask), [0.0] * len(mask), 0
    for position, keep in enumerate(mask):
        if keep:
            advantages[position], returns[position] = compact[t], compact[t] + v[t]
            t += 1
    return advantages, returns


def variance(xs: Row) -> float:
    """Population variance."""
    mean = math.fsum(xs) / len(xs)
    return math.fsum((x - mean) ** 2 for x in xs) / len(xs)


def whiten(xs: Row, shift_mean: bool) -> Row:
    """Counted elements of a whole batch."""
    mean, scale = math.fsum(xs) / len(xs), math.sqrt(variance(xs) + 1e-8)
    return [(x - mean) / scale + (0.0 if shift_mean else mean) for x in xs]


def policy_loss(logprobs: Row, old_logprobs: Row, advantages: Row, clip_range: float) -> float:
    """Counted tokens; written by cases of the advantage's sign, not with min."""
    total = 0.0
    for new, old, advantage in zip(logprobs, old_logprobs, advantages, strict=True):
        ratio = math.exp(new - old)
        bounded = min(ratio, 1 + clip_range) if advantage >= 0 else max(ratio, 1 - clip_range)
        total -= bounded * advantage
    return total / len(logprobs)


def value_loss(values: Row, old_values: Row, returns: Row, clip_range: float) -> float:
    """Counted tokens."""
    total = 0.0
    for value, old, target in zip(values, old_values, returns, strict=True):
        clipped = old + min(max(value - old, -clip_range), clip_range)
        total += 0.5 * max((value - target) ** 2, (clipped - target) ** 2)
    return total / len(values)


def ranking_loss(scores: list[Row], ranks: list[list[int]]) -> float:
    """All pairs by two loops."""
    means = []
    for row, rank in zip(scores, ranks, strict=True):
        terms = [
            softplus(row[worse] - row[better])
            for better in range(len(row))
            for worse in range(len(row))
            if rank[better] < rank[worse]
        ]
        if terms:
            means.append(math.fsum(terms) / len(terms))
    return math.fsum(means) / len(means)


def token_preference(chosen: tuple[Row, Mask, Mask], rejected: tuple[Row, Mask, Mask]) -> float:
    """One pair; each side is (scores, mask, changed)."""
    means = []
    for scores, mask, changed in (chosen, rejected):
        total = math.fsum(
            s for s, keep, new in zip(scores, mask, changed, strict=True) if keep and new
        )
        means.append(total / max(sum(mask), 1))
    return softplus(means[1] - means[0])
