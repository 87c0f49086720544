import json
import math

import pytest

from bench.records.files import EditorRecord, JudgeRecord, RanOn, RecordError, StageRecord
from leaderboard.views.show import show, sparkline, verdict
from tests.leaderboard.test_render import text_of


def test_one_run_in_the_terminal(make_run):
    text = text_of(show(make_run("token_ppo", 1)))
    for part in (
        "token_ppo  testbed, preset testbed, seed 1  ok",
        "judge gold against gold-reference [abcdef01]: 60 ok, cost unknown",
        "3.4 min in this run, 4.7 min without the cache",
        "rm_accuracy.original",
        "validation_gold",
        "▁",
        "better than the reference",
        "lowest rewards 'cat' -1.50",
        "Output (sampled, score 0.50, better than the reference)",
        "Reference (score 0.25)",
    ):
        assert part in text


def test_what_stages_ran_on_is_shown(make_run):
    """Stages of one place share a line; those of a record that is too old to say have none."""
    one, two = (RanOn(device="a CPU", threads=n, packed=yes) for n, yes in ((1, True), (2, None)))
    other = RanOn(device="a GPU", threads=2, packed=False)
    places = {"sft": one, "edits": two, "ppo": one, "old": None, "outputs": other}
    stages = [
        StageRecord(name=name, key="k", seconds=1, cached=False, ran_on=place)
        for name, place in places.items()
    ]
    lines = text_of(show(make_run("sft", stages=stages))).splitlines()
    assert [line.strip() for line in lines if line.startswith("On a ")] == [
        "On a CPU, 1 thread, batches packed: sft, ppo.",
        "On a CPU, 2 threads: edits.",
        "On a GPU, 2 threads, batches padded: outputs.",
    ]


def test_config_differences_from_the_preset(make_run):
    text = text_of(show(make_run("sft"), defaults={"seed": 0, "ppo": {"lr": 1e-3}}))
    assert "differs from preset testbed in 1 value" in text
    assert "0.0001" in text
    assert "0.001" in text


def test_what_a_record_is_too_old_to_know_is_no_difference(make_run):
    folder = make_run("sft")
    usual = {"seed": 0, "ppo": {"lr": 1e-4, "new": 1}}
    text = text_of(show(folder, defaults=usual))
    assert "Config: that of preset testbed" in text
    assert "Not in this record, which is older: ppo.new." in text
    dropped = text_of(show(folder, defaults={"seed": 0, "ppo": {}}))
    assert "differs from preset testbed in 1 value" in dropped


def test_judge_and_editor_with_cost_and_details(make_run):
    judge = JudgeRecord(
        name="claude", model="claude-sonnet-5-5", template_sha="feed" * 16,
        counts={"ok": 58, "refusal": 2}, cost_usd=1.234, details={"flips": {"rate": 0.125}},
    )  # fmt: skip
    editor = EditorRecord(name="claude", source="claude:x:ab12", details={"rejected": 7})
    text = text_of(show(make_run("sft", judge=judge, editor=editor)))
    for part in (
        "judge claude (claude-sonnet-5-5), prompt feedfeed against gold-reference [abcdef01]",
        ": 58 ok, 2 refusal, 1.23 USD",
        "editor claude (claude:x:ab12, cost unknown)",
        "Judge's own report",
        "flips.rate",
        "Editor's own report",
        "rejected",
    ):
        assert part in text


def test_what_a_judge_says_against_its_verdicts(make_run):
    marks = [{"what": "tie_rate", "level": "marked", "text": "60 of 60 verdicts are ties"}]
    judge = JudgeRecord(name="claude", details={"marks": marks})
    text = text_of(show(make_run("sft", judge=judge)))
    assert "MARKED: 60 of 60 verdicts are ties" in text


def test_a_run_without_ppo_lacks_no_curve(make_run):
    folder = make_run("sft", stages=[])
    (folder / "metrics.jsonl").unlink()
    assert "cannot be read" not in text_of(show(folder))


@pytest.mark.parametrize("role", ["policy", None])
def test_curves_are_those_of_the_stage_that_trained_the_policy(make_run, role):
    """By its role, whatever its name; a policy that was trained for another is not the run's."""
    stage = StageRecord(name="offline", role=role, key="k", seconds=1, cached=False)
    text = text_of(show(make_run("dpo", stages=[stage])))
    assert ("over steps" in text) == (role == "policy")


@pytest.mark.parametrize("width", [60, 80, 160])
def test_nothing_is_cut(make_run, width):
    text = text_of(show(make_run("token_ppo")), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    line = next(line for line in text.splitlines() if line.startswith("kl ") and "▁" in line)
    assert line.split()[1][-1] == "█"


def test_a_curve_of_nothing_finite_is_still_a_line(make_run):
    folder = make_run("sft")
    rows = [{"step": i, "reward": math.nan} for i in range(3)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert "!!!" in text_of(show(folder))


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
    assert sparkline([0, 1, 2, 3], 9) == "▁▃▆█"
    assert sparkline([1, 1], 9) == "▁▁"
    assert sparkline([0, math.nan, 1], 9) == "▁!█"
    assert sparkline([math.nan], 9) == "!"
    assert sparkline([], 9) == ""
    long = sparkline(list(range(1000)), 48)
    assert len(long) == 48
    assert long[-1] == "█"


def test_verdict():
    found = [verdict(p) for p in (1, 1.25, 1.5, 0, 2, None)]
    assert [text.split()[0] for text in found] == ["worse", "worse", "tie", "tie", "better", "no"]
