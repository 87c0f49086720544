from __future__ import annotations

from bench.llm import Request, mending, once_more

FIRST = Request({"model": "m", "max_tokens": 100})


def test_cut_off_gets_four_times_the_room_once() -> None:
    more = once_more(FIRST, "truncated", 100)
    assert more is not None
    assert more.max_tokens == 400
    assert once_more(more, "truncated", 100) is None


def test_unreadable_is_asked_again_once_under_another_key() -> None:
    again = once_more(FIRST, "parse_error", 100)
    assert again is not None
    assert again.key != FIRST.key
    assert once_more(again, "parse_error", 100) is None


def test_each_is_given_once_in_either_order() -> None:
    for order in (("truncated", "parse_error"), ("parse_error", "truncated")):
        request: Request | None = FIRST
        for status in order:
            assert request is not None
            request = once_more(request, status, 100)
        assert request == Request({"model": "m", "max_tokens": 400}, attempt=1)
        for status in order:
            assert once_more(request, status, 100) is None


def test_what_asking_cannot_mend_is_left() -> None:
    for status in ("ok", "refusal", "api_error", "expired", "skipped_budget"):
        assert once_more(FIRST, status, 100) is None


def test_what_to_do_is_said_for_each_status() -> None:
    counts = {"ok": 9, "tie": 2, "parse_error": 1, "api_error": 2, "refusal": 3, "expired": 0}
    assert mending(counts, "--retry ") == (
        "run the same command again to ask for 2 api_error; "
        "add --retry parse_error,refusal to ask, and pay, once more for 1 parse_error, 3 refusal"
    )
    assert mending({"skipped_budget": 6, "expired": 1}, "") == (
        "run the same command again to ask for 1 expired, 6 skipped_budget "
        "(up to the limit once more)"
    )
    assert mending({"truncated": 1}, "--set judge.retry=").startswith(
        "add --set judge.retry=truncated to ask"
    )
    assert mending({"ok": 3, "rejected_empty": 1}, "--retry ") == ""
