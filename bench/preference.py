"""The number in which a preference between two outputs is written, as AlpacaEval writes it.

1 is for the first output, 2 for the second, 1.5 for neither; a mean of several lies between. Where
a judge compares, the first is the reference's and the second the model's: more is better for the
model.
"""

from __future__ import annotations

from typing import Literal

FIRST, TIE, SECOND = 1.0, 1.5, 2.0

Side = Literal["first", "tie", "second"]


def side(preference: float) -> Side:
    """Which output it is for, however slightly."""
    if preference == TIE:
        return "tie"
    return "second" if preference > TIE else "first"


def exchanged(preference: float) -> float:
    """The same preference, were the outputs in the other order."""
    return FIRST + SECOND - preference


def win(preference: float) -> float:
    """How far the second output won: 1 for a win, 0 for a loss, .5 for a tie."""
    return preference - FIRST
