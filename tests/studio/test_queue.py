"""Who gets which item: one's own unfinished one, nobody else's, several people where asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bench.studio.items import share_of
from bench.studio.people import Person
from bench.studio.queue import Assigned
from bench.studio.study import Study
from tests.studio.studies import Clock, answer_all, edited, pairs, people, rankings, study

DONE = {"kind": "nothing_to_mend"}


def given(made: Study, person: Person) -> Assigned:
    found = made.next(person, "edit")
    assert found is not None
    return found


def test_coming_back_goes_on_at_the_same_item_with_what_was_saved(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "edit")
    [ana] = people(made, "ana")
    first = given(made, ana)
    assert (first.answer, first.done, first.seconds) == (None, False, 0)
    made.save(ana, first.item.id, edited("half a"), seconds=4, done=False)
    made.close()
    again = given(Study(tmp_path / "study.db", clock=Clock()), ana)
    assert again.item == first.item
    assert (again.answer, again.done, again.seconds) == (
        {"kind": "edit", "text": "half a", "reasons": []},
        False,
        4.0,
    )


def test_no_two_people_on_one_item(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "edit")
    ana, ben, cid, dan = people(made, "ana", "ben", "cid", "dan")
    held = [given(made, person).item.id for person in (ana, ben, cid)]
    assert len(set(held)) == 3
    assert made.next(dan, "edit") is None
    made.save(ana, held[0], {"kind": "skip"}, seconds=1)
    assert given(made, dan).item.id == held[0]  # what was skipped is open to others
    assert made.next(ana, "edit") is None  # and not to who skipped it


def test_a_lease_ends_and_a_late_answer_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    made = study(tmp_path, pairs(1), "edit", clock)
    ana, ben = people(made, "ana", "ben")
    made.set(lease_s=100)
    item = given(made, ana).item.id
    clock.now += 60
    made.save(ana, item, edited("draft"), seconds=1, done=False)  # holds it from now on
    clock.now += 99
    assert made.next(ben, "edit") is None
    clock.now += 2
    assert given(made, ben).item.id == item
    assert made.next(ana, "edit") is None  # it is somebody else's now
    made.save(ana, item, DONE, seconds=1)
    assert made.next(ben, "edit") is None  # it has been answered
    made.save(ben, item, DONE, seconds=1)
    assert made.item(ana, item).done
    assert made.item(ben, item).done


def test_overlap_is_of_a_stable_share(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(100), "edit")
    made.set(overlap=3, share=0.2)
    answered = Counter(
        name
        for person in people(made, "ana", "ben", "cid", "dan")
        for name in answer_all(made, person, "edit", DONE)
    )
    assert set(answered.values()) == {1, 3}
    with made.database.read() as connection:
        ids = [row["id"] for row in connection.execute("SELECT id FROM items ORDER BY number")]
    drawn = {f"pair{i}" for i, key in enumerate(ids) if share_of(key) < 0.2}
    assert {name for name, n in answered.items() if n == 3} == drawn
    assert 10 <= len(drawn) <= 30


def test_both_orders_are_balanced_over_people_and_recorded(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(40), "prefer")
    made.set(overlap=4)
    seen: dict[str, list[tuple[int, ...]]] = {}
    for person in people(made, "ana", "ben", "cid", "dan"):
        while item := made.next(person, "prefer"):
            assert item.texts == tuple(item.item.responses[place] for place in item.shown)
            seen.setdefault(item.item.id, []).append(item.shown)
            assert made.item(person, item.item.id).shown == item.shown
            made.save(person, item.item.id, {"kind": "skip"}, seconds=1)
    # Skipped items stay open, so everybody saw each of them.
    assert all(sorted(orders) == [(0, 1)] * 2 + [(1, 0)] * 2 for orders in seen.values())
    firsts = Counter(orders[0] for orders in seen.values())
    assert min(firsts.values()) >= 8  # drawn, not the same for all


def test_ranked_responses_are_shown_in_drawn_orders(tmp_path: Path) -> None:
    made = study(tmp_path, rankings(30), "rank")
    person = made.person()
    assert person is not None
    orders = set()
    while item := made.next(person, "rank"):
        orders.add(item.shown)
        made.save(person, item.item.id, {"kind": "rank", "order": [0, 1, 2]}, seconds=1)
    assert len(orders) == 6


def test_undo_takes_back_one_action_after_the_other(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    ana, ben = people(made, "ana", "ben")
    first = given(made, ana).item.id
    made.save(ana, first, edited("draft"), seconds=1, done=False)
    made.save(ana, first, DONE, seconds=2)
    second = given(made, ana).item.id
    assert second != first
    back = made.undo(ana, "edit")
    assert back is not None
    assert (back.item.id, back.done, back.seconds) == (first, False, 3)
    assert back.answer is not None
    assert back.answer["text"] == "draft"
    assert given(made, ana).item.id == first  # where one goes on
    again = made.undo(ana, "edit")
    assert again is not None
    assert again.answer is None
    assert made.undo(ana, "edit") is None
    assert made.undo(ben, "edit") is None
    with made.database.read() as connection:
        kinds = [row["kind"] for row in connection.execute("SELECT kind FROM actions")]
    assert kinds == ["edit", "nothing_to_mend", "undo", "undo"]


def test_progress_and_pace(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(5), "edit")
    ana, ben = people(made, "ana", "ben")
    assert vars(made.progress(ana, "edit")) == {"done": 0, "left": 5, "seconds": None}
    for seconds in (2.0, 4.0, 9.0):
        item = given(made, ana).item.id
        made.save(ana, item, edited("x"), seconds=1, done=False)
        made.save(ana, item, DONE, seconds=seconds)
    progress = made.progress(ana, "edit")
    assert (progress.done, progress.left, progress.seconds, progress.left_s) == (3, 2, 5.0, 10.0)
    given(made, ben)
    assert made.progress(ana, "edit").left == 1  # ben is at the other one
    assert made.progress(ben, "edit").left == 2  # his own, unfinished, and one more
