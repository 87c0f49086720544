"""What the libraries read from the environment while a run lasts."""

from __future__ import annotations

import os

import pytest

from bench.running.quiet import libraries_quiet


@pytest.mark.parametrize(
    ("own", "turns"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None)],
)
def test_threads_wait_briefly_unless_the_user_says_how(
    own: dict[str, str], turns: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside other work, threads that spin for long make a run take twenty times as long."""
    monkeypatch.setattr(os, "environ", dict(own))
    with libraries_quiet():
        assert os.environ.get("GOMP_SPINCOUNT") == turns
    assert os.environ == own
