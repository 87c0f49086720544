import hashlib
import json
from pathlib import Path

import pytest

from bench.records.files import read_items, read_samples
from bench.records.schema import prompt_sha
from leaderboard.analysis.compare import compare
from leaderboard.analysis.flips import Flips, flip_lines

COMMITTED = Path(__file__).parents[2] / "results" / "testbed"


def write(folder: Path, wins: list[float | None], samples: dict[int, str], greedy=False) -> None:
    """Items whose prompts are "question 0", ..., and samples of some of them."""
    items = [
        {"index": i, "prompt_sha": prompt_sha(f"question {i}"), "win_rate": win, "length": 10 * i}
        for i, win in enumerate(wins)
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    rows = [
        {"prompt": f"question {i}", "output": text, "reference": "r", "preference": 2,
         "greedy": greedy}
        for i, text in samples.items()
    ]  # fmt: skip
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))


def flips(results, metric="win_rate", count=3, problems=None) -> Flips:
    (one,) = compare(results, None, ["a", "b"], metric, problems, examples=count)
    return one.flips


@pytest.fixture
def pair(make_run, tmp_path):
    wins = {
        "a": ([1.0, 1.0, 0.0, 1.0, 0.5], [0.6, 1.0, 0.0, 1.0, 0.5]),
        "b": ([0.0, 0.0, 1.0, 1.0, 0.0], [0.3, 0.2, 1.0, 0.5, 0.0]),
    }
    for label, by_seed in wins.items():
        for seed, values in enumerate(by_seed):
            write(make_run(label, seed), values, {0: f"{label} wrote in seed {seed}"})
    return tmp_path / "results"


def test_a_win_that_turns_into_a_loss_is_a_flip(pair):
    found = flips(pair)
    assert (found.above, found.below, found.instructions, found.seeds) == (2, 1, 5, 2)


def test_examples_take_turns_and_begin_with_those_that_can_be_read(pair):
    found = flips(pair).examples
    assert [example.index for example in found] == [0, 2, 1]
    assert found[0].values == pytest.approx((0.8, 0.15))
    assert [example.samples is None for example in found] == [False, True, True]


def test_the_texts_are_of_the_seed_that_differs_most(pair):
    example = flips(pair, count=1).examples[0]
    assert example.seed == 0
    assert [sample.output for sample in example.samples] == [
        "a wrote in seed 0",
        "b wrote in seed 0",
    ]


def test_another_metric_counts_what_is_larger(pair):
    title, lines = flip_lines(flips(pair, "length"))
    assert title.startswith("length of a above that of b: 0 of 5 instructions; below: 0")
    assert lines == []


def test_lines(pair):
    title, lines = flip_lines(flips(pair))
    assert title == (
        "a wins where b loses: 2 of 5 instructions; the reverse: 1 (mean over 2 seeds)"
    )
    assert lines[:4] == [
        (1, f"instruction 0 [{prompt_sha('question 0')[:8]}]: a 80.0, b 15.0"),
        (2, "prompt: question 0"),
        (2, "a, seed 0, better than the reference: a wrote in seed 0"),
        (2, "b, seed 0, better than the reference: b wrote in seed 0"),
    ]
    assert lines[4][1].endswith("a 0.0, b 100.0; its texts were not kept")


def test_a_long_text_is_cut_with_a_sign(make_run, tmp_path):
    for label, win in (("a", 1.0), ("b", 0.0)):
        write(make_run(label), [win, win], {0: "word " * 200})
    _, lines = flip_lines(flips(tmp_path / "results"))
    output = lines[2][1]
    assert len(output) < 450
    assert output.endswith(" …")


def test_a_missing_value_is_neither(make_run, tmp_path):
    write(make_run("a"), [1.0, None, 1.0], {})
    write(make_run("b"), [0.0, 0.0, 0.0], {})
    found = flips(tmp_path / "results")
    assert (found.above, found.below, found.instructions) == (2, 0, 2)


def test_samples_that_cannot_be_read_are_a_problem(pair):
    (pair / "testbed" / "a-s0" / "samples.jsonl").write_text("{")
    problems: list[str] = []
    found = flips(pair, problems=problems)
    assert "a-s0/samples.jsonl, line 1: not JSON" in problems[-1]
    assert found.examples[0].seed == 1


def test_greedy_texts_for_a_greedy_metric(make_run, tmp_path):
    for label, win in (("a", 1.0), ("b", 0.0)):
        folder = make_run(label)
        write(folder, [win, win], {0: "greedy"}, greedy=True)
        path = folder / "items.jsonl"
        path.write_text(path.read_text().replace("win_rate", "win_rate_greedy"))
    results = tmp_path / "results"
    assert flips(results, "win_rate_greedy").examples[0].samples is not None


def test_the_hash_of_a_prompt_is_that_of_the_items():
    folder = next(COMMITTED.glob("sft-s0-*"))
    known = {item.prompt_sha for item in read_items(folder)}
    assert {prompt_sha(sample.prompt) for sample in read_samples(folder)} <= known
    assert prompt_sha("a") == hashlib.sha256(b'["a"]').hexdigest()[:16]
