"""A budget of worker time: no call is taken that would, by the speed so far, take the run beyond it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tasks.records import PlannedCall
from tasks.setting_groups import RunSettings


def budget_of(settings: RunSettings) -> float | None:
    """The worker seconds that a run may take; the lower of the two where there is a budget of hours and of money."""
    limits = [settings.budget_worker_hours]
    if settings.budget_money is not None and settings.worker_hour_price:
        limits.append(settings.budget_money / settings.worker_hour_price)
    return min((hours * 3600 for hours in limits if hours is not None), default=None)


@dataclass
class Allowance:
    """What one job may take of the budget.

    Attributes:
        seconds: worker time that is left for it; None: no budget.
        bytes_per_second: of an archived second, to estimate the length of calls.
        rtfx: audio seconds a second, as quoted before the run.
        began: when the job began, on the monotonic clock.
        refused: whether a call was not taken.
    """

    seconds: float | None
    bytes_per_second: int
    rtfx: float
    began: float = field(default_factory=time.monotonic)
    refused: bool = False
    _in_flight_s: dict[str, float] = field(default_factory=dict)
    _done_s: float = 0.0
    _first: float | None = None

    def takes(self, planned: PlannedCall) -> bool:
        """Whether there is time for one more call beside those that are being worked on; if so, it is one of them."""
        length_s = planned.call.size_bytes / self.bytes_per_second
        now = time.monotonic()
        if self._first is None:
            self._first = now
        if self.seconds is not None:
            ahead_s = (sum(self._in_flight_s.values()) + length_s) / self._speed(now)
            # What is in flight has been worked on since the last call was done: it is counted in full all the same.
            if now - self.began + ahead_s > self.seconds:
                self.refused = True
                return False
        self._in_flight_s[planned.call.call_id] = length_s
        return True

    def done(self, call_id: str) -> None:
        """A call is done."""
        self._done_s += self._in_flight_s.pop(call_id, 0.0)

    def _speed(self, now: float) -> float:
        """Estimated audio seconds a second: what was quoted, until calls are done and show it."""
        if not self._done_s or self._first is None or now <= self._first:
            return self.rtfx
        return self._done_s / (now - self._first)
