"""The page of stability: of the published records, and of rows whose granularity is recorded."""

import json
import re
from pathlib import Path

import pytest
from markupsafe import Markup

from leaderboard.analysis.aggregate import make_tables
from leaderboard.analysis.lines import LENGTH, MASS, QUANTITIES
from leaderboard.analysis.rows import interval, number
from leaderboard.analysis.runs import load
from leaderboard.analysis.stability import stability
from leaderboard.plots import Look
from leaderboard.site import write_site
from leaderboard.site.stability import stability_page
from leaderboard.site.steady import steady_finding

from .curves import straight, write_curve

# Methods without a rollout, which are paid nothing; and those of them that stay near SFT.
OFFLINE = {"dpo", "figa", "rrhf", "tdpo", "expert_iteration"}
NEAR_SFT = {"rrhf", "tdpo", "expert_iteration"}
RESULTS = Path(__file__).parents[2] / "results"


def stability_of(results):
    """Of the largest table: what was found, and its rows."""
    grouped, problems = load(results, "testbed")
    table = make_tables(grouped, problems)[0]
    return stability(next(iter(grouped.values())), problems), table.rows


def page_of(results, out):
    found, rows = stability_of(results)
    look = Look.of([line.label for line in found.lines])
    return found, stability_page(found, rows, look, out, "figures/x")


def said(results):
    return [Markup(line).striptags() for line in steady_finding(stability_of(results)[0])]


def cells(sheet):
    return {row[0].text: {c.header: f for c, f in zip(sheet.columns, row, strict=True)}
            for row in sheet.rows}  # fmt: skip


def granular(make_run, **rewards):
    """Rows of two seeds: (rewards a response, tokens at the end, those of the second seed)."""
    for label, (payments, *lengths) in rewards.items():
        for seed, length in enumerate(lengths):
            curve = straight(end=2.0, length=length, reward_mass=payments / 10, payments=payments)
            write_curve(make_run(label, seed), {s: r | {"length": 30.0} for s, r in curve.items()})


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    return out, *page_of(RESULTS, out)


def test_the_published_numbers_are_those_of_the_analysis(published):
    _, found, (page, _) = published
    at, by_granularity, training = page.sheets
    assert by_granularity.title.startswith("By how finely the reward is paid")
    assert at.title == f"At a KL of {found.matched:g} nats a response"
    shown = cells(at)
    assert len(shown) == len(found.lines) > 5
    for line in found.lines:
        for header, quantity in (("Length", LENGTH), ("Reward mass", MASS)):
            estimate = line.at(quantity, found.matched)
            if estimate is None:
                assert line.method in (OFFLINE if quantity == MASS else NEAR_SFT)
                continue
            field = shown[line.label][header]
            assert field.key == estimate.mean
            straight = line.stretched(quantity, found.matched)
            assert field.text == number(quantity, estimate.mean) + "†" * bool(straight)
            more = f"; † {straight} of 5 seeds" if straight else ""
            assert field.note == interval(quantity, estimate.ci95) + more
        slope = found.slope(line)
        key = cells(training)[line.label]["Length a nat"].key
        assert key == (None if slope is None else slope.mean)
    assert "sft" in training.notes[0]


def test_the_published_curves_have_the_analysis_points(published):
    out, found, (page, paths) = published
    assert [chart.name for chart in page.charts] == [
        "matched-length", "matched-repeats", "matched-mass", "matched-score",
    ]  # fmt: skip
    assert all(path.is_file() for path in paths)
    assert (out / page.charts[0].svg).read_text().count("token_ppo") >= 3
    quantities = ("length", "repeat_share", "reward_mass", "score")
    for chart, quantity in zip(page.charts, quantities, strict=True):
        line = next(line for line in found.lines if line.label == "token_ppo")
        row = cells(chart.numbers)["token_ppo"]
        for header, field in list(row.items())[1:]:
            estimate = line.at(quantity, float(header.removeprefix("KL ")))
            assert field.key == (None if estimate is None else estimate.mean)


def test_what_a_row_cannot_have_is_said(published):
    _, found, (page, _) = published
    assert found.lacking("repeat_share") == []
    told = "Nothing is paid: dpo, dpo data=edits, expert_iteration, figa, rrhf, tdpo."
    assert page.missing == [("Reward mass at equal KL", told)]
    shown = cells(page.sheets[0])
    assert shown["dpo"]["Paid by"].text == "nothing"
    assert shown["fine_grained_ppo"]["Paid by"].text == "response"
    assert shown["token_ppo paid_at=end"]["Paid by"].text == "response"
    assert shown["token_ppo"]["Paid by"].text == "token"


def test_the_published_finding_compares_granularities_with_intervals():
    *compared, averaged, stretched, near = said(RESULTS)
    for sentence, fine in zip(compared, ("token", "segment"), strict=True):
        found = re.match(
            r"At a KL of \S+ nats a response, the largest that every compared row reaches, a "
            rf"policy that is paid by the {fine} writes (\S+) (?:fewer|more) tokens a response "
            r"\(95 % interval (\S+) to (\S+)\)",
            sentence,
        )
        assert found
        apart, low, high = map(float, found.groups())
        assert 0 < low < apart < high
        assert sentence.endswith("than one that is paid by the response.")
    assert averaged.startswith("Methods of one granularity are averaged")
    assert stretched.endswith("token_ppo (1 of 5 seeds).")
    assert near.endswith(f"{', '.join(sorted(NEAR_SFT))}.")


def test_the_published_curves_are_marked_before_a_first_validation(published):
    """token_ppo's first validation lies behind the matched KL in one seed."""
    _, _, (page, _) = published
    length = page.charts[0]
    assert cells(page.sheets[0])["token_ppo"]["Length"].note.endswith("; † 1 of 5 seeds")
    assert page.sheets[0].notes[-1].startswith("†: On the straight line between SFT")
    assert any("†" in f.text for f in cells(length.numbers)["token_ppo"].values())
    assert length.caption.endswith("† before a first validation")
    line = next(x for x in json.loads(length.data)["lines"] if x["label"] == "token_ppo")
    assert [p[5:] for p in line["points"][:2]] == [[], [5]]


def test_a_win_rate_is_in_percent(make_run, tmp_path):
    for label, win in (("low", 0.25), ("high", 0.5)):
        curve = straight(end=2.0, length=30.0)
        for step in (0, 5, 10):
            curve[step] = {
                k: v for k, v in curve[step].items() if "gold" not in k and "length" not in k
            }
            curve[step]["validation_win_rate"] = win
        write_curve(make_run(label), curve)
    assert (
        "rows go from 25.0 (low) to 50.0 % win rate (high), 25.0 apart"
        in (said(tmp_path / "results")[0])
    )
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    assert cells(page.sheets[0])["high"]["Win rate %"].text == "50.0"


def test_rows_that_a_comparison_is_without_are_named(make_run, tmp_path):
    granular(make_run, once=(1, 20.0, 23.0), each=(30, 30.0, 32.0), single=(30, 90.0))
    assert "writes 9.5 more tokens" in said(tmp_path / "results")[0]
    assert said(tmp_path / "results")[2] == (
        "Left out of a comparison, for want of the others' seeds: single."
    )
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    assert "Left out of a mean, for want of the others' seeds: single." in page.sheets[1].notes


def test_where_nothing_is_paid_no_mass_is_missed(make_run, tmp_path):
    granular(make_run, once=(1, 20.0, 23.0))
    offline = {s: {k: v for k, v in row.items() if k not in ("reward", "kl")}
               for s, row in straight(end=2.0, length=30.0).items()}  # fmt: skip
    write_curve(make_run("offline"), offline)
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    assert cells(page.sheets[0])["offline"]["Reward mass"].text == "nothing is paid"
    assert ("Reward mass at equal KL", "Nothing is paid: offline.") in page.missing


def test_granularities_are_compared_with_the_coarsest(make_run, tmp_path):
    """At 2 nats: by the token 30 and 32 tokens, by the response 20 and 23: +10 and +9."""
    granular(make_run, once=(1, 20.0, 23.0), each=(30, 30.0, 32.0), parts=(4, 20.0, 24.0))
    fine, middle, caveat = said(tmp_path / "results")
    assert fine.startswith(
        "At a KL of 2 nats a response, the largest that every row reaches, a policy that is paid "
        "by the token writes 9.5 more tokens a response (95 % interval 3.1 to 15.9); is paid 2.900 "
        "more in absolute reward (95 % interval 2.900 to 2.900) than one"
    )
    assert "by the segment writes 0.5 more tokens a response (95 % interval -5.9 to 6.9: not" in (
        middle
    )
    assert "averaged" in caveat
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    groups = cells(page.sheets[1])
    assert list(groups) == ["by the response", "by the segment", "by the token"]
    assert groups["by the token"]["Length"].key == pytest.approx(31.0)


def test_one_seed_and_one_row_claim_no_interval(make_run, tmp_path):
    write_curve(make_run("only"), straight(end=2.0, length=30.0))
    first, _ = said(tmp_path / "results")
    assert first.endswith("every row reaches, only is at 30.0 tokens a response.")
    write_curve(make_run("other"), straight(end=2.0, length=40.0))
    assert "10.0 apart (one seed: no interval)" in said(tmp_path / "results")[0]
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    assert cells(page.sheets[0])["only"]["Length"].note == "one seed"


def test_a_row_that_stays_at_sft_holds_no_other_there(make_run, tmp_path):
    write_curve(make_run("still"), straight(end=0.4, length=20.0))
    for label in ("moves", "grows"):
        write_curve(make_run(label), straight(end=2.0, length=30.0))
    first, *_, last = said(tmp_path / "results")
    assert first.startswith("At a KL of 2 nats a response, the largest that every compared row")
    assert "still" not in first
    assert last.endswith("hardly move away from SFT (the numbers below): still.")
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    assert cells(page.sheets[0])["still"]["Length"].text == "–"
    assert cells(page.sheets[-1])["still"]["Reaches KL"].text == "0.40"


def test_where_no_row_has_moved_nothing_is_compared(make_run, tmp_path):
    write_curve(make_run("still"), straight(end=0.0, length=20.0))
    assert said(tmp_path / "results") == [
        "No row has moved away from SFT where its KL is known: there is none to compare at."
    ]
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    assert [sheet.title for sheet in page.sheets] == ["In training"]


def test_some_rows_without_a_field_are_named(make_run, tmp_path):
    write_curve(make_run("old"), straight(end=2.0, length=30.0))
    curve = straight(end=2.0, length=30.0)
    for step in (0, 5, 10):
        curve[step]["validation_repeat_share"] = step / 100
    write_curve(make_run("new"), curve)
    _, (page, _) = page_of(tmp_path / "results", tmp_path)
    assert ("Repeats at equal KL", "Not recorded: old.") in page.missing
    shown = cells(page.sheets[0])
    assert (shown["old"]["Repeats %"].text, shown["new"]["Repeats %"].text) == (
        "not recorded", "10.0",
    )  # fmt: skip


def test_the_board_links_the_page_and_a_stale_one_goes(make_run, tmp_path):
    folder = make_run("<b>x</b>")
    write_curve(folder, straight(end=2.0, length=30.0))
    out = tmp_path / "site"
    write_site(tmp_path / "results", out, [])
    page = (out / "stability/testbed.html").read_text()
    assert "<b>x</b>" not in page
    assert page.count("data-curves=") == len(QUANTITIES) - 2  # neither repeats nor mass
    assert 'href="stability/testbed.html"' in (out / "index.html").read_text()
    write_curve(folder, {0: {"loss": 1.0}})
    write_site(tmp_path / "results", out, [])
    assert not (out / "stability/testbed.html").exists()
    assert "stability/" not in (out / "index.html").read_text()
