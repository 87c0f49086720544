import json
import math

import pytest

from bench.records.files import Damage
from leaderboard.analysis.runs import load
from leaderboard.site.samples import full_scale, level, load_pages


def pages_of(results, problems=None):
    groups = next(iter(load(results, "testbed")[0].values()))
    return load_pages(groups, [] if problems is None else problems)


def test_every_method_stands_below_the_prompt(results):
    pages = pages_of(results)
    assert sorted(pages.seeds) == [0, 1, 2]
    (prompt,) = pages.seeds[0]
    assert (prompt.text, prompt.reference, prompt.reference_score) == (
        "Who is it?", "A dog.", "0.250",
    )  # fmt: skip
    assert [g.label for g in prompt.generations] == ["ppo_rlhf", "sft", "token_ppo loss=eq4"]
    first = prompt.generations[0]
    assert (first.verdict, first.score, first.decoding) == (
        "better than the reference", "0.500", "sampled",
    )  # fmt: skip
    assert [(t.text, t.reward) for t in first.tokens] == [
        ("A", "+0.10"), (" cat", "-1.50"), (".", "+0.90"),
    ]  # fmt: skip
    assert [t.level for t in first.tokens] == ["z", "n4", "p2"]


def test_samples_without_rewards_are_plain_text(make_run, tmp_path):
    folder = make_run("sft")
    row = {"prompt": "p", "output": "o", "reference": "r"}
    (folder / "samples.jsonl").write_text(json.dumps(row) + "\n")
    pages = pages_of(tmp_path / "results")
    (generation,) = pages.seeds[0][0].generations
    assert (generation.tokens, generation.verdict, generation.outcome) == ([], "no verdict", "")
    assert pages.full == ""


def test_a_missing_file_is_no_problem_but_a_broken_one_is(results):
    (results / "testbed" / "sft-s0" / "samples.jsonl").unlink()
    (results / "testbed" / "sft-s1" / "samples.jsonl").write_text("{}\n")
    problems: list[str] = []
    pages = pages_of(results, problems).seeds
    assert ["sft" in {g.label for g in pages[seed][0].generations} for seed in range(3)] == [
        False, False, True,
    ]  # fmt: skip
    assert len(problems) == 1
    assert isinstance(problems[0], Damage)
    assert "sft-s1/samples.jsonl, line 1: prompt" in problems[0]


def write_samples(folder, *rows):
    usual = {"prompt": "p", "output": "o", "reference": "r"}
    (folder / "samples.jsonl").write_text("".join(json.dumps(usual | row) + "\n" for row in rows))


def test_one_scale_holds_for_all_methods_and_seeds(make_run, tmp_path):
    for label, seed, size in (("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 400.0)):
        row = {"tokens": ["x", "y"], "token_rewards": [size, -size]}
        write_samples(make_run(label, seed), row)
    pages = pages_of(tmp_path / "results")
    assert pages.full == "2"  # the median of 1, 2 and 400: a run that pays much dims no other
    levels = {g.label: [t.level for t in g.tokens] for g in pages.seeds[0][0].generations}
    assert levels == {"a": ["p2", "n2"], "b": ["p4", "n4"]}


@pytest.mark.parametrize(
    ("last", "output", "is_end"),
    [("<|eos|>", "A cat.", True), ("</s>", "A cat.", True), (".", "A cat.", False),
     ("<b>", "A cat <b>", False)],
)  # fmt: skip
def test_the_token_that_ends_a_response_is_known(make_run, tmp_path, last, output, is_end):
    row = {"output": output, "tokens": ["A", last], "token_rewards": [0.1, 0.2]}
    write_samples(make_run("a"), row)
    (generation,) = pages_of(tmp_path / "results").seeds[0][0].generations
    assert [t.is_end for t in generation.tokens] == [False, is_end]


def test_the_example_is_the_prompt_on_which_most_disagree(make_run, tmp_path):
    for label, verdicts in (("a", (2, 2)), ("b", (2, 1)), ("c", (1.5, 1))):
        rows = [{"prompt": f"p{i}", "preference": v} for i, v in enumerate(verdicts)]
        write_samples(make_run(label), *rows)
    seed, prompt = pages_of(tmp_path / "results").example
    assert (seed, prompt.text, prompt.contested) == (0, "p1", 1)
    assert [g.outcome for g in prompt.generations] == ["won", "lost", "lost"]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [(0.0, "z"), (0.1, "z"), (0.3, "p1"), (-0.5, "n2"), (0.8, "p3"), (1.0, "p4"), (-9.0, "n4"),
     (math.nan, "z"), (math.inf, "z")],
)  # fmt: skip
def test_levels(reward, expected):
    assert level(reward, 1.0) == expected


def test_the_scale_minds_no_outlier_and_no_gap():
    assert full_scale([*[1.0, -1.0] * 50, 1000.0, math.nan]) == 1.0
    assert full_scale([]) == 0.0
    assert level(0.5, 0.0) == "z"
