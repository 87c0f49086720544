import json
import re

import pytest

from leaderboard.plots import Look, Plot
from leaderboard.plots.data import Point
from leaderboard.site.charts import curve_data, describe, numbers, write_chart
from leaderboard.site.sheets import EMPTY, Field

CURVE = Plot(
    "gold-kl", "Gold score against KL", "KL", "gold score",
    [
        *(Point("a", step, step / 10, step / 100, step / 100 - 0.1, step / 100 + 0.1, 3)
          for step in range(0, 91, 10)),
        Point("b", 0, 0.0, 0.5, 0.5, 0.5, 1),
    ],
    path=True,
)  # fmt: skip
BARS = Plot(
    "rm-accuracy", "Accuracy", "", "accuracy",
    [
        Point("a", "rm_accuracy.original", 0, 0.6, 0.5, 0.7, 2),
        Point("a", "rm_accuracy.edited", 1, 0.9, 0.8, 1.0, 2),
        Point("b", "rm_accuracy.edited", 1, 0.7, 0.6, 0.8, 2),
    ],
    bars=True,
)  # fmt: skip


def test_a_curve_in_words():
    assert describe(CURVE) == (
        "Gold score against KL; at the last step, mean and 95 % interval, 1 to 3 seeds: "
        "a 0.90 [0.80, 1.00]; b 0.50."
    )


def test_a_curve_by_kl_says_where_each_line_ends():
    points = [Point("a", 0.5, 0.5, 1.0, 0.9, 1.1, 2), Point("b", 1.5, 1.5, 2.0, 2.0, 2.0, 1)]
    plot = Plot("m", "Length", "KL", "tokens", points, by="KL", first_read=0.5)
    assert describe(plot) == (
        "Length; at the end of each line, mean and 95 % interval, 1 to 2 seeds: "
        "a 1.00 [0.90, 1.10] at KL 0.5; b 2.00 at KL 1.5."
    )
    sheet = numbers(plot)
    assert [column.header for column in sheet.columns] == ["Method", "KL 0.5", "KL 1.5"]
    assert sheet.notes == []
    data = json.loads(curve_data(plot, Look.of(["a", "b"])))
    assert (data["by"], data["read"]) == ("KL", 0.5)


def test_bars_in_words():
    assert describe(BARS) == (
        "Accuracy, lowest to highest method: original pairs 0.60 (a) to 0.60 (a); "
        "edits 0.70 (b) to 0.90 (a)."
    )


def test_the_numbers_of_a_curve_are_a_few_of_its_steps():
    sheet = numbers(CURVE)
    headers = [column.header for column in sheet.columns]
    assert headers == ["Method", *(f"step {s}" for s in (0, 20, 40, 70, 90))]
    assert sheet.rows[0][-1] == Field("0.90", "[0.80, 1.00] @ 9.00", key=0.9)
    assert sheet.rows[1][1:] == [Field("0.50", "", key=0.5), *[EMPTY] * 4]
    assert sheet.notes == ["@: KL, mean over seeds."]


def test_the_numbers_of_bars_are_their_metrics():
    sheet = numbers(BARS)
    assert [column.header for column in sheet.columns] == ["Method", "original pairs", "edits"]
    assert sheet.rows[1][1:] == [EMPTY, Field("0.70", "[0.60, 0.80]", key=0.7)]
    assert sheet.notes == []


def test_large_values_have_one_decimal():
    plot = Plot("length", "Length", "training step", "tokens", [Point("a", 1, 1, 31.25, 30, 33, 2)])
    assert numbers(plot).rows[0][1] == Field("31.2", "[30.0, 33.0]", key=31.25)


def test_a_chart_comes_light_and_dark_and_knows_its_size(tmp_path):
    chart, paths = write_chart(CURVE, Look.of(["a", "b"]), tmp_path, "figures/x")
    names = [f"figures/x/gold-kl{end}" for end in (".svg", "-dark.svg", ".png")]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == names
    assert [chart.svg, chart.dark, chart.png] == names
    light, night = (path.read_text() for path in paths[:2])
    assert light != night
    assert float(re.search('width="([0-9.]+)pt"', light)[1]) == pytest.approx(chart.width, abs=0.5)
    assert re.sub("#[0-9a-f]{6}", "", light) == re.sub("#[0-9a-f]{6}", "", night)
    assert json.loads(chart.data) == json.loads(curve_data(CURVE, Look.of(["a", "b"])))


def test_the_data_of_curves_are_their_points_and_colours():
    data = json.loads(curve_data(CURVE, Look.of(["a", "b"])))
    assert (data["x"], data["y"], data["path"], data["panels"]) == ("KL", "gold score", True, False)
    first, second = data["lines"]
    assert (first["label"], first["colour"], second["colour"]) == ("a", 0, 1)
    assert first["points"][3] == [30, 3.0, 0.3, 0.2, 0.4]
    assert second["points"] == [[0, 0.0, 0.5, 0.5, 0.5]]


def test_lines_that_would_knot_get_panels():
    labels = [f"m{i}" for i in range(5)]
    points = [Point(label, 1, 1.0, 0.5, 0.4, 0.6, 2) for label in labels]
    data = json.loads(curve_data(Plot("kl", "KL", "step", "KL", points), Look.of(labels)))
    assert data["panels"] is True


def test_bars_have_no_data_to_draw(tmp_path):
    assert write_chart(BARS, Look.of(["a", "b"]), tmp_path, "figures/x")[0].data == ""
