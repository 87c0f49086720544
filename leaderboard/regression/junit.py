"""A regression check as JUnit XML, which the test viewers of CI systems read."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from leaderboard.regression.check import CheckReport
from leaderboard.regression.verdicts import NOT_TESTED

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0


def to_junit(reports: Sequence[CheckReport]) -> str:
    """One suite a report; one test case a metric, and one named "record" for all else.

    A metric that could not be tested is a skipped case.

    Args:
        reports: of `check`.
    """
    root = ET.Element("testsuites", name="bench check")
    for report in reports:
        suite = ET.SubElement(root, "testsuite", name=_clean(f"bench check {report.run}"))
        general = "; ".join(report.problems or ([] if report.rows else report.failures))
        _case(suite, report, "record", general, "\n".join(report.notes))
        for row in report.rows:
            band = (
                f"here {row.value}, baseline {row.mean}, band {row.low} to {row.high}, {row.test}"
            )
            case = _case(suite, report, row.metric, "" if row.ok else row.verdict, band)
            if row.verdict == NOT_TESTED:
                ET.SubElement(case, "skipped", message=NOT_TESTED)
        _count(suite)
    _count(root)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True).decode() + "\n"


def _case(
    suite: ET.Element, report: CheckReport, name: str, failure: str, details: str
) -> ET.Element:
    place = {"name": _clean(name), "classname": _clean(f"bench.check.{report.run}"), "time": "0"}
    case = ET.SubElement(suite, "testcase", place)
    if failure:
        found = ET.SubElement(case, "failure", message=_clean(failure), type="regression")
        found.text = _clean(details)
    return case


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall(".//testcase"))))
    suite.set("failures", str(len(suite.findall(".//failure"))))
    suite.set("skipped", str(len(suite.findall(".//skipped"))))
    suite.set("errors", "0")
    suite.set("time", "0")


def _clean(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("?", text)
