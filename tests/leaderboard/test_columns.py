"""Headings of a suite's own metrics: its declaration says them, and nothing in the leaderboard."""

import csv
import io
from pathlib import Path

import pytest

from bench.config.section import NoOptions
from bench.plugins.capabilities import Measure
from bench.plugins.entries import Entry
from bench.plugins.registry import SUITES
from bench.records.files import PUBLISHED, Metric
from bench.suites.testbed.suite import Testbed
from leaderboard.analysis.aggregate import tables
from leaderboard.analysis.rows import is_percent, number
from leaderboard.plots.data import accuracies, bar_label
from leaderboard.views.columns import kind, probes, sections
from leaderboard.views.render import leaderboard


class Zoo:
    Options = NoOptions
    probe_kinds = ("lost_hat", "torn_sleeve")
    measures = (
        Measure("barks", "barks", greedy="shown"),
        Measure("fleas", "fleas", greedy="recorded"),
        Measure("fed_share", "fed %"),
        Measure("hidden"),
    )


OWN = {
    "probe.torn_sleeve": Metric(mean=0.25),
    "probe.of_old": Metric(mean=0.5),
    "probe.lost_hat": Metric(mean=0.75),
    "barks": Metric(mean=1.5),
    "barks_greedy": Metric(mean=1.25),
    "fleas": Metric(mean=2.0),
    "fleas_greedy": Metric(mean=9.0),
    "fed_share": Metric(mean=0.125),
    "hidden": Metric(mean=7.0),
}


@pytest.fixture
def results(make_run, tmp_path: Path) -> Path:
    make_run("sft", suite="zoo", metrics=OWN)
    return tmp_path / "results"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("zoo", f"{__name__}:Zoo", "")
    monkeypatch.setattr(SUITES, "_builtins", (*SUITES._builtins, entry))


def test_a_suite_names_its_columns_and_their_order(results: Path, installed: None) -> None:
    markdown, problems = leaderboard(results, fmt="md")
    assert not problems
    assert "| Method | lost hat % | torn sleeve % | of old % |" in markdown
    assert "| sft | 75.0 | 25.0 | 50.0 |" in markdown
    assert "| Method | barks | fleas | fed % |" in markdown
    assert "| sft | 1.500 | 2.000 | 12.5 |" in markdown
    assert "| Method | barks, greedy |" in markdown
    assert "hidden" not in markdown


def test_of_a_suite_that_is_not_installed_the_probes_are_shown_and_the_rest_is_in_the_csv(
    results: Path,
) -> None:
    markdown, problems = leaderboard(results, fmt="md")
    assert not problems
    assert "| Method | lost hat % | of old % | torn sleeve % |" in markdown
    assert "barks" not in markdown
    (row,) = csv.DictReader(io.StringIO(leaderboard(results, fmt="csv")[0]))
    assert (row["barks"], row["hidden"], row["fed_share"]) == ("1.5", "7.0", "0.125")


def test_sets_of_held_out_pairs_have_columns_and_what_the_longer_response_wins_beside(
    make_run, tmp_path: Path
) -> None:
    shares = ("rm_accuracy.unseen_models", "longer_wins.original", "longer_wins.unseen_models")
    make_run("token_ppo", metrics={name: Metric(mean=0.625) for name in shares})
    markdown, problems = leaderboard(tmp_path / "results", fmt="md")
    assert not problems
    assert "| Method | unseen models % |" in markdown
    assert "| Method | original pairs % | unseen models % |\n| --- | ---: | ---: |\n" in markdown
    assert "| token_ppo | 62.5 | 62.5 |" in markdown


def test_models_that_find_errors_have_a_table_with_a_column_each(make_run, tmp_path: Path) -> None:
    make_run("token_ppo", metrics={"rm_detection.wrong_place": Metric(mean=0.625)})
    markdown, problems = leaderboard(tmp_path / "results", fmt="md")
    assert not problems
    assert "Errors found in held-out segments" in markdown
    assert "| Method | wrong place |\n| --- | ---: |\n| token_ppo | 0.625 |" in markdown


def test_bars_stand_in_the_suites_order_under_its_words(results: Path, installed: None) -> None:
    rows = tables(results)[0][0].rows
    assert [point.step for point in accuracies("zoo", rows)] == [
        "probe.lost_hat",
        "probe.torn_sleeve",
        "probe.of_old",
    ]
    assert bar_label("probe.lost_hat") == "lost\nhat"
    assert bar_label("rm_accuracy.edited") == "edits"


def test_the_testbeds_tables_are_those_that_were_published() -> None:
    (table,) = tables(PUBLISHED / "testbed")[0]
    found = sections(table)
    assert list(found["Reward model on planted errors"].items()) == [
        ("probe.wrong_value", "wrong value %"),
        ("probe.omission", "omission %"),
        ("probe.duplicate", "duplicate %"),
        ("probe.constraint", "constraint %"),
        ("probe.rude", "rude %"),
        ("probe.hype", "hype %"),
    ]
    assert list(found["Policy, sampled"].items())[2:] == [
        ("kl_bound", "KL at most"),  # of no row here, and so not shown
        ("length", "length"),
        ("duplicates", "duplicates"),
        ("omissions", "omissions"),
        ("repeat_share", "repeated 4-grams %"),
        ("reward_mass", "reward mass"),
    ]
    assert list(found["Policy, greedy, and on unseen entities"].values())[2:] == [
        "length, greedy",
        "duplicates, greedy",
        "win %, unseen",
    ]
    assert probes("testbed", []) == [f"probe.{name}" for name in Testbed.probe_kinds]
    assert kind("probe.wrong_value") == "wrong value"


@pytest.mark.parametrize(
    ("metric", "is_fraction"),
    [
        ("fact_accuracy", True),
        ("fact_accuracy_greedy", True),
        ("fed_share", True),
        ("win_rate_unseen", True),
        ("probe.rude", True),
        ("duplicates", False),
        ("validation_win_rate", False),
        ("rm_localisation", False),
    ],
)
def test_a_metrics_name_says_whether_it_is_a_fraction(metric: str, is_fraction: bool) -> None:
    assert is_percent(metric) is is_fraction
    assert number(metric, 0.25) == ("25.0" if is_fraction else "0.250")
