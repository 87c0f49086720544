import pytest

from bench.plugins.registry import METHODS
from leaderboard.analysis.rows import Row
from leaderboard.views.glossary import method_term, metric_term, paper_address


@pytest.mark.parametrize(
    ("metric", "name", "part"),
    [
        ("win_rate", "Win rate", "prefers the method's answer"),
        ("win_rate_greedy", "Win rate, greedy", "likeliest token"),
        ("gold_score_unseen", "Gold score, unseen", "no training prompt"),
        ("probe.wrong_value", "Planted error: wrong value", "error planted"),
        ("rm_accuracy.edited", "Accuracy on edits", "its minimal edit"),
        ("rm_accuracy.seen_models", "Accuracy on seen models", "pairs: seen models"),
        ("rm_detection.factuality", "Finds errors: factuality", "1 always, .5 by chance"),
        ("longer_wins.original", "The longer wins on original pairs", "longer answer is"),
        ("omissions", "Omissions", ""),
    ],
)
def test_a_metric_has_a_plain_name_and_a_meaning(metric, name, part):
    term = metric_term(metric)
    assert term.name == name
    assert part in term.meaning
    assert bool(term.meaning) == bool(part)


def test_every_method_of_ours_is_introduced():
    for entry in METHODS.entries():
        row = Row(f"{entry.name} x=1", entry.name, entry.paper, "testbed", "ok")
        assert method_term(row) == (f"{entry.name} x=1", entry.summary)
        assert method_term(row).meaning


@pytest.mark.parametrize(
    ("paper", "address"),
    [
        ("arXiv:2406.02756", "https://arxiv.org/abs/2406.02756"),
        ("arXiv:2406.02756v2", "https://arxiv.org/abs/2406.02756v2"),
        ("", ""),
        ("javascript:alert(1)", ""),
        ('arXiv:2406.02756" onclick="x', ""),
        ("arXiv:2406.02756\n", ""),
    ],
)
def test_only_an_arxiv_id_becomes_a_link(paper, address):
    assert paper_address(paper) == address
