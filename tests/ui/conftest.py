"""A browser for the tests of pages.

Needs Debian's chromium, or another one that BENCH_CHROMIUM names, and Playwright's Python package,
no browser of Playwright's own. Without them the tests skip themselves, except under ``tox -e ui``,
which sets BENCH_UI=1: there they fail.
"""

import importlib.util
import os
import shutil

import pytest

NAMES = (os.environ.get("BENCH_CHROMIUM", ""), "chromium", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = [
    what
    for what, found in (
        ("the package playwright (pip install playwright)", importlib.util.find_spec("playwright")),
        ("a browser (apt-get install chromium)", CHROMIUM),
    )
    if not found
]


@pytest.fixture(scope="session")
def browser():
    if MISSING:
        reason = "not here: " + " and ".join(MISSING)
        if os.environ.get("BENCH_UI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()
