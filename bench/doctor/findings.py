"""What a check found, and how far two ways to the same number may be apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Status = Literal["pass", "warn", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """A check's answer.

    Attributes:
        status: "FAIL" = the run's numbers would be wrong or it would not end; "warn" = look at it.
        measured: what was measured, with its tolerance.
        remedy: what is wrong and what to do about it; empty where nothing is.
        name: of the check.
    """

    status: Status
    measured: str
    remedy: str = ""
    name: str = ""

    def line(self, width: int) -> str:
        """The finding for people, its name filled up to `width` characters."""
        line = f"{self.status}  {self.name:<{width}}  {self.measured}"
        return f"{line}\n      {self.remedy}" if self.remedy else line


def held(ok: bool, measured: str, remedy: str, *, otherwise: Status = "FAIL") -> Finding:
    """A pass, or `otherwise` with its remedy."""
    return Finding("pass", measured) if ok else Finding(otherwise, measured, remedy)


@dataclass(frozen=True)
class Tolerance:
    """How far the same number may be apart when it is computed in batches of another shape.

    Attributes:
        logprob: nats a token.
        relative: of rewards and values, as a share of the largest; of gradients, of their norm.
    """

    logprob: float
    relative: float


TOLERANCES = {
    torch.float32: Tolerance(logprob=1e-4, relative=1e-4),
    torch.bfloat16: Tolerance(logprob=0.25, relative=0.1),
}


def tolerance(dtype: torch.dtype) -> Tolerance:
    """The tolerance of a base in `dtype`.

    Another batch shape means other kernels and another order of summation, so that numbers differ
    by some roundings. A logit between 16 and 32 has a float32 neighbour 1.9e-6 away: 1e-4 nats is
    room for 50 of them, and a leak of padding or of another row is orders of magnitude larger. Its
    bfloat16 neighbour is 0.125 away: no bfloat16 model is batch invariant to 1e-6, and a
    log-probability that moves by two neighbours, 0.25 nats, is what to expect of a deep one. There
    the checks find gross errors alone; run them with model.dtype=float32 for the others. A
    bfloat16 hidden state is right to 1/256 and the error grows through the layers and backwards
    again, hence a tenth for rewards, values and gradients.

    Raises:
        KeyError: for a dtype that `model.dtype` cannot ask for.
    """
    return TOLERANCES[dtype]
