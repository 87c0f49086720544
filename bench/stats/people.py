"""Agreement with people of whom several labelled each comparison. Imported by itself.

A label is a side: 0 = the first output is better, 1/2 = a tie, 1 = the second. Two labels agree by
``1 - |a - b|``: a tie agrees by half with either side, as it would if a coin were thrown, so that
a judge gains nothing by calling ties, and chance is 1/2 for any judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from statistics import fmean

Labels = Sequence[float]


def left_out(labels: Labels) -> list[list[float]]:
    """What the others say most often, without each of the people in turn; several where tied.

    Raises:
        ValueError: there are fewer than two people.
    """
    if len(labels) < 2:
        raise ValueError(f"{len(labels)} label: without it there is none")
    found = []
    for i in range(len(labels)):
        counts = Counter([*labels[:i], *labels[i + 1 :]])
        most = max(counts.values())
        found.append([label for label, n in counts.items() if n == most])
    return found


def human_agreement(labels: Labels) -> float:
    """How far a person agrees with what the other people say most often, mean over the people."""
    modes = left_out(labels)
    return fmean(_agree(label, mode) for label, mode in zip(labels, modes, strict=True))


def judge_agreement(verdict: float, labels: Labels) -> float:
    """How far a judge agrees with just what `human_agreement` compares people with."""
    return fmean(_agree(verdict, mode) for mode in left_out(labels))


def _agree(label: float, modes: Labels) -> float:
    return fmean(1 - abs(label - mode) for mode in modes)


def krippendorff_alpha(units: Sequence[Labels]) -> float | None:
    """Agreement of all people beyond chance, for labels as names; 1 is perfect, 0 is chance.

        alpha = 1 - (n - 1) sum_{c != k} o_ck / sum_{c != k} n_c n_k

    with o_ck the pairs of labels c, k of one unit, each counted 1 / (m_u - 1), and n_c their sums.
    None where all labels are the same, or no unit has two.

    References: K. Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, nominal data.
    """
    pairs: Counter[tuple[float, float]] = Counter()
    for labels in units:
        for pair in permutations(labels, 2):
            pairs[pair] += 1 / (len(labels) - 1)  # type: ignore[assignment]
    sums: Counter[float] = Counter()
    for (label, _), count in pairs.items():
        sums[label] += count
    n = sum(sums.values())
    expected = n * n - sum(count * count for count in sums.values())
    if expected <= 0:
        return None
    observed = sum(count for (a, b), count in pairs.items() if a != b)
    return 1 - (n - 1) * observed / expected
