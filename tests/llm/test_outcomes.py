import pytest

from bench.errors import UserError
from bench.llm.transports.outcomes import Service, Told, check_key

SERVICE = Service("the API", "THE_KEY", "somewhere", ("model-a", "other"), {"sk-secret", "none"})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": {"type": "t", "message": "m"}}, Told(400, "t", "m")),
        (
            {"error": {"type": "t", "message": "m", "details": {"error_code": "c"}}},
            Told(400, "t", "m", "c"),
        ),
        ({"message": "m", "type": "t", "code": 7}, Told(400, "t", "m", "7")),
        ({"error": "m"}, Told(400, message="m")),
        ({"detail": "d"}, Told(400, message="{'detail': 'd'}")),
        ("<html>", Told(400, message="<html>")),
        (None, Told(400)),
    ],
)
def test_the_bodies_of_errors_are_read(body: object, told: Told) -> None:
    assert Told.of(400, body) == told


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (Told(401, message="bad sk-secret"), "the API refuses the key in THE_KEY (401 bad [key])"),
        (Told(403), "the key in THE_KEY may not use model-c (403)"),
        (Told(402), "a spending limit is reached (402): raise it somewhere"),
        (Told(429, code="contract_spend_limit_reached"), "a spending limit is reached"),
        (Told(404), "unknown model 'model-c'; did you mean 'model-a'? (one of: model-a, other)"),
    ],
)
def test_the_end_says_what_to_do(told: Told, said: str) -> None:
    assert said in str(told.stopped(SERVICE, "model-c"))


def test_a_model_that_is_known_is_not_called_unknown() -> None:
    assert "unknown" not in str(Told(404).stopped(SERVICE, "model-a"))


@pytest.mark.parametrize("status", [0, 400, 408, 409, 413, 422, 429, 500, 503, 529])
def test_the_rest_is_no_end(status: int) -> None:
    told = Told(status, message="m")
    assert told.stopped(SERVICE, "model-a") is None
    assert told.invalid == (status in (400, 413, 422))


def test_an_error_is_one_short_line_without_the_key() -> None:
    assert SERVICE.scrub("a sk-secret\n  b\tsk-secret") == "a [key] b [key]"
    assert SERVICE.scrub("none of it") == "none of it"  # a key where none is needed is a word
    assert len(SERVICE.scrub("x" * 10_000)) == 500


@pytest.mark.parametrize("key", ["sk 1", "sk-1\n", "sk-ü"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    with pytest.raises(UserError, match="the key in THE_KEY has") as error:
        check_key("THE_KEY", key)
    assert key not in str(error.value)
    check_key("THE_KEY", "sk-1")
