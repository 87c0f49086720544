"""For all tests: the shape checks of `bench.rl`, and a server that speaks the models' APIs.

Run-time shape checks: the jaxtyping annotations of `bench.rl` hold in every test.
"""

from collections.abc import Iterator

import jaxtyping
import pytest

from tests.llm.server import Server

# Here, before any test module is imported: the hook changes nothing that is imported already.
jaxtyping.install_import_hook(("bench.rl",), "beartype.beartype")


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
