import math

import pytest

from bench.record import RecordError
from leaderboard.show import show, sparkline, verdict
from tests.leaderboard.test_render import text_of


def test_one_run_in_the_terminal(make_run):
    text = text_of(show(make_run("token_ppo", 1)))
    for part in (
        "token_ppo  testbed, preset testbed, seed 1  ok",
        "judge gold against gold-reference [abcdef01]: 60 ok",
        "3.4 min in this run, 4.7 min without the cache",
        "rm_accuracy.original",
        "validation_gold",
        "▁",
        "better than the reference",
        "lowest rewards 'cat' -1.50",
    ):
        assert part in text


def test_config_differences_from_the_preset(make_run):
    text = text_of(show(make_run("sft"), defaults={"seed": 0, "ppo": {"lr": 1e-3}}))
    assert "differs from preset testbed in 1 value" in text
    assert "0.0001" in text
    assert "0.001" in text


def test_a_failed_run_says_why(make_run):
    text = text_of(show(make_run("sft", status="diverged", error="KL is NaN at step 12")))
    assert "diverged" in text
    assert "KL is NaN at step 12" in text


def test_missing_curves_and_samples_are_named(make_run):
    folder = make_run("sft")
    (folder / "metrics.jsonl").unlink()
    (folder / "samples.jsonl").write_text("{")
    text = text_of(show(folder / "record.json"))
    assert "metrics.jsonl: cannot be read" in text
    assert "line 1: not JSON" in text
    with pytest.raises(RecordError):
        show(folder / "nowhere")


def test_sparkline():
    assert sparkline([0, 1, 2, 3]) == "▁▃▆█"
    assert sparkline([1, 1]) == "▁▁"
    assert sparkline([0, math.nan, 1]) == "▁!█"
    assert sparkline([math.nan]) == "!"
    assert sparkline([]) == ""
    long = sparkline(list(range(1000)))
    assert len(long) == 48
    assert long[-1] == "█"


def test_verdict():
    found = [verdict(p) for p in (1, 1.25, 1.5, 0, 2, None)]
    assert [text.split()[0] for text in found] == ["worse", "worse", "tie", "tie", "better", "no"]
