"""A judge that asks the fault server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from judges.claude import Claude
from judges.pairwise import PairwiseOptions
from tests.llm.server import Server


@pytest.fixture
def claude(server: Server, tmp_path: Path) -> Callable[..., Claude]:
    """Makes judges that share one store; no canaries unless asked for."""

    def make(**options: Any) -> Claude:
        values = {"canaries": 0, "max_retries": 0, **options}
        said: list[str] = []
        path = tmp_path / "answers.jsonl"
        return Claude(None, PairwiseOptions(**values), answers=path, say=said.append)

    return make
