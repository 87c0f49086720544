"""Who is let in: links, cookies, forms, and how often one may be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.studio.study import Study
from bench.studio.web import access
from tests.studio.studies import pairs, study
from tests.studio.web.visits import URL, Visit, address, csrf


@pytest.fixture
def made(tmp_path: Path) -> Study:
    return study(tmp_path, pairs(4), "prefer")


def test_a_link_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(made: Study) -> None:
    token = made.invite("ana")
    visit = Visit(made)
    response = visit.get("/", params={"token": token}, follow_redirects=False)
    assert response.status_code == 303
    assert response.headers["location"] == "/welcome"
    kept = response.headers["set-cookie"]
    assert kept.startswith(f"studio_8765={token}; HttpOnly; ")
    assert "SameSite=strict" in kept
    welcome = visit.get("/welcome")
    assert '<meta http-equiv="refresh" content="0; url=/">' in welcome.text
    assert token not in welcome.text
    page = visit.page("prefer")
    assert "ana" in page
    assert token not in page


def test_without_a_link_nobody_gets_in_where_there_are_people(made: Study) -> None:
    alone = Visit(made)
    page = alone.page("prefer")
    made.invite("ana")
    for response in (alone.get("/prefer"), alone.get("/"), alone.get("/prefer/guide")):
        assert response.status_code == 401
        assert "your own link" in response.text
    assert alone.answer(page, choice="a").status_code == 401


def test_a_link_that_has_ended_ends_the_cookie(made: Study) -> None:
    ana = Visit(made, made.invite("ana"))
    page = ana.page("prefer")
    made.revoke("ana")
    assert ana.answer(page, choice="a").status_code == 401
    assert ana.get("/prefer").status_code == 401


def test_a_form_needs_the_token_of_its_own_visitor(made: Study) -> None:
    ana = Visit(made, made.invite("ana"))
    ben = Visit(made, made.invite("ben"), beside=ana)
    page, path = ana.page("prefer"), address(ana.page("prefer"))
    for token in ("", "x" * 64, "é", csrf(ben.page("prefer"))):
        for where in (path, f"{path}/draft", "/prefer/undo"):
            response = ana.send(where, token, choice="a")
            assert response.status_code == 403
            assert "load it once more" in response.text
    ana.client.cookies.clear()
    assert ana.answer(page, choice="a").status_code == 401
    assert made.people()[0].name == "ana"


def test_the_only_user_has_a_cookie_of_a_browser(made: Study) -> None:
    here, there = Visit(made), Visit(made)
    page = here.page("prefer")
    assert csrf(page) == csrf(here.page("prefer"))
    assert csrf(page) != csrf(there.page("prefer"))
    here.client.cookies.clear()
    assert here.answer(page, choice="a").status_code == 403


def test_a_server_that_starts_again_takes_the_forms_of_before(made: Study) -> None:
    ana = Visit(made, made.invite("ana"))
    page = ana.page("prefer")
    again = Visit(made)
    again.client.cookies = ana.client.cookies
    assert again.answer(page, choice="a").status_code == 200


def wrong_links(visit: Visit, times: int) -> list[int]:
    return [visit.get("/", params={"token": f"w{n}"}).status_code for n in range(times)]


def test_wrong_links_are_answered_a_few_times(made: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    token, other = made.invite("ana"), made.invite("ben")
    ana = Visit(made, token)
    stranger = Visit(made, beside=ana)
    assert wrong_links(stranger, access.WRONG + 1) == [403] * access.WRONG + [429]
    refused = stranger.get("/", params={"token": other})  # now it would be a right guess
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"
    stranger.client.cookies.set("studio_8765", other)
    assert stranger.get("/prefer").status_code == 429
    assert ana.get("/prefer").status_code == 200  # who is in stays in
    monkeypatch.setattr(access, "WINDOW_S", 0.0)
    assert stranger.get("/prefer").status_code == 200


def test_wrong_cookies_count_and_other_addresses_do_not(made: Study) -> None:
    made.invite("ana")
    visit = Visit(made)
    for n in range(access.WRONG):
        visit.client.cookies.clear()
        visit.client.cookies.set("studio_8765", f"wrong{n}")
        assert visit.get("/prefer").status_code == 401
    assert visit.get("/prefer").status_code == 429
    from starlette.testclient import TestClient

    elsewhere = TestClient(visit.app, base_url=URL, client=("10.0.0.9", 1))
    assert elsewhere.get("/prefer").status_code == 401
