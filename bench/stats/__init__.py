"""Intervals, paired tests and multiplicity: pure functions on numpy and scipy.

Legend: S seeds, N instructions. The unit of analysis is the instruction: whatever was sampled or
judged more than once for one instruction is averaged before it comes here. Rates are fractions.
`bench.stats.credit` is imported by itself, so that no stage's key depends on it.
"""

from bench.stats.agreement import (
    Accuracy,
    accuracy_interval,
    auroc,
    cohen_kappa,
    raw_agreement,
)
from bench.stats.bootstrap import cluster_draws, crossed_bootstrap, percentile_interval
from bench.stats.equivalence import Equivalence, Residual, paired_tost, residual, tost
from bench.stats.intervals import (
    Estimate,
    PairedDifference,
    WinRate,
    mean_interval,
    paired_difference,
    win_rate,
)
from bench.stats.length import LengthAdjusted, length_adjusted
from bench.stats.multiplicity import holm, minimum_detectable_effect, rank_groups
from bench.stats.power import (
    VarianceComponents,
    needed_instructions,
    needed_seeds,
    power,
    variance_components,
)
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
    "Equivalence",
    "Estimate",
    "LengthAdjusted",
    "PairedDifference",
    "Residual",
    "TwoWay",
    "VarianceComponents",
    "WinRate",
    "accuracy_interval",
    "auroc",
    "cluster_draws",
    "cohen_kappa",
    "crossed_bootstrap",
    "holm",
    "length_adjusted",
    "mean_interval",
    "minimum_detectable_effect",
    "needed_instructions",
    "needed_seeds",
    "over_seeds",
    "paired_difference",
    "paired_tost",
    "percentile_interval",
    "power",
    "prediction_interval",
    "rank_groups",
    "raw_agreement",
    "residual",
    "tost",
    "two_way",
    "variance_components",
    "win_rate",
]
