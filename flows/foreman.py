"""The jobs of a run, from the first to the last: begun while there is room, and begun again until they are done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from prefect import get_run_logger
from prefect.events import emit_event

from flows.artifacts import RunProgress
from flows.crew import Crew
from flows.progress import watcher
from tasks.budget import budget_of
from tasks.dispatch import Dispatch, Ending, Order, Patience, Way
from tasks.errors import BudgetReached, DeviceError, StorageUnavailable
from tasks.job_record import done_jobs, forget_calls_of, traces, worker_seconds
from tasks.refusals import excluded_nodes, forget_refusals, must_stop, refusals
from tasks.runs import RunHead
from tasks.setting_groups import RunSettings
from tasks.storage import Storage

# Nodes that are left out are tried once more where nobody else has taken up a job for so long: else a run whose nodes
# have all refused would wait for ever, and never come to the refusals that stop it.
LEFT_OUT_S = 600.0
# Endings that would stop a run, and do not while others do their jobs.
MOST_STOPS = 3
# The event by which Prefect's automations can tell somebody that a run waits for devices.
WAITING_EVENT = "callscribe.run.waiting-for-device"


class Foreman:
    """Whoever sees to it that the jobs of a run are done.

    Args:
        storage: of the data set.
        head: the run's plan.
        settings: budget, tries, and what to do where no device is to be had.
        crew: who works.
        progress: is told how far the run is.
    """

    def __init__(
        self, storage: Storage, head: RunHead, settings: RunSettings, crew: Crew, progress: RunProgress
    ) -> None:
        self._storage = storage
        self._head = head
        self._settings = settings
        self._crew = crew
        self._progress = progress
        self._refusals = 0
        self._done = done_jobs(storage, head.run_id)
        forget_calls_of(storage, head.run_id, self._done)  # a process may have died before it did
        left = [number for number in range(1, head.jobs + 1) if number not in self._done]
        if must_stop(refusals(storage, head.run_id)):
            forget_refusals(storage, head.run_id)  # they stopped the run, and somebody has started it again
        self._excluded = excluded_nodes(refusals(storage, head.run_id))
        self._dispatch = Dispatch(left, settings.job_attempts, crew.resume())
        self._ledger = _Ledger.opened(storage, head.run_id, budget_of(settings))
        self._patience = Patience(settings.gpu_patience_s)
        self._left_out = Patience(min(LEFT_OUT_S, settings.gpu_patience_s or LEFT_OUT_S))
        self._leaves_out = True
        self._stopped_by: Exception | None = None
        self._no_device = False
        self._taken_up = False
        self._done_here = False
        self._stops = 0
        self._traces: frozenset[tuple[str, str]] = frozenset()
        for order in self._dispatch.under_way.values():
            self._ledger.promise(order)

    def work(self, check: Callable[[], None]) -> None:
        """Do the jobs.

        Args:
            check: raises where the month is no longer this run's.

        Raises:
            BudgetReached: the budget did not last; what was done stands.
            DeviceError: the workers' devices are not what was asked for, and `run.without_gpu` is `wait`.
            UsageError: something stops every job.
        """
        try:
            self._tell_progress()
            while not self._dispatch.over:
                check()
                self._begin()
                if self._stopped_by is not None:
                    self._crew.withdraw(self._crew.idle())  # again and again: the crew may not have been heard
                for ending in self._crew.wait():
                    self._end(ending)
                self._look_at_the_clock()
                self._tell_progress()
        except BaseException:
            self._crew.leave()
            raise
        for job, why in sorted(self._dispatch.left.items()):
            watcher().note(f"job {job} is left for the next start: {why}")
        if self._stopped_by is not None:
            raise self._stopped_by

    def _begin(self) -> None:
        self._do_without()
        ways: tuple[Way, ...] = ("planned", "cpu", "fallback")
        for way in ways:
            orders = self._dispatch.next(way, self._crew.slots(way), self._ledger.left_s, self._excluded)
            for order in orders:
                self._ledger.promise(order)
                self._crew.start(order)
        if self._dispatch.out_of_budget:
            hours = (self._ledger.budget_s or 0.0) / 3600
            waiting = self._dispatch.waiting
            message = (
                f"{self._head.kind} {self._head.run_id} has come to the end of its budget of {hours:,.2f} worker hours "
                f"with {waiting:,} of {self._head.jobs:,} jobs to do; give it more (run.budget_worker_hours, "
                "run.budget_money), and start it again: it goes on"
            )
            raise BudgetReached(message)

    def _end(self, ending: Ending) -> None:
        ending = self._judged(ending)
        if not self._dispatch.ended(ending):
            return
        job = ending.order.job
        self._ledger.settle(ending.order)
        self._taken_up |= ending.order.way == "planned" and ending.how not in {"refused", "withdrawn", "cancelled"}
        if ending.how == "done":
            self._done.add(job)
            self._done_here = True
        elif ending.how in {"failed", "cancelled", "given_up"}:
            get_run_logger().warning("try %s at job %s: %s", ending.order.number, job, ending.why)
        if ending.how == "refused":
            self._refused(ending)
        elif ending.how == "stopped":
            self._stop(ending.error)

    def _judged(self, ending: Ending) -> Ending:
        """The ending; where others do their jobs, what would stop the run may be of one worker, and fails one try."""
        if ending.how != "stopped" or self._crew.only_device:
            return ending
        self._stops += 1
        return replace(ending, how="failed") if self._done_here and self._stops < MOST_STOPS else ending

    def _stop(self, error: Exception | None) -> None:
        """Begin no more jobs, take back those that nobody has taken up, and raise this when the others have ended."""
        self._dispatch.close()
        self._stopped_by = self._stopped_by or error
        self._crew.withdraw(self._crew.idle())

    def _refused(self, ending: Ending) -> None:
        """A device was not what was asked for: keep off its node, and after some of them stop, or do without."""
        watcher().note(ending.why)
        get_run_logger().warning("job %s was refused: %s", ending.order.job, ending.why)
        if ending.order.way != "planned":
            self._stop(DeviceError(ending.why))  # there is no other way beside this one
            return
        try:
            known = [one for one in refusals(self._storage, self._head.run_id) if not one.instead]
        except StorageUnavailable:
            return  # the next one shows them all
        self._refusals = len(known)
        excluded = excluded_nodes(known) if self._leaves_out else ()
        for node in excluded:
            if node not in self._excluded:
                watcher().note(f"node {node} has refused twice, and gets no more jobs of this run")
        self._excluded = excluded
        if self._crew.only_device or must_stop(known):
            self._no_device = True
            if self._other_way is None:
                self._stop(DeviceError(ending.why))

    def _tell_progress(self) -> None:
        self._progress.update(len(self._done), jobs_failed=len(self._dispatch.left), refusals=self._refusals)

    def _look_at_the_clock(self) -> None:
        """Where nothing has come from the workers for long, say so, and try nodes again that were left out."""
        planned = {order.job for order in self._dispatch.under_way.values() if order.way == "planned"}
        # Not by states: a flow run is running, too, while its pod waits for another node.
        working, waiting = self._taken_up or self._has_moved(), bool(planned)
        self._taken_up = False
        now = time.monotonic()
        self._left_out = self._left_out.at(now, working=working or not self._excluded, waiting=waiting)
        if self._left_out.is_over(now):
            watcher().note(f"nobody else takes up jobs: {', '.join(self._excluded)} may have them again")
            self._excluded, self._leaves_out = (), False
            self._crew.withdraw(planned & set(self._crew.idle()))
        self._patience = self._patience.at(now, working=working, waiting=waiting)
        if planned and self._patience.is_over(now):
            waited_s = now - (self._patience.since or now)
            self._patience = self._patience.after_telling()
            self._tell_of_waiting(waited_s, len(planned))

    def _has_moved(self) -> bool:
        """Whether any try has left something in storage since the last look; asked where others do the jobs."""
        if self._crew.reports_calls:
            return True
        try:
            seen = traces(self._storage, self._head.run_id)
        except StorageUnavailable:
            return True
        moved, self._traces = seen != self._traces, seen
        return moved

    def _tell_of_waiting(self, waited_s: float, submitted: int) -> None:
        message = (
            f"nothing has come from workers for {self._head.kind} {self._head.run_id} for {waited_s / 60:,.0f} min: "
            f"{submitted:,} submitted, {self._dispatch.waiting:,} to come"
        )
        watcher().note(message)
        get_run_logger().error(message)
        emit_event(WAITING_EVENT, resource={"prefect.resource.id": f"callscribe.run.{self._head.run_id}"})

    @property
    def _other_way(self) -> Way | None:
        """How jobs may be done without the device that was planned; None where that is not allowed, or nobody would."""
        way = self._settings.without_gpu
        return way if way != "wait" and self._crew.slots(way) else None

    def _do_without(self) -> None:
        """Let jobs be done in the other way that is allowed, while no device is to be had as planned."""
        way = self._other_way
        if way is None or not (self._no_device or self._patience.told):
            return
        room = None if self._no_device else self._dispatch.room(way, self._crew.slots(way))
        count = self._dispatch.redirect(way, room)
        if count:
            watcher().note(f"{count:,} job{'s are' if count > 1 else ' is'} done by {way} instead (run.without_gpu)")
        if room is None or room > count:
            planned = [order.job for order in self._dispatch.under_way.values() if order.way == "planned"]
            idle = set(self._crew.idle())
            back = [job for job in planned if job in idle]
            self._crew.withdraw(back if room is None else back[: room - count])


@dataclass
class _Ledger:
    """The worker seconds of a run: what is spent, and what is promised to tries that are under way."""

    storage: Storage
    run_id: str
    budget_s: float | None
    spent_s: float = 0.0
    _promised_s: dict[int, float] = field(default_factory=dict)
    _before_s: dict[int, float] = field(default_factory=dict)

    @classmethod
    def opened(cls, storage: Storage, run_id: str, budget_s: float | None) -> _Ledger:
        """The ledger of a run; nothing is asked for where it has no budget."""
        return cls(storage, run_id, budget_s, worker_seconds(storage, run_id) if budget_s is not None else 0.0)

    @property
    def left_s(self) -> float | None:
        """What is neither spent nor promised; None without a budget."""
        if self.budget_s is None:
            return None
        return self.budget_s - self.spent_s - sum(self._promised_s.values())

    def promise(self, order: Order) -> None:
        """A try begins that may take what it was allowed."""
        if self.budget_s is not None:
            self._promised_s[order.job] = order.budget_s or 0.0
            self._before_s[order.job] = worker_seconds(self.storage, self.run_id, order.job)

    def settle(self, order: Order) -> None:
        """It has ended, and took what it took."""
        if self.budget_s is not None and self._promised_s.pop(order.job, None) is not None:
            after_s = worker_seconds(self.storage, self.run_id, order.job)
            self.spent_s += after_s - self._before_s.pop(order.job)
