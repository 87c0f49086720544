import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError

from bench.naming import Names
from leaderboard.plots.look import COLOURS
from leaderboard.views.html import TEMPLATES, breakable, policy, renderer

# (text, background) pairs that the page draws, each at 4.5:1 or more (WCAG AA)
PAIRS = [
    *((text, back) for text in ("ink", "muted", "accent") for back in ("paper", "panel")),
    ("warm", "paper"),
    *(("ink", f"{sign}{strength}") for sign in "pn" for strength in range(1, 5)),
]


def variables(dark):
    css = (TEMPLATES / "site.css").read_text()
    block = css.split("prefers-color-scheme: dark")[dark]
    found = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{3,6});", block))
    return {k: v if len(v) == 7 else "#" + "".join(c * 2 for c in v[1:]) for k, v in found.items()}


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_what_it_stands_on(dark):
    colours = variables(dark)
    for text, back in PAIRS:
        low, high = sorted((luminance(colours[text]), luminance(colours[back])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, back)


@pytest.mark.parametrize("dark", [0, 1], ids=["light", "dark"])
def test_lines_and_rank_groups_have_the_colours_of_the_plots(dark):
    colours = variables(dark)
    assert [colours[f"c{i}"] for i in range(len(COLOURS))] == [pair[dark] for pair in COLOURS]


def test_the_policy_allows_exactly_our_style_and_script():
    found = policy("a{}", "1")
    for text in ("a{}", "1"):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in found
    assert "unsafe" not in found
    assert "http" not in found


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError):
        renderer()("run.html", home="../")


def test_names_are_safe_and_unlike():
    names = Names()
    found = [names.new(text) for text in ("a b", "a/b", "A-B", "../..", "<>", "é")]
    assert found == ["a-b", "a-b-2", "A-B-3", "unnamed", "unnamed-2", "unnamed-3"]


def test_a_label_breaks_at_signs_and_stays_escaped():
    assert breakable("a=<b") == '<span class="word">a=<wbr>&lt;b</span>'
    assert breakable("a b").count("word") == 2
