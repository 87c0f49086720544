"""For all tests: the shape checks of `bench.rl`, and a server that speaks the models' APIs.

Run-time shape checks: the jaxtyping annotations of `bench.rl` hold in every test.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

from bench.hub import commit
from tests.llm.server import Server

# As tox sets it, before torch is imported: a process that was forked behind a product on several
# threads, as the tests of several processes fork theirs, waits for those threads for ever.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Here, before any test module is imported: the hook changes nothing that is imported already.
jaxtyping.install_import_hook(("bench.rl",), "beartype.beartype")
# A script's `&` starts what it starts with Ctrl-C ignored; the tests of Ctrl-C then wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_hook() -> Iterator[None]:
    """Switch the annotations' checks off: what remains is what a user gets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The fault server, and the environment of a user whose keys lead to it."""
    for name in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of the Hugging Face hub, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit.cache_clear()
    yield tmp_path
    commit.cache_clear()
