"""A budget of worker time: when no more calls are taken."""

import time
from typing import Any

import pytest
from builders import call_ref, planned_call
from pydantic import ValidationError

from tasks.budget import Allowance, budget_of
from tasks.records import PlannedCall
from tasks.setting_groups import RunSettings

BYTES_PER_SECOND = 8000


def _call(call_id: str, length_s: float) -> PlannedCall:
    return planned_call(call_ref(call_id, size_bytes=round(length_s * BYTES_PER_SECOND)))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, None),
        ({"budget_worker_hours": 2.0}, 7200.0),
        ({"budget_money": 6.0, "worker_hour_price": 1.5}, 14400.0),
        ({"budget_money": 6.0, "worker_hour_price": 1.5, "budget_worker_hours": 2.0}, 7200.0),
        ({"budget_money": 1.5, "worker_hour_price": 1.5, "budget_worker_hours": 2.0}, 3600.0),
    ],
)
def test_a_budget_in_seconds(given: dict[str, Any], seconds: float | None) -> None:
    """Money becomes hours by the price of one; the lower of two budgets counts."""
    assert seconds == budget_of(RunSettings(**given))


def test_money_needs_a_price() -> None:
    """Else nobody could say how long it lasts."""
    with pytest.raises(ValidationError, match="worker_hour_price"):
        RunSettings(budget_money=3.0)


def test_without_a_budget_every_call_is_taken() -> None:
    """However long."""
    allowance = Allowance(None, BYTES_PER_SECOND, 1.0)
    assert allowance.takes(_call("c1", 1e9))
    assert not allowance.refused


def test_what_is_in_flight_is_paid_for_before_more_is_taken() -> None:
    """By the quoted speed, as long as no call is done."""
    allowance = Allowance(10.0, BYTES_PER_SECOND, rtfx=50.0)
    taken = [allowance.takes(_call(f"c{number}", 100.0)) for number in range(8)]
    assert [True, True, True, True, False] == taken[:5]  # 2 s each, and a little has passed
    assert allowance.refused


def test_speed_is_that_of_the_calls_that_are_done() -> None:
    """A machine that is slower than was quoted takes fewer, a faster one more."""
    began = time.monotonic()
    slow = Allowance(10.0, BYTES_PER_SECOND, rtfx=1e6, began=began)
    assert slow.takes(_call("c1", 0.5))
    time.sleep(0.1)
    slow.done("c1")  # 5 times as fast as it sounds
    assert not slow.takes(_call("c2", 60.0))
    fast = Allowance(10.0, BYTES_PER_SECOND, rtfx=1.0, began=began)
    assert fast.takes(_call("c1", 5.0))
    fast.done("c1")  # at once
    assert fast.takes(_call("c2", 60.0))


def test_time_before_the_first_call_counts() -> None:
    """Models were loaded in it."""
    late = Allowance(10.0, BYTES_PER_SECOND, rtfx=1e6, began=time.monotonic() - 11.0)
    assert not late.takes(_call("c1", 1.0))
