import json

import pytest

from bench.errors import UserError
from leaderboard.figures import load_curves, palette, t_band, write_figures
from leaderboard.runs import load


def test_figures_are_written_and_reproducible(results, tmp_path):
    paths = write_figures(results, tmp_path / "a", "testbed")
    names = sorted(path.name for path in paths)
    stems = ("gold-kl", "gold-steps", "rm-accuracy")
    assert names == sorted(f"{stem}.{end}" for stem in stems for end in ("png", "svg"))
    assert all(path.stat().st_size > 5000 for path in paths)
    again = write_figures(results, tmp_path / "b", "testbed")
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_curves_hold_the_validated_steps_of_ok_runs(results):
    groups = next(iter(load(results, "testbed")[0].values()))
    curves = load_curves(groups)
    assert sorted(curves["step"].unique()) == [0, 5, 10, 15]
    assert set(curves["label"]) == {"sft", "ppo_rlhf", "token_ppo loss=eq4"}
    assert len(curves) == 3 * 3 * 4


def test_kl_comes_from_the_rollouts_where_the_validation_has_none(make_run, tmp_path):
    path = make_run("token_ppo") / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.pop("validation_kl", None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = load_curves(next(iter(load(tmp_path / "results", "testbed")[0].values())))
    assert list(curves["validation_kl"]) == pytest.approx([0.2, 1.2, 2.2, 3.2])


def test_a_label_keeps_its_colour():
    assert list(palette(["a", "b"])) == ["a", "b"]


def test_nothing_to_draw_is_said(make_run, tmp_path):
    (make_run("sft", metrics={}) / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="has a curve or a reward model"):
        write_figures(tmp_path / "results", tmp_path / "out", "testbed")


def test_t_band():
    import pandas as pd

    low, high = t_band(pd.Series([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert t_band(pd.Series([1.0])) == (1.0, 1.0)


def test_no_run_of_the_suite(results, tmp_path):
    with pytest.raises(UserError, match="no run of suite"):
        write_figures(results, tmp_path, "other")


def test_no_curves_still_draws_the_bars(make_run, tmp_path):
    (make_run("sft") / "metrics.jsonl").unlink()
    paths = write_figures(tmp_path / "results", tmp_path / "out", "testbed")
    assert {path.stem for path in paths} == {"rm-accuracy"}
