import json
import shutil

import numpy as np
import pytest

from bench.errors import UserError
from bench.records.files import (
    EditorRecord,
    JudgeRecord,
    Metric,
    Reference,
    StageRecord,
    read_items,
    read_record,
    write_record,
)
from bench.stats import CROSSED, ONE_RUN, two_way
from leaderboard.analysis.aggregate import tables


def test_one_row_a_label_ranked_by_groups(results):
    (table,), problems = tables(results)
    assert problems == []
    assert table.reason == ""
    groups = {row.label: row.group for row in table.rows}
    assert groups == {"ppo_rlhf": 1, "token_ppo loss=eq4": 1, "sft": 2, "bad": None}
    sft = next(row for row in table.rows if row.label == "sft")
    assert (sft.seeds, sft.instructions, sft.basis, sft.status) == ((0, 1, 2), 60, CROSSED, "ok")
    assert sft.stage_seconds == {"sft": 80, "ppo": 201}
    assert (sft.seconds, sft.steps_to_90) == (281, 41)


def test_the_interval_is_two_way_over_the_items(results):
    (table,), _ = tables(results)
    sft = next(row for row in table.rows if row.label == "sft")
    values = [
        [item.values["win_rate"] for item in read_items(results / "testbed" / f"sft-s{seed}")]
        for seed in range(3)
    ]
    expected = two_way(values, rate=True)
    assert sft.metrics["win_rate"].mean == pytest.approx(np.mean(values))
    assert sft.metrics["win_rate"].standard_error == pytest.approx(expected.standard_error)
    assert sft.metrics["win_rate"].ci95 == pytest.approx(expected.ci95)


def test_a_metric_without_items_is_a_mean_over_seeds(results):
    (table,), _ = tables(results)
    cell = table.rows[0].metrics["kl"]
    assert cell.mean == pytest.approx(3.6)
    assert cell.standard_error == pytest.approx(0.1 / np.sqrt(3))


def test_all_right_in_every_seed_keeps_the_wilson_interval(results):
    (table,), _ = tables(results)
    assert table.rows[0].metrics["probe.rude"].ci95 == (0.96, 1.0)


def test_a_diverged_run_keeps_its_row_at_the_end(results):
    (table,), _ = tables(results)
    assert (table.rows[-1].label, table.rows[-1].status) == ("bad", "diverged")
    assert table.rows[-1].metrics == {}
    assert table.rows[-1].failures == ("seed 0: diverged: KL is NaN at step 12",)


def test_a_run_that_was_not_judged_stands_with_its_like(make_run, tmp_path):
    """First its judge decides, then its label, then the size of the table."""
    claude = {"judge": JudgeRecord(name="claude")}
    for seed in range(3):
        make_run("sft", seed)
    make_run("token_ppo", 0, reference=Reference(name="r", sha="ff"))
    make_run("gold_ppo", 0, **claude)
    make_run("token_ppo", 1, status="out_of_memory")
    make_run("ppo_rlhf", 0, status="diverged")
    make_run("ppo_rlhf", 1, status="failed", run_id="asked", **claude)
    found, _ = tables(tmp_path / "results")
    statuses = {t.judge + t.reference_sha: {r.label: r.status for r in t.rows} for t in found}
    assert statuses == {
        "goldabcdef012345": {"sft": "ok", "ppo_rlhf": "diverged"},
        "goldff": {"token_ppo": "1 ok, 1 out of memory"},
        "claudeabcdef012345": {"gold_ppo": "ok", "ppo_rlhf": "failed"},
    }
    assert {table.reference for table in found} == {"gold-reference", "r"}


def test_runs_of_which_none_was_judged_say_so(make_run, tmp_path):
    make_run("bad", 0, status="diverged")
    (table,), _ = tables(tmp_path / "results")
    assert table.title == "testbed: gold has judged no run"


def test_a_seed_that_failed_stays_visible(make_run, tmp_path):
    make_run("sft", 0)
    make_run("sft", 1)
    make_run("sft", 2, status="out_of_memory")
    (table,), _ = tables(tmp_path / "results")
    assert table.rows[0].status == "2 ok, 1 out of memory"
    assert table.rows[0].seeds == (0, 1)


def test_a_rate_stays_within_its_bounds_with_two_seeds_too(make_run, tmp_path):
    shares = {"win_rate": 0.95, "rm_accuracy.edited": 0.9}
    for seed, wins in ((0, 0.9), (1, 1.0)):
        metrics = {name: Metric(mean=wins, standard_error=0.01) for name in shares}
        folder = make_run("sft", seed, metrics=metrics)
        rows = [
            {"index": i, "prompt_sha": str(i), "win_rate": float(i >= 10 * (1 - wins))}
            for i in range(10)
        ]
        (folder / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (table,), _ = tables(tmp_path / "results")
    cells = table.rows[0].metrics
    for name in shares:
        low, high = cells[name].ci95
        assert 0 <= low < 0.95 < high <= 1
    assert cells["rm_accuracy.edited"].ci95[1] == 1


def test_a_value_that_is_no_rate_is_a_problem(make_run, tmp_path):
    for seed in range(2):
        path = make_run("sft", seed) / "items.jsonl"
        path.write_text(path.read_text().replace('"win_rate": 0.', '"win_rate": 3.', 1))
    (table,), problems = tables(tmp_path / "results")
    assert table.rows[0].group is None
    assert problems.count("sft: win_rate: a rate lies between 0 and 1, but the table holds other "
                          "values") == 1  # fmt: skip


def test_costs_are_known_only_if_each_is(make_run, tmp_path):
    paid = JudgeRecord(name="gold", counts={"ok": 1}, cost_usd=1.5)
    unknown = JudgeRecord(name="gold", counts={"ok": 1})
    never = JudgeRecord(name="gold")
    editor = EditorRecord(name="claude", source="claude:x", cost_usd=0.25)
    for seed in range(2):
        make_run("sft", seed, judge=paid, editor=editor)
        make_run("ppo_rlhf", seed, judge=unknown if seed else paid)
    make_run("sft", 2, judge=never, status="diverged")
    (table,), _ = tables(tmp_path / "results")
    costs = {row.label: (row.cost_usd, row.editor_usd) for row in table.rows}
    assert costs == {"sft": (3.0, 0.5), "ppo_rlhf": (None, None)}


def test_one_seed_is_labelled(make_run, tmp_path):
    make_run("sft")
    (table,), _ = tables(tmp_path / "results")
    assert table.rows[0].basis == ONE_RUN
    assert table.rows[0].group == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"judge": JudgeRecord(name="claude")}, "judge: claude here, gold there"),
        ({"judge": JudgeRecord(name="gold", template_sha="t2")}, "template_sha: t2 here"),
        ({"judge": JudgeRecord(name="gold", model="m")}, "judge_model: m here"),
        ({"reference": Reference(name="r", sha="ff")}, "reference_sha: ff here"),
        ({"suite": "alpacafarm"}, "suite: alpacafarm here, testbed there"),
    ],
)
def test_what_cannot_be_compared_is_split_and_says_why(make_run, tmp_path, fields, reason):
    make_run("sft", 0)
    make_run("ppo_rlhf", 0)
    make_run("token_ppo", 0, 0.9, **fields)
    first, second = tables(tmp_path / "results")[0]
    assert {row.label for row in first.rows} == {"sft", "ppo_rlhf"}
    assert reason in second.reason
    assert [row.group for row in second.rows] == [1]


def test_where_values_come_from_makes_no_other_row(make_run, tmp_path):
    """A preset's file with the values of the default preset is the default preset's row."""
    make_run("sft", 0)
    make_run("sft", 1, preset="mine.yaml", run_id="mine")
    (table,), problems = tables(tmp_path / "results")
    assert {row.label: row.seeds for row in table.rows} == {"sft": (0, 1)}
    assert problems == []


def test_the_default_presets_runs_have_the_plain_label(make_run, tmp_path):
    other = {"seed": 0, "ppo": {"lr": 1e-3}}
    for seed in range(3):
        make_run("sft", seed, preset="other", config=other, run_id=f"other-{seed}")
    make_run("sft", 0)
    (table,), _ = tables(tmp_path / "results")
    rows = {row.label: row.seeds for row in table.rows}
    assert rows == {"sft": (0,), "sft [ppo.lr=0.001]": (0, 1, 2)}


def test_a_field_that_older_records_lack_has_its_default(make_run, tmp_path):
    make_run("sft", 0)
    newer = {"seed": 1, "ppo": {"lr": 1e-4, "gamma": 1.0, "gae_lambda": 0.95}}
    make_run("sft", 1, config=newer)
    (table,), problems = tables(tmp_path / "results")
    assert [row.label for row in table.rows] == ["sft"]
    assert problems == []


def test_a_repeated_seed_counts_once_the_newest(make_run, tmp_path):
    make_run("sft", 0, 0.9, run_id="old", finished_at="2025-01-01T00:00:00Z")
    make_run("sft", 0, 0.3, run_id="new")
    make_run("sft", 0, run_id="cut", status="interrupted", finished_at="2027-01-01T00:00:00Z")
    (table,), problems = tables(tmp_path / "results")
    assert table.rows[0].metrics["win_rate"].mean < 0.5
    assert table.rows[0].status == "ok"
    assert len(problems) == 1
    assert "new is a newer run" in problems[0]


@pytest.mark.parametrize("status", ["failed", "out_of_memory", "diverged", "interrupted"])
def test_a_run_that_failed_never_displaces_one_that_ended_ok(make_run, tmp_path, status):
    make_run("sft", 0, 0.9)
    late = {"run_id": "late", "finished_at": "2027-01-01T00:00:00Z"}
    make_run("sft", 0, status=status, error="a typo", **late)
    (table,), problems = tables(tmp_path / "results")
    (row,) = table.rows
    assert (row.status, row.seeds, row.failures) == ("ok", (0,), ())
    if status == "interrupted":
        assert problems == []
    else:
        (line,) = problems
        assert f"late: left out, its status is {status}; sft-s0, an older run of 'sft'" in line


def test_a_failure_that_was_mended_is_not_spoken_of_but_a_divergence_is(make_run, tmp_path):
    early = {"finished_at": "2025-01-01T00:00:00Z"}
    make_run("sft", 0)
    make_run("sft", 0, status="failed", run_id="typo", **early)
    make_run("sft", 0, status="diverged", run_id="nan", **early)
    problems = tables(tmp_path / "results")[1]
    assert len(problems) == 1
    assert "nan: left out, its status is diverged; sft-s0, a newer run" in problems[0]


def test_a_copy_of_a_run_is_no_newer_run(make_run, tmp_path):
    folder = make_run("sft", 0)
    make_run("sft", 1)
    for name in ("a-backup", "sft-s0.bak"):  # before it and after it, by name
        shutil.copytree(folder, folder.with_name(name))
    (table,), problems = tables(tmp_path / "results")
    assert table.rows[0].seeds == (0, 1)
    assert [line.partition(": ")[2] for line in problems] == [
        f"passed over, it is a copy of {folder}"
    ] * 2


def test_own_runs_are_no_part_of_the_published_results(make_run, tmp_path):
    make_run("sft", 0)
    own = make_run("token_ppo", 0, suite="runs/testbed")
    results = tmp_path / "results"
    assert [row.label for row in tables(results)[0][0].rows] == ["sft"]
    assert [row.label for row in tables(own.parents[1])[0][0].rows] == ["token_ppo"]


def test_what_is_wrong_is_a_problem_and_not_a_crash(make_run, tmp_path):
    make_run("sft", 0)
    folder = make_run("ppo_rlhf", 0)
    (folder / "items.jsonl").unlink()
    (make_run("token_ppo", 0) / "record.json").write_text("{")
    edited = make_run("gold_ppo", 0)
    record = read_record(edited)
    write_record(record.model_copy(update={"metrics": {"win_rate": Metric(mean=0.99)}}), edited)
    (table,), problems = tables(tmp_path / "results")
    text = "\n".join(problems)
    assert "ppo_rlhf-s0/items.jsonl: cannot be read" in text
    assert "ppo_rlhf: not ranked" in text
    assert "token_ppo-s0/record.json, line 1: not JSON" in text
    assert "metrics.win_rate.mean is 0.990000 in record.json" in text
    rows = {row.label: row for row in table.rows}
    assert rows["ppo_rlhf"].group is None
    assert rows["ppo_rlhf"].metrics["win_rate"].mean > 0
    assert rows["gold_ppo"].metrics["win_rate"].mean < 0.9


def test_another_configuration_is_a_row_of_its_own(make_run, tmp_path):
    """An experiment with --set neither replaces nor joins the runs that have the plain label."""
    make_run("sft", 0)
    make_run("sft", 1)
    newer = {"run_id": "tried", "finished_at": "2027-01-01T00:00:00Z"}
    make_run("sft", 0, 0.9, config={"seed": 0, "ppo": {"lr": 1e-3}}, **newer)
    (table,), problems = tables(tmp_path / "results")
    assert {row.label: row.seeds for row in table.rows} == {
        "sft": (0, 1),
        "sft [ppo.lr=0.001]": (0,),
    }
    assert problems == []


def test_many_differences_are_a_hash_and_a_problem(make_run, tmp_path):
    make_run("sft", 0)
    make_run("sft", 0, config={"seed": 0, **dict.fromkeys("abcd", 1)}, run_id="other")
    (table,), problems = tables(tmp_path / "results")
    label = next(row.label for row in table.rows if row.label != "sft")
    assert label.startswith("sft [config ")
    assert problems == [f"{label}: 5 values differ from sft: a, b, c, d, ppo.lr, ..."]


def test_methods_that_are_not_held_equal_are_reported(make_run, tmp_path):
    make_run("sft", 0, config={"method": "sft", "seed": 0, "reward": {}, "ppo": {"lr": 1e-4}})
    other = {"method": "token_ppo", "seed": 0, "reward": {"loss": "eq4"}, "ppo": {"lr": 1e-3}}
    make_run("token_ppo loss=eq4", 0, config=other)
    problems = tables(tmp_path / "results")[1]
    assert problems == ["token_ppo loss=eq4: not held equal to sft: ppo.lr"]


def test_a_section_says_nothing_where_no_stage_reads_it(make_run, tmp_path):
    """Seeds of PPO from before there was one, and after, are one row; beside DPO's, held equal."""
    make_run("ppo_rlhf", 0, config={})
    make_run("ppo_rlhf", 1, config={"offline": {"lr": 1e-5}})
    trained = StageRecord(name="offline", role="policy", key="k", seconds=1, cached=False)
    for seed in range(2):
        make_run("dpo", seed, config={"offline": {"lr": 1e-5}}, stages=[trained])
    (table,), problems = tables(tmp_path / "results")
    assert {row.label for row in table.rows} == {"ppo_rlhf", "dpo"}
    assert not [problem for problem in problems if "offline" in problem]


def test_no_common_seed_is_not_compared(make_run, tmp_path):
    make_run("sft", 0, 0.1)
    make_run("token_ppo", 1, 0.9)
    (table,), problems = tables(tmp_path / "results")
    assert [row.group for row in table.rows] == [None, None]
    assert table.warnings == ("Not compared: sft and token_ppo have no seed in common.",)
    assert problems == []


def test_one_common_seed_of_several_is_not_compared(make_run, tmp_path):
    """Seed 4 alone says that B is above A, all five that A is above B."""
    for seed in range(5):
        make_run("A", seed, 0.9 if seed < 4 else 0.1)
        make_run("B", seed + 4, 0.3)
    (table,), _ = tables(tmp_path / "results")
    assert [row.group for row in table.rows] == [None, None]
    said = "Not compared: A and B have several seeds, but only seed 4 in common."
    assert table.warnings == (said,)


def test_one_seed_is_compared_with_several(make_run, tmp_path):
    make_run("sft", 1, 0.1)
    for seed in range(3):
        make_run("token_ppo", seed, 0.9)
    (table,), _ = tables(tmp_path / "results")
    assert [row.group for row in table.rows] == [1, 2]
    assert table.warnings == ()


def test_a_seed_without_values_is_left_out_and_named(results):
    path = results / "testbed" / "sft-s1" / "items.jsonl"
    rows = [json.loads(line) | {"win_rate": None} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, rows)))
    (table,), _ = tables(results)
    sft = next(row for row in table.rows if row.label == "sft")
    kept = [
        [item.values["win_rate"] for item in read_items(results / "testbed" / f"sft-s{seed}")]
        for seed in (0, 2)
    ]
    assert sft.group == 2
    assert sft.metrics["win_rate"].mean == pytest.approx(np.mean(kept))
    assert table.warnings == ("sft: without seed 1, which has no win_rate.",)


def test_null_is_missing_and_an_absent_key_was_never_asked(make_run, tmp_path):
    folder = make_run("sft", 0, metrics={"win_rate": Metric(mean=0.5)})
    rows = [
        {"index": 0, "prompt_sha": "a", "win_rate": 0.25},
        {"index": 1, "prompt_sha": "b", "win_rate": 0.75},
        {"index": 2, "prompt_sha": "c", "win_rate": None},
        {"index": 3, "prompt_sha": "d", "win_rate_unseen": 1.0},
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (table,), _ = tables(tmp_path / "results")
    assert (table.rows[0].instructions, table.rows[0].missing) == (2, 1)


def test_unknown_folder_and_suite(results, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        tables(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no run of suite 'x' \(suites there: testbed\)"):
        tables(results, "x")


def test_another_base_model_is_another_table(results, make_run):
    """Also for a run that was never judged, and so has no reference of its own."""
    base = {"seed": 0, "model": {"path": "/home/somebody/small"}}
    make_run("sft [small]", 0, 0.9, config=base)
    make_run("ppo_rlhf [small]", 0, config=base, status="diverged")
    first, second = tables(results)[0]
    assert {row.label for row in second.rows} == {"sft [small]", "ppo_rlhf [small]"}
    assert (first.base, second.base) == (None, "small")
    assert second.title == first.title.replace("testbed:", "testbed on small:")
    assert second.reason == "base: small here, None there"


def test_a_given_sft_model_is_another_table_and_named_as_what_it_is(results, make_run):
    given = {"seed": 0, "model": {"path": "small"}, "sft": {"path": "/home/somebody/tuned"}}
    make_run("sft sft.path=tuned", 0, 0.9, config=given)
    second = tables(results)[0][1]
    assert second.title.startswith("testbed on the SFT model tuned: ")


def test_a_run_of_a_part_is_in_no_ranking_and_its_reward_model_counts(results, make_run):
    """Seed 3 ended behind the reward model; a label of its own has no win rate at all."""
    accuracy = {"rm_accuracy.edited": Metric(mean=0.5, standard_error=0.1, ci95=(0.3, 0.7))}
    part = {"status": "partial", "until": "reward_model", "metrics": accuracy}
    make_run("token_ppo loss=eq4", 3, **part)
    make_run("fine_grained_ppo", 0, **part)
    make_run("token_ppo", 0, **part, config={"seed": 0, "model": {"path": "small"}})
    board, apart = tables(results)[0]
    rows = {row.label: row for row in board.rows}
    mixed, alone = rows["token_ppo loss=eq4"], rows["fine_grained_ppo"]
    assert (mixed.status, mixed.seeds, mixed.failures) == ("3 ok, 1 partial", (0, 1, 2), ())
    assert mixed.metrics["win_rate"].mean == pytest.approx(0.601, abs=0.05)
    # .90, .91 and .92 of the whole runs, and .5
    assert mixed.metrics["rm_accuracy.edited"].mean == pytest.approx(0.8075)
    assert (alone.status, alone.group, alone.seeds) == ("partial", None, ())
    assert alone.metrics["rm_accuracy.edited"].mean == 0.5
    assert apart.title == "testbed on small: gold has judged no run"


def test_one_seed_whose_verdicts_are_all_alike_has_an_interval(make_run, tmp_path):
    """A bootstrap of them has no width; 0 of 60 says that the rate is small, not that it is 0."""
    folder = make_run("sft", win=0.0)
    items = [item.model_copy(update={"win_rate": 0.0}) for item in read_items(folder)]
    (folder / "items.jsonl").write_text("".join(item.model_dump_json() + "\n" for item in items))
    record = read_record(folder)
    none = Metric(mean=0.0, standard_error=0.0, ci95=(0.0, 0.0), n=len(items))
    write_record(record.model_copy(update={"metrics": record.metrics | {"win_rate": none}}), folder)
    (table,), _ = tables(tmp_path / "results")
    found = table.rows[0].metrics["win_rate"]
    assert (found.mean, found.ci95[0]) == (0.0, 0.0)
    assert 0.02 < found.ci95[1] < 0.1
