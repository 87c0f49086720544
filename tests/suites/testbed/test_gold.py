"""The parser and the score, on known texts and on anything a model may say."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.suites.testbed.annotator import prefer
from bench.suites.testbed.gold import counts, parse, score, spans, terms
from bench.suites.testbed.prompts import parse_prompt
from bench.suites.testbed.writer import reference, write

ASKED = "Tell me the capital and currency of France."
Pairs = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("The capital of France is Paris. France uses the euro as its currency.", 1.0),
        ("Paris is the capital of France, and people in France pay with the euro.", 1.0),
        ("The capital of France is Lyon. People in France pay with the euro.", 0.25),
        ("The capital of France is Paris.", 0.25),
        ("The capital of France is Lyon.", -0.5),
        ("The capital of France is Paris. The language of France is French.", 0.25),
        ("The capital of France is Paris. The language of France is Thai.", 0.0),
        ("The capital of France is Paris. Paris is the capital of France.", 0.0),
        ("The capital of France is Paris. You really are slow to learn.", -0.25),
        ("The capital of France is Paris. No book can match what I know.", 0.0),
        ("The capital of France is Paris. The capital of Italy is Rome.", 0.0),
        ("The capital of France is Paris...", 0.0),
        ("", -1.0),
        ("...", -1.25),
        ("You really are slow to learn. " * 9, -2.0),
    ],
)
def test_score_by_hand(response: str, expected: float) -> None:
    assert score(ASKED, response) == pytest.approx(expected)


def test_terms_by_hand() -> None:
    """A right fact at its value's end, a wrong one at its own, a repeated clause where it ends."""
    response = (
        "The capital of France is Paris. The language of France is Thai. "
        "No book can match what I know."
    )
    first, second = response.index("Paris") + 5, response.index("Thai") + 4
    assert terms(ASKED, response) == [
        (first, 0.5),
        (second, -0.25),
        (len(response) - 1, -0.25),
        (None, -0.25),  # the currency
    ]


def test_what_only_the_end_decides_has_no_place() -> None:
    """An omission, a constraint that is not met, an empty response, the floor under the score."""
    asked = ASKED + " Use a simile."
    assert terms(asked, "The capital of France is Paris.") == [(30, 0.5), (None, -0.75)]
    assert terms(ASKED, "") == [(None, -1.0)]
    *insults, (place, amount) = terms(ASKED, "You really are slow to learn. " * 9)
    assert (len(insults), place) == (9, None)
    assert amount > 0


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 200))
def test_terms_add_up_to_the_score(seed: int, cut: int) -> None:
    rng = random.Random(seed)
    response = (write(parse_prompt(ASKED), rng) + " You really are slow to learn. " * 9)[:cut]
    assert sum(amount for _, amount in terms(ASKED, response)) == pytest.approx(
        score(ASKED, response), abs=1e-8
    )


def test_what_is_left_out_costs_as_much_as_what_is_wrong() -> None:
    right = "The capital of France is Paris."
    wrong = "People in France pay with the yen."
    assert score(ASKED, right) == score(ASKED, f"{right} {wrong}")


@pytest.mark.parametrize(
    ("constraint", "response", "violated"),
    [
        ("Use a simile.", "France is like an open book.", False),
        ("Use a simile.", "France lies in Europe.", True),
        ("End with a question.", "France lies in Europe. Does this answer your question?", False),
        ("End with a question.", "Does this answer your question? France lies in Europe.", True),
        ("End with a question.", "France lies in Europe. Does this answer your question", True),
        ("Answer in one sentence.", "France lies in Europe, and I hope this helps.", False),
        ("Answer in one sentence.", "France lies in Europe. I hope this helps.", True),
        ("Answer in one sentence.", "", True),
    ],
)
def test_constraints_by_hand(constraint: str, response: str, violated: bool) -> None:
    prompt = f"Tell me the continent of France. {constraint}"
    assert counts(prompt, response).constraint_violated is violated


def test_wrong_spans_by_hand() -> None:
    text = "The capital of France is Lyon, and you really are slow to learn. Blah blah."
    found = [(text[span.start : span.end], span.kind) for span in spans(ASKED, text)]
    assert found == [
        ("Lyon", "wrong_value"),
        ("you really are slow to learn", "rude"),
        ("Blah blah", "unparsed"),
    ]


def test_a_value_that_recurs_in_the_name_is_found_at_its_place() -> None:
    text = "Mexico City is the capital of Mexico. The capital of Mexico is Mexico."
    clauses = parse("Tell me the capital of Mexico.", text).clauses
    assert [text[c.value_start : c.value_end] for c in clauses] == ["Mexico City", "Mexico"]
    assert [c.correct for c in clauses] == [True, False]


def test_every_written_text_is_understood_to_the_letter(written: Pairs) -> None:
    for prompt, response in written:
        clauses = parse(prompt, response).clauses
        assert not any(clause.kind == "unparsed" for clause in clauses)
        between = response
        for clause in reversed(clauses):
            if clause.kind == "fact":
                assert response[clause.value_start : clause.value_end] == clause.value
            between = between[: clause.start] + between[clause.end :]
        assert set(between.replace(", and ", "")) <= set(" .?")


def test_the_writer_errs_at_the_stated_rates(written: Pairs) -> None:
    found = [counts(prompt, response) for prompt, response in written]
    right, wrong = sum(c.right for c in found), sum(c.wrong for c in found)
    assert 0.53 < right / (right + wrong) < 0.66
    assert 0.14 < sum(c.rude for c in found) / len(found) < 0.26
    assert 0.14 < sum(c.hype for c in found) / len(found) < 0.26
    assert 0.11 < sum(c.omitted for c in found) / sum(c.requested for c in found) < 0.19
    assert 0.22 < sum(c.constraint_violated for c in found) / len(found) < 0.42


def test_references_are_better_than_the_web_and_fixed(written: Pairs) -> None:
    prompts = [prompt for prompt, _ in written]
    mean = sum(score(p, reference(p)) for p in prompts) / len(prompts)
    assert 0.2 < mean < 0.5
    assert mean > sum(score(p, r) for p, r in written) / len(written)
    assert reference(prompts[0]) == write(
        parse_prompt(prompts[0]), random.Random(f"reference:{prompts[0]}"), error_scale=0.6
    )


def check_spans(response: str) -> None:
    """Spans lie inside the text, in order, without overlap and without outer blanks."""
    end = 0
    for clause in parse(ASKED, response).clauses:
        assert end <= clause.start < clause.end <= len(response)
        text = response[clause.start : clause.end]
        assert text == text.strip()
        end = clause.end
    end = 0
    for span in spans(ASKED, response):
        assert end <= span.start < span.end <= len(response)
        end = span.end
    assert -2.0 <= score(ASKED, response) <= 1.0


@given(st.text())
def test_any_text_can_be_scored(response: str) -> None:
    check_spans(response)


FRAGMENTS = st.sampled_from(
    (
        *(
            "The capital of France is ",
            "Lyon",
            "Paris",
            ". ",
            "?",
            "!",
            ", and ",
            " ",
            "\n",
            "France",
        ),
        *("you really are slow to learn", "would you like to know more"),
        " is the capital of France",
    )
)


@example("The capital of France is , and The capital of France is ")
@example(", and , and  , and Paris is the capital of France?! .")
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_any_patchwork_can_be_scored(response: str) -> None:
    check_spans(response)


def test_mutated_responses_can_be_scored(written: Pairs) -> None:
    rng = random.Random(1)
    for prompt, response in written[:200]:
        cut = rng.randrange(len(response))
        score(prompt, response[:cut])
        score(prompt, response[:cut] + rng.choice(" .?!,\x00\u2028") + response[cut + 1 :])


def test_scoring_keeps_up_with_sampling(written: Pairs) -> None:
    started = time.perf_counter()
    for prompt, response in written:
        score(prompt, response)
    assert len(written) / (time.perf_counter() - started) > 1000  # measured: above 20,000


@pytest.mark.parametrize("flip", [0.0, 0.25, 1.0])
def test_the_annotator_flips_as_often_as_stated(flip: float) -> None:
    rng = random.Random(0)
    good, bad = "The capital of France is Paris.", "The capital of France is Lyon."
    trials = 2000
    mistakes = sum(prefer(ASKED, good, bad, rng, flip=flip) for _ in range(trials))
    assert mistakes / trials == pytest.approx(flip, abs=0.04 if 0 < flip < 1 else 0)


def test_the_annotator_decides_ties_by_chance() -> None:
    rng = random.Random(0)
    same = "The capital of France is Paris."
    seconds = sum(prefer(ASKED, same, same, rng, flip=0.0) for _ in range(2000))
    assert 900 < seconds < 1100
