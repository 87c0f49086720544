import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from bench.errors import UserError
from bench.records.files import JudgeRecord, read_record, write_record
from leaderboard.site import write_site

VOID = {"meta", "img", "source", "br", "input", "link", "hr", "wbr", "line"}
HOSTILE = '</script><img src=x onerror="alert(1)">&amp;\n'


class Page(HTMLParser):
    """What a page is made of; raises where a tag is closed that was not open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.attributes = [], [], [], [], []
        self.policy = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self.attributes += [(tag, name) for name in values]
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[k] for k in ("href", "src", "srcset") if k in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def build(results, out, suite=None):
    problems: list[str] = []
    return write_site(results, out, problems, suite), problems


@pytest.mark.parametrize("name", ["notes.txt", "index.html"])
def test_a_folder_with_other_files_is_left_alone(results, tmp_path, name):
    out = tmp_path / "home"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(UserError, match=rf"home holds other files \({name}\): name a new or"):
        write_site(results, out, [])
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "mine")]


def pages_of(out):
    return {path: Page(path.read_text()) for path in sorted(out.rglob("*.html"))}


def test_the_files_and_their_links(results, tmp_path):
    out = tmp_path / "site"
    paths, problems = build(results, out)
    assert problems == []
    assert paths[0] == out / "index.html"
    assert sorted(paths) == sorted(path for path in out.rglob("*") if path.is_file())
    names = {str(path.relative_to(out)) for path in paths}
    assert {f"samples/testbed-seed-{seed}.html" for seed in range(3)} < names
    assert "runs/testbed-token_ppo-loss-eq4-s0.html" in names
    assert "stability/testbed.html" in names
    assert {f"figures/testbed/gold-steps{end}" for end in (".svg", "-dark.svg", ".png")} < names
    pages = pages_of(out)
    for path, page in pages.items():
        check_structure(page)
        check_links(path, page, pages)


def check_structure(page):
    """Well-formed, and with nothing that could load or run what is not ours."""
    assert len(page.ids) == len(set(page.ids))
    for tag in ("h1", "main", "style", "script"):
        assert page.tags.count(tag) == 1
    assert not page.tags.count("link")
    assert not [name for _, name in page.attributes if name == "style" or name[:2] == "on"]
    assert page.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in page.policy


def check_links(path, page, pages):
    """Each leads to a file of the site, and to a place in it."""
    for link in page.links:
        if re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", link):
            continue
        parts = urlsplit(link)
        assert parts.scheme == parts.netloc == "", link
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.is_file(), link
        if parts.fragment:
            assert parts.fragment in pages[target].ids, link


def test_the_same_records_give_the_same_bytes(results, tmp_path):
    one, other = (build(results, tmp_path / name)[0] for name in "ab")
    digests = [
        [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths] for paths in (one, other)
    ]
    assert digests[0] == digests[1]


def test_a_hostile_record_stays_text(make_run, tmp_path):
    sample = {
        "prompt": HOSTILE, "output": HOSTILE, "reference": HOSTILE, "preference": 2,
        "tokens": [HOSTILE, "\n", "<b>"], "token_rewards": [1.0, float("nan"), -2.0],
    }  # fmt: skip
    evil = {"paper": HOSTILE, "suite": "testbed", "config": {"ppo": {HOSTILE: HOSTILE}}}
    folder = make_run(f"evil $\\x$ {HOSTILE}", run_id="evil", error=HOSTILE, **evil)
    (folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    write_record(read_record(folder).model_copy(update={"run_id": "../../evil"}), folder)
    make_run(f"worse {HOSTILE}", run_id="worse", win=0.1, **evil)
    out = tmp_path / "out" / "site"
    paths, problems = build(tmp_path / "results", out)
    assert all(HOSTILE in problem for problem in problems)
    assert all(path.resolve().is_relative_to(out) for path in paths)
    for path, page in pages_of(out).items():
        check_structure(page)
        assert page.tags.count("img") == page.tags.count("picture")
        assert "onerror" not in {name for _, name in page.attributes}
        assert path.read_text().count("<b>") == page.tags.count("b")
        assert not [link for link in page.links if "(" in link]  # ids and files are without
    index = (out / "index.html").read_text()
    finding = index[index.index('class="finding"') : index.index("</p>", index.index('"finding"'))]
    assert "&lt;/script&gt;" in finding
    samples = (out / "samples/testbed-seed-0.html").read_text()
    assert "&lt;/script&gt;&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;amp;" in samples
    assert '<i class="z" data-r="+nan">' in samples
    assert '<i class="n4 end" data-r="-2.00" data-token="&lt;b&gt;">end</i>' in samples


def test_the_index_keeps_failed_runs_and_sets_reported_numbers_apart(results, tmp_path):
    build(results, tmp_path / "site")
    text = (tmp_path / "site" / "index.html").read_text()
    board = text[text.index('id="testbed-leaderboard"') :]
    row = board[board.index("bad</span>") : board.index("</tr>", board.index("bad</span>"))]
    assert "diverged" in row
    assert row.count("–") >= 10
    assert "KL is NaN at step 12" in text
    measured, reported = text.split('class="reported"')
    assert "51.6" not in measured
    assert "not measured here" in reported
    assert "51.6" in reported


def test_what_may_not_be_compared_has_a_table_of_its_own(make_run, tmp_path):
    make_run("sft", 0)
    make_run("sft", 1)
    make_run("sft", 0, run_id="other", judge=JudgeRecord(name="claude", model="m"))
    out = tmp_path / "site"
    build(tmp_path / "results", out)
    text = (out / "index.html").read_text()
    assert "testbed: judged by gold against" in text
    assert "testbed: judged by claude (m) against" in text
    assert "judge: claude here, gold there" in text
    assert (out / "figures/testbed-2/gold-steps.svg").is_file()
    # index, stability of each table, runs, samples of seeds 0, 1 and 0 again
    assert len(pages_of(out)) == 1 + 2 + 3 + 3


def test_problems_are_on_the_page_and_handed_back(results, tmp_path):
    (results / "testbed" / "sft-s1" / "record.json").write_text("{}")
    (results / "testbed" / "sft-s2" / "samples.jsonl").write_text("no json\n")
    (results / "testbed" / "ppo_rlhf-s0" / "metrics.jsonl").write_text("{}\n")
    _, problems = build(results, tmp_path / "site")
    assert len(problems) == 3
    text = (tmp_path / "site" / "index.html").read_text()
    listed = text[text.index('id="problems"') :]
    for name in ("sft-s1/record.json: ", "sft-s2/samples.jsonl, line 1", "metrics.jsonl, line 1"):
        assert any(name in line for line in problems)
        assert name in listed
    assert str(results) not in text


def test_one_suite_only(make_run, tmp_path):
    make_run("sft")
    make_run("sft", suite="other")
    build(tmp_path / "results", tmp_path / "site", "other")
    assert "testbed:" not in (tmp_path / "site" / "index.html").read_text()


def test_nothing_but_a_failed_run_still_makes_a_page(make_run, tmp_path):
    make_run("bad", status="out_of_memory", error="at step 3")
    paths, problems = build(tmp_path / "results", tmp_path / "site")
    assert [path.name for path in paths] == ["index.html", "testbed-bad-s0.html"]
    assert problems == []
    text = paths[0].read_text()
    assert "out of memory" in text
    assert "at step 3" in text
    assert "figure" not in Page(text).tags


def test_pages_of_runs_that_are_gone_are_removed(make_run, tmp_path):
    make_run("sft", 0)
    gone = make_run("sft", 1)
    out = tmp_path / "site"
    build(tmp_path / "results", out)
    (out / "runs" / "notes.txt").write_text("kept")
    shutil.rmtree(gone)
    paths, _ = build(tmp_path / "results", out)
    assert set(out.rglob("*.html")) == {p for p in paths if p.suffix == ".html"}
    assert not (out / "runs" / "testbed-sft-s1.html").exists()
    assert (out / "runs" / "notes.txt").exists()


def test_no_run_is_said(tmp_path):
    with pytest.raises(UserError, match="no run yet"):
        build(tmp_path, tmp_path / "site")


def test_a_place_that_cannot_be_written_is_said(results, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'file'}: cannot be written")):
        build(results, tmp_path / "file")


def test_the_page_begins_with_what_was_found_and_how_sure_it_is(results, tmp_path):
    build(results, tmp_path / "site")
    text = (tmp_path / "site" / "index.html").read_text()
    places = [text.index(part) for part in (
        'class="finding"', 'class="intervals"', 'id="testbed-leaderboard"', 'id="testbed-matrix"',
    )]  # fmt: skip
    assert places == sorted(places)
    heading = text[text.index("<h2 ") : text.index("</h2>")]
    assert heading.endswith("testbed: judged by gold against gold-reference")
    assert "gold-reference [abcdef012345]" in text  # the hash, among what is compared
    row = text[text.index('href="#runs-testbed-token_ppo-loss-eq4"') :]
    assert row.index("a reward at every token, learned from minimal edits") < row.index("</th>")
    assert row.index('href="https://arxiv.org/abs/2406.02756"') < row.index("</th>")
