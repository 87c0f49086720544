"""The jaxtyping annotations are live in the tests, not decoration."""

import inspect

import jaxtyping
import pytest
import torch

from bench import rl


def test_annotations_are_checked() -> None:
    """A float mask is refused by its annotation, before the function's own check sees it."""
    with pytest.raises(jaxtyping.TypeCheckError):
        rl.masked_mean(torch.zeros(2, 3), torch.ones(2, 3))


@pytest.mark.parametrize("name", [n for n in rl.__all__ if inspect.isfunction(getattr(rl, n))])
def test_every_public_function_is_checked(name: str) -> None:
    """Whatever test was imported first: the hook of tests/conftest.py came before it."""
    assert hasattr(getattr(rl, name), "__wrapped__")
