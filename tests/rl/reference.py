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


def smoothed(z: float, label_smoothing: float) -> float:
    """One pair's loss: the two labels' losses, weighed."""
    return (1 - label_smoothing) * softplus(-z) + label_smoothing * softplus(z)


def log_softmax(logits: Row) -> Row:
    """Log-probabilities of one distribution."""
    top = max(logits)
    normaliser = top + math.log(math.fsum(math.exp(x - top) for x in logits))
    return [x - normaliser for x in logits]


def kl_estimate(logprob: float, ref_logprob: float, kind: str) -> float:
    """One token's KL estimate, Schulman's r = pi_ref / pi."""
    r = math.exp(ref_logprob) / math.exp(logprob)
    kinds = {
        "k1": -math.log(r),
        "k2": math.log(r) ** 2 / 2,
        "k3": (r - 1) - math.log(r),
        "k1_clamped": -math.log(r) if r < 1 else 0.0,
    }
    return kinds[kind]


def sequence_rewards(score: float, mask: Mask) -> Row:
    """One row; the last counted position found by walking from the right."""
    rewards = [0.0] * len(mask)
    position = len(mask) - 1
    while not mask[position]:
        position -= 1
    rewards[position] += score
    return rewards


def last_position(mask: Mask) -> int:
    """Where the last counted token stands."""
    return max(t for t, keep in enumerate(mask) if keep)


def missing_eos(scores: Row, mask: Mask, finished: bool, penalty: float, *, replace: bool) -> Row:
    """One row."""
    out = [s if keep else 0.0 for s, keep in zip(scores, mask, strict=True)]
    if not finished:
        out = [0.0] * len(out) if replace else out
        out[last_position(mask)] -= penalty
    return out


def place_final_score(scores: Row, mask: Mask, finished: bool, position: str) -> tuple[Row, Mask]:
    """One row: (scores, state mask)."""
    out = [s if keep else 0.0 for s, keep in zip(scores, mask, strict=True)]
    counts, last = list(mask), last_position(mask)
    if position == "eos" and not finished:
        out[last] = 0.0
    if position == "first_pad" and last + 1 < len(mask):
        out[last], out[last + 1] = 0.0, out[last]
        counts[last + 1] = True
    return out, counts


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


def variance(xs: Row, unbiased: bool = False) -> float:
    """Over n or n - 1."""
    mean = math.fsum(xs) / len(xs)
    return math.fsum((x - mean) ** 2 for x in xs) / (len(xs) - unbiased)


def whiten(xs: Row, shift_mean: bool, unbiased: bool = False) -> Row:
    """Counted elements of a whole batch; a single one has variance 0."""
    mean = math.fsum(xs) / len(xs)
    scale = math.sqrt((variance(xs, unbiased) if len(xs) > 1 else 0.0) + 1e-8)
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


def ratio_statistics(logprobs: Row, old_logprobs: Row, clip_range: float) -> dict[str, float]:
    """Counted tokens."""
    ratios = [
        math.exp(new) / math.exp(old) for new, old in zip(logprobs, old_logprobs, strict=True)
    ]
    n = len(ratios)
    return {
        "clip_fraction": sum(not 1 - clip_range <= r <= 1 + clip_range for r in ratios) / n,
        "approx_kl": math.fsum(r - 1 - math.log(r) for r in ratios) / n,
        "ratio_mean": math.fsum(ratios) / n,
        "ratio_max": sorted(ratios)[-1],
        "ratio_std": math.sqrt(variance(ratios)),
    }


def ranking_loss(scores: list[Row], ranks: list[list[int]], label_smoothing: float = 0.0) -> float:
    """All pairs by two loops."""
    means = []
    for row, rank in zip(scores, ranks, strict=True):
        terms = [
            smoothed(row[better] - row[worse], label_smoothing)
            for better in range(len(row))
            for worse in range(len(row))
            if rank[better] < rank[worse]
        ]
        if terms:
            means.append(math.fsum(terms) / len(terms))
    return math.fsum(means) / len(means)


def response_reward(scores: Row, mask: Mask, changed: Mask) -> float:
    """R(tau) of Eq. 1, or of Eq. 4 where not all is changed."""
    total = math.fsum(s for s, keep, new in zip(scores, mask, changed, strict=True) if keep and new)
    return total / max(sum(mask), 1)


def divergence_terms(chosen: Row, rejected: Row, first: int, margin: float) -> Row:
    """One pair's margins from the first divergence on; each side counted tokens, walked in step."""
    if first < 0:
        return []
    terms = []
    for t in range(first, max(len(chosen), len(rejected))):
        at = [row[t] if t < len(row) else (row[-1] if row else 0.0) for row in (chosen, rejected)]
        terms.append(at[0] - at[1] - margin)
    return terms


def segments(scores: Row, ends: Mask, mask: Mask) -> list[tuple[float, list[int]]]:
    """(score, positions) of each segment of a row, found by walking from the left."""
    found: list[tuple[float, list[int]]] = []
    positions: list[int] = []
    for t, keep in enumerate(mask):
        if not keep:
            continue
        positions.append(t)
        if ends[t] or not any(mask[t + 1 :]):
            found.append((scores[t], positions))
            positions = []
    return found


def segment_rewards(scores: Row, ends: Mask, mask: Mask) -> Row:
    """One row."""
    rewards, found = [0.0] * len(mask), segments(scores, ends, mask)
    for score, positions in found:
        for t in positions:
            rewards[t] = score / len(positions) / len(found)
    return rewards
