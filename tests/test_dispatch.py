"""Which jobs of a run are begun next, and what the end of a try means."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dispatch import Dispatch, Earlier, Ending, How, Order, Patience

MOST_FAILURES = 3


def _ended(dispatch: Dispatch, job: int, how: How, why: str = "") -> None:
    dispatch.ended(Ending(dispatch.under_way[job], how, why))


def test_jobs_are_begun_in_order_while_there_is_room() -> None:
    dispatch = Dispatch([1, 2, 3], MOST_FAILURES)
    assert [Order(1), Order(2)] == dispatch.next("planned", 2)
    assert [] == dispatch.next("planned", 2)
    _ended(dispatch, 2, "done")
    assert [Order(3)] == dispatch.next("planned", 2)
    _ended(dispatch, 1, "done")
    assert not dispatch.over
    _ended(dispatch, 3, "done")
    assert dispatch.over
    assert {} == dispatch.left


def test_a_job_that_failed_is_tried_after_those_that_wait() -> None:
    dispatch = Dispatch([1, 2], MOST_FAILURES)
    dispatch.next("planned", 1)
    _ended(dispatch, 1, "failed")
    assert [Order(2)] == dispatch.next("planned", 1)
    _ended(dispatch, 2, "done")
    assert [Order(1, 2)] == dispatch.next("planned", 1)


def test_a_job_that_fails_again_and_again_is_left() -> None:
    dispatch = Dispatch([1, 2], MOST_FAILURES)
    for _ in range(MOST_FAILURES):
        dispatch.next("planned", 2)
        _ended(dispatch, 1, "failed", "its pod was killed")
    assert {1: "has failed 3 times, at last: its pod was killed"} == dispatch.left
    assert [2] == list(dispatch.under_way)


def test_a_device_that_refuses_is_not_counted() -> None:
    dispatch = Dispatch([1], MOST_FAILURES)
    for number in range(1, 2 * MOST_FAILURES):
        assert [Order(1, number, excluded_nodes=("a",))] == dispatch.next("planned", 1, excluded_nodes=["a"])
        _ended(dispatch, 1, "refused")
    assert {} == dispatch.left


def test_what_somebody_cancelled_is_left_for_the_next_start() -> None:
    dispatch = Dispatch([1], MOST_FAILURES)
    dispatch.next("planned", 1)
    _ended(dispatch, 1, "cancelled", "flow run x is Cancelled: by a user")
    assert ({1: "flow run x is Cancelled: by a user"}, True) == (dispatch.left, dispatch.over)


def test_what_stops_every_job_begins_no_other() -> None:
    dispatch = Dispatch([1, 2, 3], MOST_FAILURES)
    dispatch.next("planned", 2)
    _ended(dispatch, 1, "stopped")
    assert [] == dispatch.next("planned", 2)
    assert not dispatch.over
    _ended(dispatch, 2, "done")
    assert dispatch.over


def test_the_end_of_a_try_is_taken_once() -> None:
    dispatch = Dispatch([1], MOST_FAILURES)
    (first,) = dispatch.next("planned", 1)
    dispatch.ended(Ending(first, "failed"))
    (second,) = dispatch.next("planned", 1)
    dispatch.ended(Ending(first, "failed"))
    assert {1: second} == dispatch.under_way


def test_a_new_process_goes_on_with_what_it_finds() -> None:
    found = Earlier((Order(2, 4),), {1: 3, 2: 4, 3: 1}, {1: 1, 3: MOST_FAILURES})
    dispatch = Dispatch([1, 2, 3], MOST_FAILURES, found)
    assert {3: "has failed 3 times"} == dispatch.left
    assert [Order(1, 4)] == dispatch.next("planned", 2)
    assert {1, 2} == set(dispatch.under_way)
    for _ in range(MOST_FAILURES - 1):
        _ended(dispatch, 1, "failed")
        dispatch.next("planned", 2)
    assert {1, 3} == set(dispatch.left)


def test_what_is_done_already_is_not_waited_for() -> None:
    dispatch = Dispatch([1], MOST_FAILURES, Earlier((Order(2, 1),), {2: 1}))
    assert {} == dispatch.under_way


def test_a_budget_is_shared_by_what_could_be_begun() -> None:
    dispatch = Dispatch([1, 2, 3], MOST_FAILURES)
    assert [50.0, 50.0] == [order.budget_s for order in dispatch.next("planned", 2, 100.0)]
    _ended(dispatch, 1, "done")
    assert [30.0] == [order.budget_s for order in dispatch.next("planned", 2, 30.0)]


def test_a_budget_that_does_not_last_waits_for_what_others_leave() -> None:
    dispatch = Dispatch([1, 2, 3], MOST_FAILURES)
    dispatch.next("planned", 2, 100.0)
    _ended(dispatch, 1, "out_of_budget")
    assert ([], False) == (dispatch.next("planned", 2, 20.0), dispatch.out_of_budget)
    _ended(dispatch, 2, "done")
    assert [1, 3] == [order.job for order in dispatch.next("planned", 2, 40.0)]
    _ended(dispatch, 1, "out_of_budget")
    _ended(dispatch, 3, "out_of_budget")
    assert dispatch.out_of_budget
    assert 2 == dispatch.waiting


def test_a_budget_that_is_spent_begins_nothing() -> None:
    dispatch = Dispatch([1], MOST_FAILURES)
    assert ([], True) == (dispatch.next("planned", 1, 0.0), dispatch.out_of_budget)
    assert not Dispatch([], MOST_FAILURES).out_of_budget


def test_jobs_are_done_in_another_way() -> None:
    dispatch = Dispatch([1, 2, 3], MOST_FAILURES)
    dispatch.next("planned", 1)
    assert 1 == dispatch.redirect("cpu", 1)
    assert [Order(2, way="cpu")] == dispatch.next("cpu", 1)
    _ended(dispatch, 2, "failed")
    assert [Order(2, 2, "cpu")] == dispatch.next("cpu", 1)
    assert [] == dispatch.next("planned", 1)
    _ended(dispatch, 1, "withdrawn")
    assert 2 == dispatch.redirect("fallback")
    assert [Order(1, 2, "fallback"), Order(3, 1, "fallback")] == dispatch.next("fallback", 5)


@given(
    jobs=st.integers(0, 12),
    slots=st.integers(1, 5),
    hows=st.lists(
        st.sampled_from(["done", "failed", "refused", "given_up", "cancelled", "withdrawn"]), min_size=1, max_size=40
    ),
)
def test_every_job_is_done_or_left(jobs: int, slots: int, hows: list[How]) -> None:
    dispatch = Dispatch(range(1, jobs + 1), MOST_FAILURES)
    begun: list[tuple[int, int]] = []
    done: set[int] = set()
    failures: Counter[int] = Counter()
    script = iter(hows)
    while not dispatch.over:
        begun += [(order.job, order.number) for order in dispatch.next("planned", slots)]
        assert 0 < len(dispatch.under_way) <= slots
        job = next(iter(dispatch.under_way))
        how = next(script, "done")
        _ended(dispatch, job, how, how)
        failures[job] += how == "failed"
        if how == "done":
            done.add(job)
    assert set(range(1, jobs + 1)) == done | set(dispatch.left)
    assert set() == done & set(dispatch.left)
    assert len(set(begun)) == len(begun)
    assert all(count <= MOST_FAILURES for count in failures.values())


@pytest.mark.parametrize(("most_s", "expected"), [(60.0, [61, 121]), (None, [])])
def test_patience_ends_again_and_again(most_s: float | None, expected: list[int]) -> None:
    patience = Patience(most_s)
    told: list[int] = []
    for now in range(1, 180):
        patience = patience.at(now, working=False, waiting=True)
        if patience.is_over(now):
            told.append(now)
            patience = patience.after_telling()
    assert expected == told


def test_patience_begins_anew_when_somebody_works() -> None:
    patience = Patience(60.0).at(0, working=False, waiting=True).at(59, working=True, waiting=True)
    assert None is patience.since
    assert not patience.at(61, working=False, waiting=True).is_over(120)
    assert None is Patience(60.0).at(0, working=False, waiting=False).since
