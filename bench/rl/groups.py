"""Baselines from other responses to the same prompt, in the place of a value function."""

from jaxtyping import Float
from torch import Tensor

from bench.rl.checks import check_float, check_rank

_EPSILON = 1e-4  # as in the released code of GRPO's successors: TRL, veRL


def _groups(scores: Float[Tensor, " B"], samples: int) -> Float[Tensor, "G K"]:
    check_rank(1, scores=scores)
    check_float(scores=scores)
    if samples < 2:
        raise ValueError(f"a baseline needs 2 responses to a prompt, not {samples}")
    if scores.shape[0] % samples:
        raise ValueError(f"scores has shape {tuple(scores.shape)}, which is no groups of {samples}")
    return scores.view(-1, samples)


def leave_one_out(scores: Float[Tensor, " B"], samples: int) -> Float[Tensor, " B"]:
    """By how much each response is better than the others to its prompt.

    Equation, i one of K responses: ``A_i = R_i - (1/(K-1)) sum_{j != i} R_j``.

    Args:
        scores: (B,) R, reward units; the K responses to a prompt stand side by side.
        samples: K, 2 or more.

    Returns:
        (B,) reward units; a group's sum is 0.

    Raises:
        ValueError: if B is no multiple of K, or K is less than 2.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2402.14740 (RLOO), Section 3.3.
    """
    groups = _groups(scores, samples)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (samples - 1)
    return (groups - others).flatten()


def group_standardised(scores: Float[Tensor, " B"], samples: int) -> Float[Tensor, " B"]:
    """How many standard deviations each response is above the mean of its group.

    Equation, i one of K responses: ``A_i = (R_i - mean(R)) / (std(R) + eps)``, eps = 1e-4, with
    the sample's standard deviation (divided by K - 1).

    Args:
        scores: (B,) R, reward units; the K responses to a prompt stand side by side.
        samples: K, 2 or more.

    Returns:
        (B,) without a unit; 0 for a group of equal scores.

    Raises:
        ValueError: if B is no multiple of K, or K is less than 2.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2402.03300 (GRPO), Section 4.1.2.
    """
    groups = _groups(scores, samples)
    centred = groups - groups.mean(dim=1, keepdim=True)
    return (centred / (groups.std(dim=1, keepdim=True) + _EPSILON)).flatten()
