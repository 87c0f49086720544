import pytest

from bench.errors import UserError
from leaderboard.figures import load_curves, t_band, write_figures
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
