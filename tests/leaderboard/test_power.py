import csv
import io
import math

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from bench.records.files import read_items
from bench.stats import VarianceComponents, needed_instructions, needed_seeds, power
from leaderboard.analysis.compare import compare
from leaderboard.analysis.power import ONE_SEED, USUAL, Design, find_spread, make_plan, needed
from leaderboard.views.power import plan_grids, render, render_markdown, to_csv
from tests.leaderboard.test_render import text_of

GIVEN = {"seed": 0.02, "instruction": 0.3, "residual": None}


def spread(results, *labels, metric="win_rate", **given):
    return find_spread(results, None, labels, metric, given, [])


def test_from_the_runs_of_two_labels(results):
    found = spread(results, "ppo_rlhf", "sft")
    assert found.size == (3, 60)
    assert found.what == "win_rate of ppo_rlhf minus sft"
    assert "estimated from 3 seeds x 60 instructions" in found.sources["residual"]
    assert 0.05 < found.components.residual < 0.3
    plan = make_plan(found, 0.02, Design(*found.size))
    (compared,) = compare(results, None, ["ppo_rlhf", "sft"], planned=0.02)
    assert (plan.needed_seeds, plan.needed_instructions) == (
        compared.needed_seeds,
        compared.needed_instructions,
    )


def test_given_spreads_need_no_runs(tmp_path):
    found = spread(tmp_path / "nowhere", **GIVEN)
    assert found.components == VarianceComponents(0.02, 0.3, 0.0)
    assert found.size == USUAL
    assert found.sources["residual"] == "not given, taken as 0"


def test_a_given_spread_stands_in_for_the_estimate(results):
    found = spread(results, "ppo_rlhf", "sft", seed=0.05)
    own = spread(results, "ppo_rlhf", "sft")
    assert found.components.seed == 0.05
    assert found.sources["seed"] == "given"
    assert found.components.residual == own.components.residual


def test_one_seed_shows_nothing_of_seeds(make_run, tmp_path):
    make_run("sft", 0, 0.3)
    make_run("ppo_rlhf", 0, 0.4)
    found = spread(tmp_path / "results", "ppo_rlhf", "sft")
    assert found.sources["seed"] == ONE_SEED
    plan = make_plan(found, 0.05, Design(5, 60))
    assert plan.needed_seeds is None
    assert "| seeds, with 60 instructions | – |" in render_markdown(plan)
    assert spread(tmp_path / "results", "ppo_rlhf", "sft", seed=0.01).sources["seed"] == "given"


def test_runs_without_any_spread_say_nothing_of_power(make_run, tmp_path):
    """Else every difference would be certain, on two instructions."""
    for label in ("sft", "ppo_rlhf"):
        folder = make_run(label, win=0.5, n=4)
        items = [item.model_copy(update={"win_rate": 0.5}) for item in read_items(folder)]
        (folder / "items.jsonl").write_text("".join(i.model_dump_json() + "\n" for i in items))
    with pytest.raises(
        UserError, match=r"no spread of win_rate of sft minus ppo_rlhf at all, over 1"
    ):
        spread(tmp_path / "results", "sft", "ppo_rlhf")
    assert spread(tmp_path / "results", "sft", "ppo_rlhf", instruction=0.3).components.instruction


def test_the_grid_is_that_of_bench_stats(tmp_path):
    found = spread(tmp_path, **GIVEN)
    plan = make_plan(found, 0.15, Design(4, 100, alpha=0.01, comparisons=3))
    assert sorted({s for s, _ in plan.power}) == [1, 3, 4, 5, 10]
    assert sorted({n for _, n in plan.power}) == [100, 256, 805, 2000]
    level = {"alpha": 0.01, "comparisons": 3}
    assert plan.power[10, 805] == power(0.15, found.components, seeds=10, instructions=805, **level)
    assert plan.needed_seeds == needed_seeds(0.15, found.components, instructions=100, **level)
    assert plan.needed_instructions == needed_instructions(0.15, found.components, seeds=4, **level)


def test_where_no_number_is_enough():
    """Endless instructions leave the seeds' spread, and endless seeds that of instructions."""
    seeds, instructions = needed(0.01, VarianceComponents(0.1, 0.1, 0.1), Design(3, 50))
    assert (seeds, instructions) == (math.inf, math.inf)


def test_what_it_says(results, tmp_path):
    plan = make_plan(spread(tmp_path, **GIVEN), 0.05, Design(5, 805, comparisons=6))
    markdown = render_markdown(plan)
    assert "### Power, in %: to find a difference of 5.0 points in win_rate" in markdown
    assert "Two-sided test at 0.05 / 6, Holm's first step." in markdown
    assert "| between seeds | 2.0 points | given |" in markdown
    score = spread(results, "ppo_rlhf", "sft", metric="gold_score")
    text = text_of(render(make_plan(score, 0.1, Design(*score.size))))
    assert "a difference of 0.100 in gold_score of ppo_rlhf minus sft" in text
    assert "points" not in text


@pytest.mark.parametrize("width", [50, 80, 160])
def test_nothing_is_cut_in_the_terminal(tmp_path, width):
    plan = make_plan(spread(tmp_path, **GIVEN), 0.05, Design(5, 805))
    text = text_of(render(plan), width)
    assert max(map(len, text.splitlines())) <= width
    for row in plan_grids(plan)[0].rows:
        assert all(cell in text for cell in row)


def test_csv_is_unrounded(tmp_path):
    plan = make_plan(spread(tmp_path, **GIVEN), 0.05, Design(5, 805))
    rows = list(csv.DictReader(io.StringIO(to_csv(plan))))
    assert len(rows) == len(plan.power)
    assert float(rows[0]["power"]) == plan.power[1, 256]
    assert (rows[0]["seed_sd"], rows[0]["seeds"]) == ("0.02", "1")


@pytest.mark.parametrize(
    ("labels", "given", "said"),
    [
        ((), {}, "give --instruction-sd and --seed-sd"),
        ((), {"seed": 0.1}, "give --instruction-sd$"),
        (("sft",), {}, "power takes two labels, but was given 1: sft"),
        (("sft", "sff"), {}, "unknown label 'sff'"),
        (("sft", "bad"), {}, "bad has no win_rate in its items"),
    ],
)
def test_too_little_to_go_by(results, labels, given, said):
    with pytest.raises(UserError, match=said):
        spread(results, *labels, **given)


@pytest.mark.parametrize("verb", [["power"], ["compare", "sft"]])
def test_a_difference_of_a_rate_is_no_number_of_points(results, verb):
    options = ["--difference", "5", "--results", str(results)]
    found = CliRunner().invoke(app, [*verb, *options])
    assert found.exit_code == 2
    assert "--difference 5: win_rate is a fraction: 5 points are 0.05" in found.stderr
    kept = CliRunner().invoke(app, ["compare", "sft", "--metric", "gold_score", *options])
    assert kept.exit_code == 0
