"""How plots look: one colour and one marker a label, readable on a light page and on a dark one."""

import re
from dataclasses import dataclass

# (light, dark) pairs: contrast with their page of at least 3:1, apart for colour-blind readers.
COLOURS = (
    ("#0072b2", "#56b4e9"), ("#d55e00", "#f4935a"), ("#00865f", "#3fcf9f"),
    ("#a3447f", "#e6a1cb"), ("#8a6d00", "#e3c341"), ("#4d4d4d", "#c9c9c9"),
    ("#3b2f9e", "#a79bf0"), ("#8c1c3c", "#f28aa3"), ("#3f7d20", "#9bd770"),
    ("#00707a", "#6cd3dc"),
)  # fmt: skip
MARKERS = "osD^vPX<>"
INK, GRID, PAPER = ("#262626", "#dfe3e6"), ("#d5d8db", "#3a4047"), ("#ffffff", "#14171a")
WIDTH, HEIGHT = 4.8, 3.3  # inches, without the legend: text stays readable on a phone


@dataclass(frozen=True)
class Look:
    """The colour and the marker that a label has in every plot."""

    colours: dict[str, str]
    markers: dict[str, str]

    @classmethod
    def of(cls, labels: list[str]) -> "Look":
        """One for each label, in their order; ninety labels look different."""
        return cls(
            {label: COLOURS[i % len(COLOURS)][0] for i, label in enumerate(labels)},
            {label: MARKERS[i % len(MARKERS)] for i, label in enumerate(labels)},
        )


def dark(svg: str) -> str:
    """The same drawing for a dark page: each colour of ours by its counterpart."""
    swaps = dict((*COLOURS, INK, GRID, PAPER))
    return re.sub("|".join(swaps), lambda found: swaps[found[0]], svg)


def plain(label: str) -> str:
    """A label that matplotlib does not read as TeX."""
    return label.replace("$", r"\$")
