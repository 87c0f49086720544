"""Many models in one call, and several samples of a question."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.errors import UserError
from bench.judging.alpaca_eval import Annotation, read
from bench.judging.files import judge_file
from bench.judging.many import judge_models, read_models
from bench.judging.standing import Standing, read_standing
from bench.judging.standing_show import standing_grids
from judges.claude import Claude
from judges.replay import Replay, ReplayOptions
from tests.judges.asked import prefers
from tests.judges.test_alpaca_eval import write
from tests.llm.server import Server

N = 60


def annotated(folder: Path, name: str, preferences: list[float | None], **fields: str) -> Path:
    """A file of annotations of the model `name`; each output is of its model alone."""
    rows = [
        {"instruction": f"q {i}", "output_1": f"ref {i}", "generator_1": "ref", "annotator": "who"}
        | {"output_2": f"{name} {i}", "generator_2": name, "preference": preference}
        | fields
        for i, preference in enumerate(preferences)
    ]
    return write(folder / f"{name}.json", rows)


def replayed(*paths: Path, out: Path | None = None) -> Standing:
    def make() -> Replay:
        return Replay(None, ReplayOptions())

    return judge_models(paths, None, make(), make, out=out)[0]


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Two models that differ little, and one that is far better."""
    draw = random.Random(5)
    fair = [draw.choice([1.0, 2.0]) for _ in range(N)]
    other = [3 - x if i % 5 == 0 else x for i, x in enumerate(fair)]
    return [
        annotated(tmp_path, "fair", [*fair[:-1], None]),
        annotated(tmp_path, "best", [2.0] * (N - 2) + [1.5, 1.0]),
        annotated(tmp_path, "like", other),
    ]


def test_rank_groups_and_paired_differences(three: list[Path]) -> None:
    found = replayed(*three)
    assert found.models[0].name == "best"
    assert {model.name: model.group for model in found.models} == {"best": 1, "fair": 2, "like": 2}
    assert [(one.n, one.missing) for one in found.models if one.name == "fair"] == [(N, 1)]
    by_pair = {(one.model, one.other): one for one in found.differences}
    assert len(by_pair) == 3
    scores = {path.stem: [row.preference for row in read(path, Annotation)] for path in three}
    assert {a for a, _ in by_pair} == {model.name for model in found.models[:-1]}
    for (a, b), one in by_pair.items():
        both = [(x, y) for x, y in zip(scores[a], scores[b], strict=True) if None not in (x, y)]
        test = stats.ttest_rel(*np.transpose(both).astype(float))
        low, high = test.confidence_interval(0.95)
        assert one.n == len(both)
        assert one.p_value == pytest.approx(float(test.pvalue))
        assert one.ci95 == pytest.approx((float(low), float(high)))
    smallest = min(one.p_value for one in found.differences)
    assert min(one.p_holm for one in found.differences) == pytest.approx(3 * smallest)


def test_each_model_stands_as_alone(three: list[Path], tmp_path: Path) -> None:
    """The order of the files decides nothing, and one's own folder is what `judge` writes of it."""
    found = replayed(*three, out=tmp_path / "out")
    assert replayed(*three[::-1]) == found
    assert read_standing(tmp_path / "out") == found
    for path in three:
        alone = judge_file(path, None, Replay(None, ReplayOptions()), out=tmp_path / "alone")
        model = next(model for model in found.models if model.name == path.stem)
        assert model.win_rate is not None
        assert alone.win_rate is not None
        assert (model.win_rate.mean, model.win_rate.ci95) == (
            alone.win_rate.mean,
            alone.win_rate.ci95,
        )
        own = tmp_path / "out" / path.stem / "annotations.json"
        assert own.read_text() == (tmp_path / "alone" / "annotations.json").read_text()


def outputs(folder: Path, name: str, texts: list[str]) -> Path:
    rows = [{"instruction": f"q {i}", "output": t, "generator": name} for i, t in enumerate(texts)]
    return write(folder / f"{name}.json", rows)


def test_models_are_asked_together(
    server: Server, claude: Callable[..., Claude], tmp_path: Path
) -> None:
    """One budget, canaries once, and no question twice that two models share."""
    server.answer = prefers(lambda text, other: text == "good" and other != "good")
    paths = [
        outputs(tmp_path, "a", ["good", "bad", "good"]),
        outputs(tmp_path, "b", ["good", "bad", "same"]),
    ]
    reference = outputs(tmp_path, "ref", ["fine", "fine", "same"])
    judge = claude(canaries=1)
    standing, reports = judge_models(paths, reference, judge, claude, out=tmp_path / "out")
    rates = {model.name: model.win_rate.mean for model in standing.models if model.win_rate}
    assert rates == {"a": pytest.approx(2.5 / 3), "b": pytest.approx(2 / 3)}
    # Four canaries, `self` in one order; of six comparisons two are shared and one is identical.
    assert server.calls == 7 + 2 * 3
    assert standing.details["calls"] == 13
    assert standing.details["cost_usd"] > 0
    assert "cost_usd" not in reports["a"].details
    assert json.loads((tmp_path / "out/b/report.json").read_text())["generator"] == "b"
    alone = judge_file(paths[0], reference, claude(), out=tmp_path / "alone")
    assert server.calls == 13
    assert alone.win_rate == reports["a"].win_rate


def test_samples_are_averaged_before_anything_else(tmp_path: Path) -> None:
    """An instruction counts once, and one without a verdict in a sample has none."""
    rows = [
        {"instruction": f"q {i}", "output_1": "ref", "output_2": f"{i} {sample}", "preference": p}
        for i, preferences in enumerate([(1, 2), (2, 2), (1, 1), (2, None)])
        for sample, p in enumerate(preferences)
    ]
    report = judge_file(
        write(tmp_path / "m.json", rows), None, Replay(None, ReplayOptions()), out=tmp_path / "out"
    )
    rate = report.win_rate
    assert rate is not None
    assert (report.n, report.samples, report.missing) == (4, 2, 1)
    assert (rate.mean, rate.n, rate.ties) == (0.5, 3, 1)
    assert rate.standard_error == pytest.approx(np.std([0.5, 1, 0], ddof=1) / np.sqrt(3))
    assert report.bounds == (1.5 / 4, 2.5 / 4)
    assert report.counts == {"ok": 7, "parse_error": 1}
    assert "cross_check" not in report.details
    assert report.diagnostics["tie_rate"]["n"] == 7
    again = judge_file(tmp_path / "out/annotations.json", None, Replay(None, ReplayOptions()))
    assert again.win_rate == rate


def test_samples_that_are_asked(
    server: Server, claude: Callable[..., Claude], tmp_path: Path
) -> None:
    rows = [{"instruction": "q", "output": text, "generator": "m"} for text in ("good", "bad")]
    reference = write(tmp_path / "ref.json", [{"instruction": "q", "output": "fine"}])
    server.answer = prefers(lambda text, other: text == "good" or other == "bad")
    report = judge_file(write(tmp_path / "m.json", rows), reference, claude())
    assert report.win_rate is not None
    assert (report.n, report.samples, report.win_rate.mean) == (1, 2, 0.5)


def test_what_cannot_be_ranked_together(three: list[Path], tmp_path: Path) -> None:
    def refused(match: str, *paths: Path) -> None:
        with pytest.raises(UserError, match=match):
            replayed(*paths)

    refused("are both of fair: give each model one file", three[0], three[0])
    refused(
        "different instructions, first 'q 59'", three[0], annotated(tmp_path, "s", [2.0] * (N - 1))
    )
    refused(
        "two sets of references are mixed",
        three[0],
        annotated(tmp_path, "o", [2.0] * N, output_1="another"),
    )
    refused(
        "annotated by different judges .somebody, who.",
        three[0],
        annotated(tmp_path, "j", [2.0] * N, annotator="somebody"),
    )
    both = [row for path in three[:2] for row in json.loads(path.read_text())]
    refused(
        "has the outputs of 2 models .fair, best. to the same", write(tmp_path / "2.json", both)
    )
    once_more = json.loads(three[0].read_text())
    refused(
        "the instruction of row 1 2 times and that of row 2 1 times",
        write(tmp_path / "u.json", [*once_more, once_more[0]]),
    )
    own = [once_more[0], once_more[0] | {"output_1": "another"}]
    refused("samples of 'q 0' are compared with different", write(tmp_path / "r.json", own))
    with pytest.raises(UserError, match=r"nothing\.json"):
        read_models([three[0], tmp_path / "nothing.json"], None)


def test_what_is_no_standing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*models\.json: No such file.*writes it"):
        read_standing(tmp_path)
    path = write(tmp_path / "models.json", {"judge": 3})
    with pytest.raises(UserError, match=r"models\.json: judge: .*`judge` wrote no such file"):
        read_standing(path)


def test_many_models_are_shown_with_the_next_in_rank(tmp_path: Path) -> None:
    draw = random.Random(1)
    paths = [
        annotated(tmp_path, f"m{i}", [draw.choice([1.0, 2.0]) for _ in range(N)]) for i in range(7)
    ]
    ranking, pairs = standing_grids(replayed(*paths))
    assert len(ranking.rows) == 7
    assert [row[0] for row in pairs.rows] == [
        f"{a[0]} - {b[0]}" for a, b in zip(ranking.rows, ranking.rows[1:], strict=False)
    ]
    assert pairs.notes == ["Each with the next; all 21 pairs are in models.json."]
