import json
import re

import pytest
from matplotlib.figure import Figure

from bench.errors import UserError
from bench.records.files import Damage
from leaderboard.analysis.aggregate import tables
from leaderboard.analysis.runs import load
from leaderboard.plots import Look, dark, draw, make_plots, write_figures
from leaderboard.plots.data import Plot, Point, load_curves, summary
from leaderboard.plots.look import COLOURS, GRID, INK, MARKERS, PAPER
from leaderboard.plots.panels import MANY

STEMS = ("gold-kl", "gold-steps", "gold-time", "kl", "matched-score", "rm-accuracy")


def groups_of(results):
    return next(iter(load(results, "testbed")[0].values()))


def plots_of(results, problems=None):
    rows = tables(results, "testbed")[0][0].rows
    return {
        plot.name: plot
        for plot in make_plots(groups_of(results), rows, [] if problems is None else problems)
    }


def edit_curves(folder, change):
    path = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        change(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_figures_are_written_and_reproducible(results, tmp_path):
    paths = write_figures(results, tmp_path / "a", "testbed")
    names = sorted(path.name for path in paths)
    assert names == sorted(f"{stem}.{end}" for stem in STEMS for end in ("png", "svg"))
    assert all(path.stat().st_size > 5000 for path in paths)
    again = write_figures(results, tmp_path / "b", "testbed")
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_curves_hold_every_step_of_ok_runs(results):
    curves = load_curves(groups_of(results), [])
    assert set(curves["label"]) == {"sft", "ppo_rlhf", "token_ppo loss=eq4"}
    assert len(curves) == 3 * 3 * 20


def test_a_score_is_drawn_at_the_validated_steps(results):
    plot = plots_of(results)["gold-steps"]
    assert plot.labels == ["ppo_rlhf", "sft", "token_ppo loss=eq4"]
    assert [point.step for point in plot.of("sft")] == [0, 5, 10, 15]
    assert plot.note == "mean and 95 % interval, 3 seeds"
    last = plot.of("sft")[-1]
    assert last.mean == pytest.approx(0.3 * 15 / 20 + 0.01)  # of seeds 0, 1, 2: + 0, .01, .02
    assert last.high - last.mean == pytest.approx(0.024841, abs=1e-6)
    assert last.mean - last.low == pytest.approx(0.024841, abs=1e-6)


def test_the_reached_kl_is_that_of_the_next_rollouts(results):
    points = plots_of(results)["gold-kl"].of("sft")
    assert [point.x for point in points] == pytest.approx([0.2, 1.2, 2.2, 3.2])


def test_the_proxy_and_the_rollouts_are_drawn_where_they_were_logged(make_run, tmp_path):
    folder = make_run("token_ppo")
    edit_curves(folder, lambda row: row.update(reward=row["step"] / 10, reward_mass=1.0, length=9))
    plots = plots_of(tmp_path / "results")
    assert {"gold-proxy", "reward-mass", "length"} <= set(plots)
    assert [p.x for p in plots["gold-proxy"].of("token_ppo")] == pytest.approx([0.1, 0.6, 1.1, 1.6])
    assert plots["length"].note == "one seed: no interval"


def test_the_win_rate_stands_in_for_a_gold_score(make_run, tmp_path):
    edit_curves(make_run("token_ppo"), lambda row: row.pop("validation_gold", None))
    assert {"win-rate-steps", "win-rate-kl"} <= set(plots_of(tmp_path / "results"))


@pytest.mark.parametrize(("step_s", "unit", "last"), [(2.0, "minutes", 0.5), (600.0, "hours", 2.5)])
def test_time_has_the_unit_that_fits(make_run, tmp_path, step_s, unit, last):
    edit_curves(make_run("token_ppo"), lambda row: row.update(seconds=step_s * row["step"]))
    plot = plots_of(tmp_path / "results")["gold-time"]
    assert plot.x_label.startswith(unit)
    assert plot.of("token_ppo")[-1].x == pytest.approx(last)


def test_a_broken_curve_is_named_and_left_out(results):
    path = results / "testbed" / "sft-s1" / "metrics.jsonl"
    path.write_text("{}\n")
    problems: list[str] = []
    plot = plots_of(results, problems)["gold-steps"]
    assert len(problems) == 1
    assert isinstance(problems[0], Damage)
    assert f"{path}, line 1: step" in problems[0]
    assert {point.seeds for point in plot.of("sft")} == {2}
    assert plot.note == "mean and 95 % interval, 2 to 3 seeds"


def test_a_curve_without_a_finite_value_is_not_drawn(make_run, tmp_path):
    edit_curves(make_run("token_ppo"), lambda row: row.update(kl=float("inf")))
    plots = plots_of(tmp_path / "results")
    assert "gold-steps" in plots
    assert not {"kl", "gold-kl"} & set(plots)


def test_accuracies_stay_within_0_and_1(results):
    points = plots_of(results)["rm-accuracy"].points
    assert {point.step for point in points} == {
        "rm_accuracy.original", "rm_accuracy.edited", "probe.rude"
    }  # fmt: skip
    assert all(0 <= p.low <= p.mean <= p.high <= 1 for p in points)


def test_a_label_has_one_look_and_ninety_are_told_apart():
    look = Look.of([f"m{i}" for i in range(90)])
    looks = {(look.colours[label], look.markers[label]) for label in look.colours}
    assert len(looks) == len(COLOURS) * len(MARKERS) == 90


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("page", [0, 1], ids=["light", "dark"])
def test_every_colour_stands_out_from_its_page(page):
    for pair, least in [*((pair, 3.0) for pair in COLOURS), (INK, 7.0)]:
        one, other = sorted((luminance(pair[page]), luminance(PAPER[page])))
        assert (other + 0.05) / (one + 0.05) >= least, pair[page]


def test_the_dark_drawing_has_no_light_colour_left(results, tmp_path):
    svg = write_figures(results, tmp_path, "testbed")[0].read_text()
    night = dark(svg)
    used = set(re.findall("#[0-9a-f]{6}", svg))
    assert used <= {light for light, _ in (*COLOURS, INK, GRID, PAPER)}
    assert not used & set(re.findall("#[0-9a-f]{6}", night))


def test_nothing_to_draw_is_said(make_run, tmp_path):
    (make_run("sft", metrics={}) / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="has a curve or a reward model"):
        write_figures(tmp_path / "results", tmp_path / "out", "testbed")


def test_the_interval_is_student_t_over_the_seeds_with_a_finite_value():
    import pandas as pd

    frame = pd.DataFrame(
        {"label": "a", "seed": [0, 1, 2], "step": 1, "x": 1.0, "y": [1.0, 2.0, 3.0]}
    )
    (point,) = summary(frame, "y")
    assert (point.low, point.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    (alone,) = summary(frame.assign(y=[1.0, None, float("inf")]), "y")
    assert (alone.mean, alone.low, alone.high, alone.seeds) == (1.0, 1.0, 1.0, 1)


def test_a_line_ends_where_one_of_its_seeds_does():
    """What is left of the others would jump, and speak of the runs that went on."""
    import pandas as pd

    steps = {0: (1, 2, 3), 1: (1, 2)}
    rows = [(s, step) for s, own in steps.items() for step in own]
    frame = pd.DataFrame(rows, columns=["seed", "step"]).assign(label="a", x=1.0, y=1.0)
    assert [(point.step, point.seeds) for point in summary(frame, "y")] == [(1, 2), (2, 2)]


def test_no_run_of_the_suite(results, tmp_path):
    with pytest.raises(UserError, match="no run of suite"):
        write_figures(results, tmp_path, "other")


def test_no_curves_still_draws_the_bars(make_run, tmp_path):
    (make_run("sft") / "metrics.jsonl").unlink()
    paths = write_figures(tmp_path / "results", tmp_path / "out", "testbed")
    assert {path.stem for path in paths} == {"rm-accuracy"}


def drawn(labels: list[str], *, bars: bool = False) -> Figure:
    """Two points of each label, or two metrics."""
    steps = ("rm_accuracy.edited", "probe.omission") if bars else (0, 10)
    points = [
        Point(label, step, float(x), 0.5, 0.4, 0.6, 5)
        for label in labels
        for x, step in enumerate(steps)
    ]
    plot = Plot("name", "Title", "training step", "score", points, bars=bars)
    figure = draw(plot, Look.of(labels))
    figure.draw_without_rendering()
    return figure


def test_of_many_labels_each_has_a_panel_that_names_it():
    labels = [f"token_ppo reward.option={i}" for i in range(MANY + 1)]
    figure = drawn(labels)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left").replace("\n", " ") for axes in panels] == labels
    assert {len(axes.lines) for axes in panels} == {len(labels)}  # its own and those behind it
    assert not figure.legends


def test_of_many_labels_each_metric_has_a_panel_with_a_line_a_label():
    labels = [f"method{i}" for i in range(MANY + 1)]
    figure = drawn(labels, bars=True)
    assert [axes.get_title() for axes in figure.axes] == ["edits", "omission"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == labels


@pytest.mark.parametrize("letters", [5, 24, 27, 40])
def test_the_legend_of_few_labels_is_not_cut_off(letters):
    name = "token_ppo preferences.responses=4 reward.loss=divergence"
    figure = drawn([f"{i} {name}"[:letters] for i in range(MANY)])
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.x1
