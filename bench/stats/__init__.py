"""Intervals, paired tests and multiplicity: pure functions on numpy and scipy.

Legend: S seeds, N instructions. The unit of analysis is the instruction: whatever was sampled or
judged more than once for one instruction is averaged before it comes here. Rates are fractions.
"""

from bench.stats.agreement import Accuracy, accuracy_interval, auroc
from bench.stats.intervals import (
    Estimate,
    PairedDifference,
    WinRate,
    mean_interval,
    paired_difference,
    win_rate,
)
from bench.stats.multiplicity import holm, minimum_detectable_effect, rank_groups
from bench.stats.seeds import (
    CROSSED,
    ONE_RUN,
    TwoWay,
    over_seeds,
    prediction_interval,
    two_way,
)

__all__ = [
    "CROSSED",
    "ONE_RUN",
    "Accuracy",
    "Estimate",
    "PairedDifference",
    "TwoWay",
    "WinRate",
    "accuracy_interval",
    "auroc",
    "holm",
    "mean_interval",
    "minimum_detectable_effect",
    "over_seeds",
    "paired_difference",
    "prediction_interval",
    "rank_groups",
    "two_way",
    "win_rate",
]
