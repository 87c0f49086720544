"""Run-time shape checks: the jaxtyping annotations of `bench.rl` hold in every test."""

from collections.abc import Iterator

import jaxtyping
import pytest

# Here, before any test module is imported: the hook changes nothing that is imported already.
jaxtyping.install_import_hook(("bench.rl",), "beartype.beartype")


@pytest.fixture
def no_hook() -> Iterator[None]:
    """Switch the annotations' checks off: what remains is what a user gets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
