"""Which metrics the tables show under which heading: the core's own, and those of the suite.

What a suite measures beside them it declares itself (`probe_kinds` and `measures`,
`bench.plugins.capabilities`). The declaration is looked up by the suite's name when a table is
shown, not kept in the records: a heading is no result, and older records need none. Of a suite that
is not installed here the planted errors are shown as they are found, and its measures in the CSV
alone.
"""

from collections.abc import Iterable

from leaderboard.analysis.bounds import declared
from leaderboard.analysis.rows import Row, Table

PROBE = "probe."
ACCURACY, LONGER = "rm_accuracy.", "longer_wins."  # of sets of held-out pairs
DETECTION = "rm_detection."  # of models that find errors in segments
HELD_OUT = {
    "rm_accuracy.original": "original pairs %",
    "rm_accuracy.original_clean": "clean labels %",
    "rm_accuracy.edited": "edits %",
    "rm_localisation": "localisation",
}

REWARD_MODELS = "Reward model on held-out pairs"
EDITS = {"edit_changed_share": "mean %", "edit_changed_median_share": "median %"}


def sections(table: Table) -> dict[str, dict[str, str]]:
    """The metrics of each section of a table with their headings, by the section's title."""
    measures = declared(table.suite)[1]
    shown = {measure.name: measure.heading for measure in measures if measure.heading}
    greedy = {
        f"{measure.name}_greedy": f"{measure.heading}, greedy"
        for measure in measures
        if measure.heading and measure.greedy == "shown"
    }
    planted = {metric: f"{kind(metric)} %" for metric in probes(table.suite, table.rows)}
    metrics = dict.fromkeys(name for row in table.rows for name in row.metrics)
    kinds = {name: set_heading(name) for name in metrics if name.startswith(ACCURACY)}
    found = {
        name: name.removeprefix(DETECTION).replace("_", " ")
        for name in metrics
        if name.startswith(DETECTION)
    }
    longer = {name: set_heading(name) for name in metrics if name.startswith(LONGER)}
    return {
        "What edits change, of words and marks": EDITS,
        REWARD_MODELS: HELD_OUT | kinds,
        "Errors found in held-out segments": found,
        "The longer response on the same pairs": longer,
        "Reward model on planted errors": planted,
        "Policy, sampled": {
            "gold_score": "gold",
            "kl": "KL",
            "kl_bound": "KL at most",
            "length": "length",
            **shown,
            "repeat_share": "repeated 4-grams %",
            "reward_mass": "reward mass",
        },
        "Policy at matched KL": {
            "win_rate_matched": "win %, matched",
            "gold_score_matched": "gold, matched",
            "kl_matched": "KL, matched",
            "length_matched": "length, matched",
        },
        "Policy, greedy, and on unseen entities": {
            "gold_score_greedy": "gold, greedy",
            "win_rate_greedy": "win %, greedy",
            "length_greedy": "length, greedy",
            **greedy,
            "win_rate_unseen": "win %, unseen",
        },
    }


def set_heading(metric: str) -> str:
    """Over a column about one set of held-out pairs."""
    name = metric.rpartition(".")[2]
    return HELD_OUT.get(ACCURACY + name, f"{name.replace('_', ' ')} %")


def probes(suite: str, rows: Iterable[Row]) -> list[str]:
    """The metrics of planted errors: those of the suite in its order, then any that rows have."""
    planted = [PROBE + name for name in declared(suite)[0]]
    found = [name for row in rows for name in row.metrics if name.startswith(PROBE)]
    return list(dict.fromkeys([*planted, *found]))


def kind(probe: str) -> str:
    """What sort of error a metric is about, in words."""
    return probe.removeprefix(PROBE).replace("_", " ")
