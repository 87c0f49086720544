"""Where a suite's files are: here, or on the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.hub import HubRepo, fetched
from bench.suites.filed.sources import Source, hub_or_here
from tests.hub import NEW, cache

REPO = HubRepo("org/data", None, "dataset")


def test_a_file_of_the_cache_is_found_without_a_network(hub_cache: Path) -> None:
    cache(hub_cache, "datasets--org--data", {"main": NEW})
    found = fetched(REPO, "config.json")
    assert found.read_text() == "{}"
    assert NEW in str(found)
    assert Source("config.json", REPO).path() == found
    with pytest.raises(UserError, match=r"^x.json of the dataset org/data .* has config.json"):
        fetched(REPO, "x.json")


def test_a_name_is_of_the_hub_unless_it_is_a_path_here(tmp_path: Path) -> None:
    here = tmp_path / "a.json"
    here.write_text("[]")
    assert hub_or_here(str(here), "b.json", REPO).read == here
    assert hub_or_here(None, "b.json", REPO).read == REPO
    assert hub_or_here("c.json", "b.json", REPO) == Source("c.json", REPO)
    assert hub_or_here("./c.json", "b.json", REPO) == Source("./c.json")
