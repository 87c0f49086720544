"""Rows that can be averaged: those that have the same seeds, and a method's variants as one."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from leaderboard.analysis.lines import Line

_Values = Mapping[int, float]


def balanced(
    groups: Sequence[Sequence[Line]], quantity: str, level: float
) -> tuple[list[list[Line]], list[int]]:
    """Of each group the rows that have the chosen seeds at a KL, and those seeds.

    One row with a single seed, or with seeds of its own, would leave no seed that all have. So
    seeds are chosen that keep a row in as many groups as can be, then most of the rows' values
    (a single seed counts for nothing: it has no spread), then most rows.
    """
    own = {line.label: frozenset(line.values(quantity, level)) for g in groups for line in g}
    choices = {first & second for first in own.values() for second in own.values()} - {frozenset()}

    def kept(seeds: frozenset[int]) -> list[list[Line]]:
        return [[line for line in lines if seeds <= own[line.label]] for lines in groups]

    def worth(seeds: frozenset[int]) -> tuple[int, int, int, int, list[int]]:
        rows = [len(lines) for lines in kept(seeds)]
        in_groups, values = sum(map(bool, rows)), sum(rows) * (len(seeds) - 1)
        return in_groups, values, sum(rows), len(seeds), sorted(-seed for seed in seeds)

    chosen = max(choices, key=worth, default=None)
    if chosen is None:
        return [[] for _ in groups], []
    return kept(chosen), sorted(chosen)


def mean_of_methods(
    lines: Sequence[Line], quantity: str, level: float, seeds: Sequence[int]
) -> dict[int, float]:
    """Seed -> mean over methods, each of which is the mean over its variants among the rows."""
    methods: dict[str, list[_Values]] = {}
    for line in lines:
        methods.setdefault(line.method, []).append(line.values(quantity, level))
    return {
        seed: fmean(fmean(values[seed] for values in own) for own in methods.values())
        for seed in seeds
        if methods
    }
