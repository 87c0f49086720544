from xml.etree import ElementTree as ET

from leaderboard.regression.check import CheckReport
from leaderboard.regression.junit import to_junit
from leaderboard.regression.verdicts import NOT_TESTED, OK, CheckRow


def row(metric, verdict=OK):
    return CheckRow(metric, 0.3, 0.4, 0.35, 0.45, "band", verdict)


def test_one_case_a_metric_and_one_for_the_record():
    good = CheckReport("a", "b.json", [row("kl"), row("win_rate")])
    bad = CheckReport("x <&> \x1b[31m", "b.json", [row("kl"), row("win_rate", "is below 0.35")])
    broken = CheckReport("c", "b.json", problems=["c/record.json: not JSON", "and \x00more"])
    text = to_junit([good, bad, broken, CheckReport("d", "b.json")])
    assert text.startswith("<?xml version='1.0' encoding='utf-8'?>")
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("8", "3", "0")
    suites = root.findall("testsuite")
    assert [(s.get("tests"), s.get("failures")) for s in suites] == [
        ("3", "0"), ("3", "1"), ("1", "1"), ("1", "1"),
    ]  # fmt: skip
    assert [case.get("name") for case in suites[0]] == ["record", "kl", "win_rate"]
    assert suites[1].get("name") == "bench check x <&> ?[31m"
    (failure,) = suites[1].findall("testcase[@name='win_rate']/failure")
    assert (failure.get("message"), failure.get("type")) == ("is below 0.35", "regression")
    assert failure.text == "here 0.3, baseline 0.4, band 0.35 to 0.45, band"
    assert suites[2].find("testcase/failure").get("message") == (
        "c/record.json: not JSON; and ?more"
    )
    assert suites[3].find("testcase/failure").get("message") == "nothing was checked"


def test_what_was_not_tested_is_skipped():
    root = ET.fromstring(to_junit([CheckReport("a", "b.json", [row("kl", NOT_TESTED), row("x")])]))
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "0", "1")
    assert root.find("testsuite/testcase[@name='kl']/skipped").get("message") == "not tested"
