"""A submitted run again: bit for bit, as one more seed would be, or neither."""

from pathlib import Path

from bench.records.files import Metric, Run
from leaderboard.submission.repeated import repetition
from tests.leaderboard.offers import Edit, segment_ppo


def again(tmp_path: Path, edit: Edit) -> tuple[str, str]:
    """Verdict and reason where seed 0 comes out so."""
    runs = segment_ppo(tmp_path / "old")
    new: list[Run] = segment_ppo(tmp_path / "new", edit)
    found = repetition(runs[0], new[0], runs)
    assert runs[0].record.seed == new[0].record.seed == 0
    assert found.rule == "rerun"
    return found.verdict, found.text


def moved(by: float) -> Edit:
    """Another win rate, on another kind of CPU."""

    def edit(record):
        rate = record.metrics["win_rate"]
        metrics = record.metrics | {"win_rate": Metric(mean=rate.mean + by)}
        hardware = record.hardware.model_copy(update={"cpu_model": 99})
        return {"metrics": metrics, "hardware": hardware}

    return edit


def test_the_same_numbers_are_bitwise(tmp_path: Path) -> None:
    assert again(tmp_path, lambda record: {}) == ("ok", "seed 0 again: bitwise")


def test_on_another_machine_the_bands_decide(tmp_path: Path) -> None:
    verdict, text = again(tmp_path / "near", moved(0.01))
    assert verdict == "differs"
    assert text.startswith("seed 0 again is within all bands. It does not repeat to the bit; lik")
    verdict, text = again(tmp_path / "far", moved(0.2))
    assert verdict == "refused"
    assert text.startswith("seed 0 again leaves the bands of its row: win_rate. It does not rep")


def test_a_metric_that_is_gone_leaves_its_band(tmp_path: Path) -> None:
    verdict, text = again(
        tmp_path, lambda r: {"metrics": {n: m for n, m in r.metrics.items() if n != "kl"}}
    )
    assert (verdict, "row: kl." in text) == ("refused", True)
