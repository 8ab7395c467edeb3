"""Whoever carries out the tries at a run's jobs: this process, processes beside it, or pods.

Which tries are made, and what their endings mean, is decided elsewhere (`tasks.dispatch`, `flows.foreman`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from flows.job import Overrides, kept_by, transcribe_job
from tasks.dispatch import Earlier, Ending, How, Order, Way
from tasks.errors import BudgetReached, DeviceError, RunIncomplete


class Crew(Protocol):
    """Whoever carries out tries.

    Attributes:
        only_device: whether a try that is refused would meet the same device again.
        reports_calls: whether the watcher is told of every call; else only of every job.
    """

    only_device: bool
    reports_calls: bool

    def slots(self, way: Way) -> int:
        """How many tries may be under way so at a time."""

    def resume(self) -> Earlier:
        """What an earlier process had begun, as far as this crew can tell."""

    def start(self, order: Order) -> None:
        """Begin a try."""

    def wait(self) -> list[Ending]:
        """Wait until a try has ended, or for a while; how those ended that have."""

    def idle(self) -> Collection[int]:
        """Jobs whose try is under way, and that nobody has taken up yet."""

    def withdraw(self, jobs: Collection[int]) -> None:
        """Take back tries that nobody has taken up; `wait` tells of those that could be, as `withdrawn`."""

    def leave(self) -> None:
        """This process stops before the run is over: stop what would not live on, leave what may."""


class ThisProcess:
    """Jobs in this process, one after another.

    Args:
        transcripts: URI of the data set.
        run_id: the run.
        overrides: settings that win over the environment.
        check: raises where the month is no longer this run's.
    """

    only_device = True
    reports_calls = True

    def __init__(self, transcripts: str, run_id: str, overrides: Overrides | None, check: Callable[[], None]) -> None:
        self._transcripts = transcripts
        self._run_id = run_id
        self._overrides = overrides
        self._check = check
        self._endings: list[Ending] = []

    def slots(self, way: Way) -> int:  # noqa: ARG002  # the same for each
        """One."""
        return 1

    def resume(self) -> Earlier:
        """Nothing lives on without its process."""
        return Earlier()

    def start(self, order: Order) -> None:
        """Do the job, all of it; what stops the run is raised."""
        how: How = "done"
        why = ""
        try:
            with kept_by(self._check):
                instead = None if order.way == "planned" else order.way
                transcribe_job(self._transcripts, self._run_id, order.job, self._overrides, order.budget_s, instead)
        except RunIncomplete as error:
            how, why = "given_up", error.message
        except BudgetReached as error:
            how, why = "out_of_budget", error.message
        except DeviceError as error:
            how, why = "refused", error.message
        self._endings.append(Ending(order, how, why))

    def wait(self) -> list[Ending]:
        """It has ended."""
        endings, self._endings = self._endings, []
        return endings

    def idle(self) -> Collection[int]:
        """None."""
        return ()

    def withdraw(self, jobs: Collection[int]) -> None:
        """None is left."""

    def leave(self) -> None:
        """Nothing goes on."""
