"""Tokens: told once, kept as a hash, ended without a loss; without people there is `you`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from tests.studio.studies import pairs, study


def test_a_token_lets_in_whom_it_was_given_to(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    ana, ben = made.invite("ana"), made.invite("ben")
    found = made.person(ben)
    assert found is not None
    assert found.name == "ben"
    assert made.person(ana[:-1]) is None
    assert made.person("") is None
    assert made.person("é") is None
    made.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert ana.encode() not in content
    assert len(ana) >= 43  # 256 bits


def test_a_revoked_token_ends_and_the_person_goes_on_with_a_new_one(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    token = made.invite("ana")
    person = made.person(token)
    assert person is not None
    item = made.next(person, "edit")
    with pytest.raises(UserError, match="ana has a token already"):
        made.invite("ana")
    made.revoke("ana")
    assert made.person(token) is None
    assert [(one.name, one.invited) for one in made.people()] == [("ana", False)]
    with pytest.raises(UserError, match="unknown person with a token 'ana'"):
        made.revoke("ana")
    again = made.person(made.invite("ana"))
    assert again == person
    assert made.person(token) is None
    assert made.next(again, "edit") == item


def test_without_people_there_is_you(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    you = made.person()
    assert you is not None
    assert (you.name, you.invited) == ("you", False)
    assert made.person() == you
    made.invite("ana")
    with pytest.raises(UserError, match="this study has people"):
        made.person()
    made.revoke("ana")
    with pytest.raises(UserError, match="this study has people"):  # nobody is let in by an end
        made.person()


@pytest.mark.parametrize("name", ["", " ", "you", "a\nb", "x" * 61, "\x1b[31m", " You"])
def test_names(name: str, tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    with pytest.raises(UserError, match="is no name for a person"):
        made.invite(name)
    assert made.people() == []


def test_names_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    made.invite("Zo\u00eb")
    for name in ("Zoe\u0308", " Zo\u00eb "):
        with pytest.raises(UserError, match="has a token already"):
            made.invite(name)
    made.revoke("Zoe\u0308")
    assert [(one.name, one.invited) for one in made.people()] == [("Zo\u00eb", False)]
