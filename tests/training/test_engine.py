"""The server of the samplers' tests leaves nothing behind that acts in another test."""

from __future__ import annotations

import httpx2
import pytest

from tests.tiny import tiny_backbone
from tests.training.engine import LOAD, Engine


def test_a_request_whose_client_gave_up_ends_with_the_engine() -> None:
    """It would otherwise load its adapter later, with draws from torch's global generator."""
    with Engine(tiny_backbone()) as engine:
        engine.faults = lambda path, n: 20.0
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(engine.url + LOAD, json={"lora_name": "a", "lora_path": "x"}, timeout=0.2)
        assert engine.under_way == 1
    assert engine.under_way == 0
