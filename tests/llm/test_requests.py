import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.llm import Request
from bench.llm.requests import canonical

BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Zürich?"}]}
TEXT = (
    '{"body":{"max_tokens":9,"messages":[{"content":"Zürich?","role":"user"}],"model":"m"},'
    '"order":1,"sample":2}'
)


def test_the_key_is_the_sha256_of_the_canonical_question() -> None:
    request = Request(BODY, order=1, sample=2)
    assert request.key == hashlib.sha256(TEXT.encode()).hexdigest()
    # As it stands in stores that exist: if this fails, every stored answer is asked again.
    assert request.key == "a66f669cd05f9bf71ebf061ce3cd9053171955f693625c4fe673f228095cb6e3"


def test_what_decides_the_answer_decides_the_key() -> None:
    base = Request(BODY)
    others = [
        Request({**BODY, "model": "n"}),
        replace(base, order=1),
        replace(base, sample=1),
        base.again(),
        base.with_room(10),
        replace(base, endpoint="http://127.0.0.1"),
    ]
    assert len({base.key, *(other.key for other in others)}) == 7


words = st.text('aü{"', max_size=3)
bodies = st.dictionaries(words, st.none() | st.integers() | words | st.dictionaries(words, words))


@given(bodies)
def test_the_order_of_fields_is_of_no_account(body: dict[str, object]) -> None:
    turned = dict(reversed(body.items()))
    assert Request(body).key == Request(turned).key
    assert canonical(body) == canonical(turned)


def test_a_body_is_as_long_as_its_bytes() -> None:
    assert Request({"a": "ü"}).size == len('{"a":"ü"}') + 1


def test_follow_ups_keep_the_question() -> None:
    request = Request(BODY, order=1)
    assert request.with_room(36).body == {**BODY, "max_tokens": 36}
    assert request.again().again().attempt == 2
    assert request.again().body is request.body
    assert (request.model, request.max_tokens) == ("m", 9)
    with pytest.raises(AttributeError):
        request.order = 2  # type: ignore[misc]


def test_a_renewed_question_has_the_same_key_and_its_follow_ups_are_not_renewed() -> None:
    renewed = Request(BODY).renew()
    assert renewed.renewed
    assert renewed.key == Request(BODY).key
    for following in (renewed.again(), renewed.with_room(10), renewed.with_body(messages=[])):
        assert not following.renewed
