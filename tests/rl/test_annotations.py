"""The jaxtyping annotations are live in these tests, not decoration."""

import jaxtyping
import pytest
import torch

from bench.rl import masked_mean


@pytest.mark.skipif(
    not hasattr(masked_mean, "__wrapped__"),
    reason="another folder's tests imported bench.rl before the hook: run tests/rl alone",
)
def test_annotations_are_checked() -> None:
    """A float mask is refused by its annotation, before the function's own check sees it."""
    with pytest.raises(jaxtyping.TypeCheckError):
        masked_mean(torch.zeros(2, 3), torch.ones(2, 3))
