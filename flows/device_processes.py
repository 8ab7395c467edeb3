"""A run's jobs in processes beside this one: one for each device of this machine, each with models of its own.

A process lives as long as the run, and does one job after another (`flows.device_worker`). One that dies costs its try
at a job: a fresh one takes its place, and the others go on. A device that cannot run the models, or on which process
after process dies while it starts, gets no more jobs; where that is so of all, the run stops. The lease over the month
is held by this process, which stops the others when it loses it.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from prefect import get_run_logger

from flows.device_worker import STOP_S
from flows.job import Overrides
from flows.progress import CallDone, watcher
from flows.worker_process import WorkerProcess
from tasks import errors
from tasks.device_list import parse_devices, share_of_cores
from tasks.dispatch import Earlier, Ending, How, Order, Way
from tasks.errors import DeviceError, DeviceFailed, UsageError
from tasks.host import usable_cores
from tasks.settings import Settings

PROGRAM = ("-m", "flows.device_worker")
# How long the foreman waits for news before it looks whether the month is still this run's, in seconds.
TICK_S = 0.5
# Processes that may end on a device, one after the other, before they have begun a job.
MOST_FALSE_STARTS = 3
# Before a process takes the place of one that ended badly, each time twice as long, from the second on, in seconds.
FIRST_REST_S = 1.0
MOST_REST_S = 60.0
# CPU threads that load calls ahead of the models, where there are cores enough.
LOADERS = 2
HOWS: dict[str, How] = {"RunIncomplete": "given_up", "BudgetReached": "out_of_budget", "DeviceError": "refused"}


@dataclass
class _Place:
    """A device, and the process that works on it.

    Attributes:
        name: `cpu` or `cuda:N`.
        overrides: the settings of its process.
        environment: variables of its process.
        worker: the process; None before the first, and after one has ended.
        order: what it is doing.
        begun: whether it has loaded the models for that.
        closed: whether the device gets no more jobs.
        false_starts: processes, one after the other, that ended before they had begun a job.
        bad_ends: tries, one after the other, that failed without having done a call.
        rests_until: when it is tried again, on the monotonic clock.
    """

    name: str
    overrides: Overrides
    environment: dict[str, str]
    worker: WorkerProcess | None = None
    order: Order | None = None
    begun: bool = False
    closed: bool = False
    false_starts: int = 0
    bad_ends: int = 0
    rests_until: float = field(default=0.0)

    @property
    def is_ready(self) -> bool:
        """Whether it does jobs, now."""
        return not self.closed and time.monotonic() >= self.rests_until

    def failed(self) -> None:
        """A try has; where that goes on, let some time pass."""
        self.bad_ends += 1
        pause_s = FIRST_REST_S * 2.0 ** (self.bad_ends - 2) if self.bad_ends > 1 else 0.0
        self.rests_until = time.monotonic() + min(pause_s, MOST_REST_S)


class DeviceProcesses:
    """Tries in a process for each device; a context manager, after which none is left.

    Args:
        transcripts: URI of the data set.
        run_id: the run.
        overrides: settings that win over the environment.
        settings: all of them, with `run.devices`.
    """

    reports_calls = True
    only_device = False  # as long as another one is left

    def __init__(self, transcripts: str, run_id: str, overrides: Overrides | None, settings: Settings) -> None:
        self._transcripts = transcripts
        self._run_id = run_id
        devices = parse_devices(settings.run.devices)
        threads = share_of_cores(usable_cores(), devices)
        environment = {"OMP_NUM_THREADS": str(threads)}  # torch's
        self._places = [
            _Place(device, overrides_on(device, overrides, settings, threads, place), environment)
            for place, device in enumerate(devices, start=1)
        ]
        self._leaving: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        """Nothing is started before there is a job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes."""
        self.leave()

    @property
    def pids(self) -> list[int | None]:
        """The process on each device; None where there is none now."""
        return [place.worker.pid if place.worker else None for place in self._places]

    def slots(self, way: Way) -> int:
        """One for each device that is not resting after a failure."""
        return sum(place.is_ready for place in self._places) if way == "planned" else 0

    def resume(self) -> Earlier:
        """Nothing lives on without this process."""
        return Earlier()

    def start(self, order: Order) -> None:
        """Have a process do the job, one that is there if possible."""
        free = [place for place in self._places if place.is_ready and place.order is None]
        place = min(free, key=lambda place: place.worker is None)
        if place.worker is None:
            place.worker = WorkerProcess(PROGRAM, place.environment)
        place.order, place.begun = order, False
        place.worker.order(
            {
                "transcripts": self._transcripts,
                "run_id": self._run_id,
                "job": order.job,
                "overrides": place.overrides,
                "budget_s": order.budget_s,
            }
        )

    def wait(self) -> list[Ending]:
        """Listen to all processes until one has ended its job, or for a moment."""
        self._leaving = [worker for worker in self._leaving if not worker.has_ended()]
        until = time.monotonic() + TICK_S
        endings: list[Ending] = []
        while not endings and (left_s := until - time.monotonic()) > 0:
            endings += self._heard_within(left_s)
        return endings

    def idle(self) -> Collection[int]:
        """None: an order is given to a process that waits for it."""
        return ()

    def withdraw(self, jobs: Collection[int]) -> None:
        """None is left."""

    def leave(self) -> None:
        """End all processes: those that are at work keep what they have finished."""
        workers = [*self._leaving, *(place.worker for place in self._places if place.worker)]
        try:
            for worker in workers:
                worker.dismiss()
            deadline = time.monotonic() + STOP_S
            for worker in workers:
                worker.end(deadline)
        except BaseException:  # Ctrl-C once more
            for worker in workers:
                worker.kill()
            raise
        finally:
            self._leaving = []
            for place in self._places:
                place.worker = place.order = None

    # -------------------------------------------------------------------------------------------- listening

    def _heard_within(self, seconds: float) -> Iterator[Ending]:
        """What ends while processes are listened to, once."""
        with selectors.DefaultSelector() as selector:
            for place in self._places:
                if place.worker is not None:
                    selector.register(place.worker, selectors.EVENT_READ, place)
            if not selector.get_map():
                time.sleep(seconds)
                return
            for key, _ in selector.select(seconds):
                yield from self._listen(key.data)

    def _listen(self, place: _Place) -> Iterator[Ending]:
        assert place.worker is not None  # noqa: S101  # it has said something
        said = place.worker.said()
        if said is None:
            how = place.worker.end(time.monotonic() + STOP_S)
            place.worker = None
            if place.order is not None:
                yield self._fell(place, place.order, f"the process on {place.name} {how}")
        for message in said or ():
            match message["say"]:
                case "stage":
                    watcher().stage(message["text"])
                case "note":
                    watcher().note(message["text"])
                case "begun":
                    place.begun, place.false_starts = True, 0
                case "call":
                    place.bad_ends = 0
                    watcher().done(CallDone(**message["call"]))
                case "ended" if place.order is not None:
                    yield self._ended(place, place.order, message)

    def _ended(self, place: _Place, order: Order, message: dict[str, Any]) -> Ending:
        """How a try ended of which its process tells."""
        name: str | None = message.get("error")
        if name is None:
            place.order, place.bad_ends = None, 0
            get_run_logger().info("job %s of %s on %s: %s", order.job, self._run_id, place.name, message["counts"])
            return Ending(order, "done")
        text: str = message["message"]
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, UsageError):
            place.order = None
            if kind is DeviceFailed:
                # A new process shows whether the device is there still; a call may be why it is not for this one.
                self._retire(place)
                return self._fell(place, order, f"{place.name}: {text}")
            if kind is DeviceError:
                self._close(place)
                text = f"{place.name}: {text}"
            how = HOWS.get(name, "stopped")
            return Ending(order, how, text, kind(text) if how == "stopped" else None)
        # Nobody knows what state it has left things in.
        self._retire(place)
        return self._fell(place, order, f"the process on {place.name} raised {name}: {text}")

    def _fell(self, place: _Place, order: Order, why: str) -> Ending:
        """How a try ended whose process did, or must."""
        place.order = None
        place.failed()
        if place.begun:
            watcher().note(f"{why}, while it did job {order.job}; another one goes on with it")
            return Ending(order, "failed", why)
        place.false_starts += 1
        if place.false_starts < MOST_FALSE_STARTS:
            watcher().note(f"{why} before it had begun a job; another one is started")
            return Ending(order, "withdrawn", why)
        self._close(place)
        started = f"{place.false_starts} processes on {place.name} of {socket.gethostname()}"
        return Ending(order, "refused", f"{started} ended before they had begun a job; at last {why}")

    def _close(self, place: _Place) -> None:
        """Let a device do no more jobs."""
        place.closed = True
        self._retire(place)
        self.only_device = all(place.closed for place in self._places)

    def _retire(self, place: _Place) -> None:
        """Have its process end, without waiting for that."""
        if place.worker is not None:
            place.worker.dismiss()
            self._leaving.append(place.worker)
            place.worker = None


def overrides_on(
    device: str, overrides: Overrides | None, settings: Settings, threads: int, place: int = 1
) -> Overrides:
    """The settings of the process on a device: those of the run, and what makes it one of several.

    Args:
        device: its device.
        overrides: those of the run.
        settings: all that the run has; numbers of threads that they name stand, for each process.
        threads: its share of the cores.
        place: of the device in the list, from 1: its metrics are served so many ports above those of the run.
    """
    recognizer: dict[str, Any] = {"cpu_threads": settings.recognizer.cpu_threads or threads}
    run: dict[str, Any] = {}
    if device == "cpu":
        recognizer["feature_threads"] = min(settings.recognizer.feature_threads, threads)
        run["loader_threads"] = settings.run.loader_threads or min(LOADERS, threads)
    own: Overrides = {"models": {"device": device}, "recognizer": recognizer, "run": run}
    if settings.metrics.port is not None:
        own["metrics"] = {"port": settings.metrics.port + place}
    given = overrides or {}
    return {group: {**given.get(group, {}), **own.get(group, {})} for group in {**given, **own}}
