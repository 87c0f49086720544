"""Shared samples: prompts and written responses, made once."""

from __future__ import annotations

import random

import pytest

from bench.suites.testbed.prompts import parse_prompt, sample_prompts
from bench.suites.testbed.writer import write


@pytest.fixture(scope="session")
def written() -> list[tuple[str, str]]:
    """500 (prompt, response) pairs with the web's errors."""
    rng = random.Random(0)
    prompts = sample_prompts("preference", 500, 0)
    return [(prompt, write(parse_prompt(prompt), rng)) for prompt in prompts]
