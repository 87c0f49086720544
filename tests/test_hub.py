"""A name on the hub is the commit that it stands for: by the hub, or by the cache's own folders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from bench.errors import UserError
from bench.hub import HubRepo, commit
from tests.hub import NEW, OLD, cache


def test_without_a_network_the_cache_says_what_a_revision_stands_for(hub_cache: Path) -> None:
    cache(hub_cache, "models--org--name", {"main": OLD, "v2": NEW})
    assert commit(HubRepo("org/name")) == OLD
    assert commit(HubRepo("org/name", "v2")) == NEW
    cache(hub_cache, "datasets--org--name", {"main": NEW})
    assert commit(HubRepo("org/name", kind="dataset")) == NEW


def test_main_stays_where_it_was_throughout_a_process(hub_cache: Path) -> None:
    cache(hub_cache, "models--org--name", {"main": OLD})
    assert commit(HubRepo("org/name")) == OLD
    cache(hub_cache, "models--org--name", {"main": NEW})
    assert commit(HubRepo("org/name")) == OLD
    commit.cache_clear()
    assert commit(HubRepo("org/name")) == NEW


def test_a_commit_stands_for_itself_without_being_looked_up(hub_cache: Path) -> None:
    assert commit(HubRepo("org/name", OLD)) == OLD


@pytest.mark.parametrize("name", ["org/name", "/no/such/folder", "a b"])
def test_what_nobody_knows_is_one_line(hub_cache: Path, name: str) -> None:
    cache(hub_cache, "models--org--name", {"main": OLD})
    with pytest.raises(UserError, match=r"is no folder here.*v9 is not in the cache.*OFFLINE"):
        commit(HubRepo(name, "v9"))


def test_the_hub_is_asked_first(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded next is the hub's `main`, not the one of the cache."""
    cache(hub_cache, "models--org--name", {"main": OLD})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked: list[Any] = []

    def repo_info(self: HfApi, *arguments: Any, **options: Any) -> Any:
        asked.append((arguments, options["repo_type"], options["revision"]))
        return SimpleNamespace(sha=NEW)

    monkeypatch.setattr(HfApi, "repo_info", repo_info)
    assert commit(HubRepo("org/name")) == NEW
    assert asked == [(("org/name",), "model", "main")]


def test_where_the_hub_does_not_answer_the_cache_does(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repo_info(self: HfApi, *arguments: Any, **options: Any) -> Any:
        raise ConnectionError("no route\nto it")

    cache(hub_cache, "models--org--name", {"main": OLD})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "repo_info", repo_info)
    assert commit(HubRepo("org/name")) == OLD
    with pytest.raises(UserError, match="the hub does not say it: no route to it"):
        commit(HubRepo("org/other"))
