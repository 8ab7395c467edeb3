"""Which jobs of a run are begun next, and what it means that a try at one has ended: decisions, and nothing else.

A try (`Order`) is one process or pod that works on one job. What it did is in storage, whatever becomes of it
(`tasks.job_record`); so a try that ended early is followed by another one, which goes on from there. Whoever carries
orders out is a crew (`flows.crew`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Way = Literal["planned", "cpu", "fallback"]
"""How a job is done: as planned, or in one of the ways that `run.without_gpu` may allow."""
How = Literal["done", "failed", "given_up", "refused", "out_of_budget", "cancelled", "withdrawn", "stopped"]
"""How a try ended.

- `done`: the job is done, by its record in storage.
- `failed`: the process or pod died, or ended without having done the job; another try follows.
- `given_up`: the job has had all its attempts, or its plan cannot be read.
- `refused`: the device was not what was asked for, and nothing was begun; another try follows, and none is counted.
- `out_of_budget`: what it was allowed of the budget did not last; what it finished stands.
- `cancelled`: somebody cancelled it; it is left for the next start of the run.
- `withdrawn`: it was taken back before it had begun; nothing is counted.
- `stopped`: something is wrong that stops every job, as a setting; `error` says what.
"""


@dataclass(frozen=True, slots=True)
class Order:
    """One try at a job.

    Attributes:
        job: its number in the plan, from 1.
        number: of the try, from 1; no two of a job have the same, also after a restart.
        way: how it is done.
        budget_s: worker seconds that are left for it; None: no budget.
        excluded_nodes: nodes that have refused, and that it must not go to.
    """

    job: int
    number: int = 1
    way: Way = "planned"
    budget_s: float | None = None
    excluded_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a try ended, and why, as a sentence; `error` is what stops the run."""

    order: Order
    how: How
    why: str = ""
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of the tries that were begun before this process took over the run.

    Attributes:
        under_way: tries that have not ended.
        tries: the highest number of a try of each job.
        failures: how many tries of each job have failed.
    """

    under_way: Sequence[Order] = ()
    tries: Mapping[int, int] = field(default_factory=dict)
    failures: Mapping[int, int] = field(default_factory=dict)


class Dispatch:
    """The jobs of a run: which wait, which are being tried, and which are over.

    Args:
        jobs: that are not done yet, in order.
        most_failures: tries of a job that may fail before it is left for the next run.
        earlier: what was begun before.

    Attributes:
        under_way: the try at each job that has one.
        left: jobs that no further try is made at, and why.
    """

    def __init__(self, jobs: Iterable[int], most_failures: int, earlier: Earlier | None = None) -> None:
        earlier = earlier or Earlier()
        jobs = list(jobs)
        self.under_way: dict[int, Order] = {order.job: order for order in earlier.under_way if order.job in set(jobs)}
        self._tries = Counter(earlier.tries)
        self._failures = Counter(earlier.failures)
        self._most_failures = most_failures
        self._waiting: deque[tuple[int, Way]] = deque((job, "planned") for job in jobs if job not in self.under_way)
        self._closed = False
        self._paused = False
        self._over = 0
        self._over_before = dict.fromkeys(self.under_way, 0)
        self.left: dict[int, str] = {}
        for job in [job for job, _ in self._waiting if self._failures[job] >= most_failures]:
            self._leave(job, f"has failed {self._failures[job]} times")

    @property
    def over(self) -> bool:
        """Whether nothing is being tried and nothing will be."""
        return not self.under_way and (self._closed or not self._waiting)

    @property
    def waiting(self) -> int:
        """How many jobs wait for a try."""
        return len(self._waiting)

    @property
    def out_of_budget(self) -> bool:
        """Whether the budget did not last for a job, and no other is under way that would give any of it back."""
        return self._paused and not self.under_way

    def close(self) -> None:
        """Begin no further try; those under way come to their end."""
        self._closed = True

    def next(
        self, way: Way, slots: int, budget_s: float | None = None, excluded_nodes: Sequence[str] = ()
    ) -> list[Order]:
        """The tries to begin now.

        Args:
            way: only at jobs that are to be done so.
            slots: how many may be under way so.
            budget_s: worker seconds that are left of the run's budget and promised to nobody; None: no budget.
            excluded_nodes: nodes that have refused.
        """
        if self._closed or self._paused:
            return []
        free = slots - sum(order.way == way for order in self.under_way.values())
        jobs = [job for job, asked in self._waiting if asked == way][: max(0, free)]
        if budget_s is not None and jobs and budget_s <= 0:
            self._paused = True
            return []
        # What is left is promised in equal parts to all that could be begun: what one does not need comes back.
        share = None if budget_s is None else budget_s / max(1, free)
        return [self._begin(job, way, share, tuple(excluded_nodes)) for job in jobs]

    def ended(self, ending: Ending) -> bool:
        """Take note of how a try ended, and decide what becomes of its job; False where that was told before."""
        order = ending.order
        if self.under_way.get(order.job) != order:
            return False
        del self.under_way[order.job]
        again = (order.job, order.way)
        match ending.how:
            case "done":
                self._give_back()
            case "failed":
                self._failures[order.job] += 1
                if self._failures[order.job] >= self._most_failures:
                    self._leave(order.job, f"has failed {self._failures[order.job]} times, at last: {ending.why}")
                else:
                    self._waiting.append(again)
            case "refused" | "withdrawn":
                self._waiting.appendleft(again)
            case "out_of_budget":
                self._waiting.appendleft(again)
                # Where a job has come to its end meanwhile, what that did not need is worth another try.
                self._paused = self._paused or self._over == self._over_before[order.job]
            case "given_up" | "cancelled":
                self._leave(order.job, ending.why)
            case "stopped":
                self._waiting.append(again)
                self.close()
        return True

    def room(self, way: Way, slots: int) -> int:
        """How many more jobs there are slots for, beside those that are done so or wait to be."""
        taken = sum(order.way == way for order in self.under_way.values()) + sum(
            asked == way for _, asked in self._waiting
        )
        return max(0, slots - taken)

    def redirect(self, way: Way, most: int | None = None) -> int:
        """Let jobs that wait to be done as planned be done in another way.

        Args:
            way: the other one.
            most: how many; None: all.

        Returns:
            how many those are.
        """
        planned = [index for index, (_, asked) in enumerate(self._waiting) if asked == "planned"][:most]
        for index in planned:
            self._waiting[index] = (self._waiting[index][0], way)
        return len(planned)

    def _begin(self, job: int, way: Way, budget_s: float | None, excluded_nodes: tuple[str, ...]) -> Order:
        self._waiting.remove((job, way))
        self._tries[job] += 1
        order = Order(job, self._tries[job], way, budget_s, excluded_nodes)
        self.under_way[job] = order
        self._over_before[job] = self._over
        return order

    def _leave(self, job: int, why: str) -> None:
        self._waiting = deque(item for item in self._waiting if item[0] != job)
        self.left[job] = why
        self._give_back()

    def _give_back(self) -> None:
        """A job is over: what it did not need of the budget is there for others."""
        self._over += 1
        self._paused = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a run has waited for a device that nobody gives it.

    Attributes:
        most_s: how long it waits before something is done about it; None: for ever.
        since: when it began to wait, in seconds of some clock; None while it does not.
        told: how often something was done about it in this wait.
    """

    most_s: float | None
    since: float | None = None
    told: int = 0

    def at(self, now: float, *, working: bool, waiting: bool) -> Patience:
        """The patience a look later.

        Args:
            now: seconds of the same clock.
            working: whether any try is being worked on.
            waiting: whether tries wait for somebody to take them.
        """
        if working:
            return replace(self, since=None, told=0)
        return replace(self, since=now) if self.since is None and waiting else self

    def is_over(self, now: float) -> bool:
        """Whether it is time to do something about it: once in every `most_s`."""
        return self.since is not None and self.most_s is not None and now - self.since >= self.most_s * (self.told + 1)

    def after_telling(self) -> Patience:
        """The same, after something was done about it."""
        return replace(self, told=self.told + 1)
