"""The jaxtyping annotations are live in the tests, not decoration."""

import jaxtyping
import pytest
import torch

from .public import FUNCTIONS, rl


def test_annotations_are_checked() -> None:
    """A float mask is refused by its annotation, before the function's own check sees it."""
    with pytest.raises(jaxtyping.TypeCheckError):
        rl.masked_mean(torch.zeros(2, 3), torch.ones(2, 3))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_is_checked(name: str) -> None:
    """Whatever test was imported first: the hook of tests/conftest.py came before it."""
    assert hasattr(FUNCTIONS[name], "__wrapped__")
