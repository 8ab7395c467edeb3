"""The Prometheus metrics of a job and of a run: what they are called, and what is counted when.

They are counted whether anybody asks for them or not; `tasks.metrics_out` gives them out. Counters add up over
processes: the speed of ten workers is the rate of their audio seconds over the rate of their worker seconds. Labels
have few values: the run, outcomes, codes, stages, devices; never a call. Which job a process works on is said once, in
`callscribe_job_info`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from tasks.logs import work
from tasks.records import CopiedAudio, Outcome

if TYPE_CHECKING:
    from tasks.devices import Device
    from tasks.runs import RunHead

OF_JOB = ("run", "run_job")  # `job` is Prometheus's own
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CALLS = Counter(
    "callscribe_calls",
    "Calls that are done, by outcome (transcribed, no_speech, failed, copied) and, of failed ones, by code.",
    [*OF_JOB, "outcome", "error_code"],
    registry=REGISTRY,
)
AUDIO = Counter(
    "callscribe_audio_seconds", "Audio that was transcribed or found silent, seconds.", OF_JOB, registry=REGISTRY
)
STAGES = Counter(
    "callscribe_stage_seconds",
    "Time that calls spent in each stage (load, vad, recognize, diarize), seconds; stages run side by side.",
    [*OF_JOB, "stage"],
    registry=REGISTRY,
)
BATCHES = Counter("callscribe_batches", "Batches that the recogniser's models did.", OF_JOB, registry=REGISTRY)
HALVINGS = Counter(
    "callscribe_batch_halvings",
    "How often a batch was halved because the device ran out of memory.",
    OF_JOB,
    registry=REGISTRY,
)
JOB_INFO = Gauge(
    "callscribe_job_info",
    "What a process works on, and with what; always 1.",
    [*OF_JOB, "month", "kind", "bundle", "device", "compute_type", "node"],
    registry=REGISTRY,
)
JOB_ACTIVE = Gauge(
    "callscribe_job_active", "Whether a process works on a job: 1, and 0 when that has ended.", OF_JOB,
    registry=REGISTRY,
)  # fmt: skip
PROGRESS = Gauge(
    "callscribe_job_progress_timestamp_seconds",
    "When a job last began, or did a batch or a call, Unix time.",
    OF_JOB,
    registry=REGISTRY,
)
CHECKPOINT = Gauge(
    "callscribe_job_checkpoint_timestamp_seconds",
    "When what a job had finished was last safe in storage: in a checkpoint, committed, or nothing yet; Unix time.",
    OF_JOB,
    registry=REGISTRY,
)
EXPECTED_RTFX = Gauge(
    "callscribe_expected_rtfx",
    "Audio seconds that a worker is expected to do in a second, from earlier runs with the same models; else absent.",
    OF_JOB,
    registry=REGISTRY,
)
RUN_ACTIVE = Gauge(
    "callscribe_run_active",
    "Whether a process sees to a run: 1, and 0 when that has ended.",
    ["run", "month", "kind"],
    registry=REGISTRY,
)
RUN_JOBS = Gauge(
    "callscribe_run_jobs", "Jobs of a run by state: planned (all), done, failed.", ["run", "state"], registry=REGISTRY
)
RUN_AUDIO = Gauge(
    "callscribe_run_audio_seconds",
    "Audio of a run by state: planned (all, by the size of its objects), done; seconds.",
    ["run", "state"],
    registry=REGISTRY,
)
RUN_ETA = Gauge(
    "callscribe_run_eta_seconds", "How long a run will still take by its speed so far, seconds.", ["run"],
    registry=REGISTRY,
)  # fmt: skip
RUN_PROGRESS = Gauge(
    "callscribe_run_progress_timestamp_seconds",
    "When a run was planned or one more of its jobs ended, Unix time.",
    ["run"],
    registry=REGISTRY,
)
RUN_REFUSALS = Gauge(
    "callscribe_run_device_refusals",
    "How often a job of a run refused to begin because the device that it got cannot run the models.",
    ["run"],
    registry=REGISTRY,
)


class _WorkerSeconds(Collector):
    """How long this process has worked on its job, models and start-up included: counts while it is asked."""

    def __init__(self) -> None:
        self._job: tuple[str, str] | None = None
        self._began = 0.0
        self._spent_s: float | None = None

    def begin(self, job: tuple[str, str], began: float) -> None:
        """A job began, at a moment of the monotonic clock."""
        self._job, self._began, self._spent_s = job, began, None

    def end(self) -> None:
        """It ended."""
        self._spent_s = time.monotonic() - self._began

    def forget(self) -> None:
        """There is no job any more."""
        self._job = None

    def describe(self) -> tuple[CounterMetricFamily]:
        """The family, empty."""
        return (
            CounterMetricFamily(
                "callscribe_worker_seconds",
                "Time that a process worked on a job, models and start-up included, seconds.",
                labels=OF_JOB,
            ),
        )

    def collect(self) -> Iterable[Metric]:
        """The seconds so far."""
        (family,) = self.describe()
        if self._job is not None:
            spent_s = self._spent_s if self._spent_s is not None else time.monotonic() - self._began
            family.add_metric(self._job, spent_s)
        yield family


WORKER_SECONDS = _WorkerSeconds()
REGISTRY.register(WORKER_SECONDS)
JOB_METRICS: tuple[Counter | Gauge, ...] = (
    CALLS, AUDIO, STAGES, BATCHES, HALVINGS, JOB_INFO, JOB_ACTIVE, PROGRESS, CHECKPOINT, EXPECTED_RTFX,
)  # fmt: skip
RUN_METRICS = (RUN_ACTIVE, RUN_JOBS, RUN_AUDIO, RUN_ETA, RUN_PROGRESS, RUN_REFUSALS)
# Jobs of a run that are done, and that were given up, as last shown.
_ended: dict[str, tuple[int, int]] = {}


@contextmanager
def working_job(
    head: RunHead, job: int, device: Device, node: str, began: float, expected_rtfx: float | None = None
) -> Iterator[None]:
    """Count what is done inside as work on a job; what was counted of another one is not shown any more.

    Args:
        head: of its run.
        job: its number, from 1.
        device: on which.
        node: the machine.
        began: when the process began to work on it, on the monotonic clock, models included.
        expected_rtfx: what the device is known to do, where that is known.
    """
    forget_job()
    labels = (head.run_id, f"{job:04d}")
    JOB_INFO.labels(*labels, head.month, head.kind, head.bundle, device.name, device.compute_type, node).set(1)
    if expected_rtfx:
        EXPECTED_RTFX.labels(*labels).set(expected_rtfx)
    JOB_ACTIVE.labels(*labels).set(1)
    WORKER_SECONDS.begin(labels, began)
    PROGRESS.labels(*labels).set_to_current_time()
    CHECKPOINT.labels(*labels).set_to_current_time()
    # They are there from the first moment, so that rates know when they began to rise.
    for counter in (AUDIO, BATCHES, HALVINGS):
        counter.labels(*labels)
    try:
        yield
    finally:
        WORKER_SECONDS.end()
        JOB_ACTIVE.labels(*labels).set(0)


def call_done(outcome: Outcome | CopiedAudio) -> None:
    """Count a call that is done."""
    job = _job()
    PROGRESS.labels(*job).set_to_current_time()
    if isinstance(outcome, CopiedAudio):
        CALLS.labels(*job, "copied", "").inc()
        return
    CALLS.labels(*job, outcome.kind, outcome.failure.code if outcome.failure else "").inc()
    if outcome.failure is None:
        AUDIO.labels(*job).inc(outcome.duration_s or 0.0)
    timings = outcome.timings
    spent = {
        "load": timings.load_s,
        "vad": timings.vad_s,
        "recognize": timings.recognize_s,
        "diarize": timings.diarize_s,
    }
    for stage, seconds in spent.items():
        STAGES.labels(*job, stage).inc(seconds)


def batch_done() -> None:
    """Count a batch of the recogniser."""
    job = _job()
    BATCHES.labels(*job).inc()
    PROGRESS.labels(*job).set_to_current_time()


def batch_halved() -> None:
    """Count that a batch was halved."""
    HALVINGS.labels(*_job()).inc()


def work_is_safe() -> None:
    """Note that what is finished is in storage."""
    CHECKPOINT.labels(*_job()).set_to_current_time()


def _job() -> tuple[str, str]:
    """The labels of the job that is being worked on here."""
    here = work()
    return here.run, here.job


@contextmanager
def working_run(head: RunHead) -> Iterator[None]:
    """Show a run, from its plan to its certificate."""
    active = RUN_ACTIVE.labels(head.run_id, head.month, head.kind)
    active.set(1)
    RUN_JOBS.labels(head.run_id, "planned").set(head.jobs)
    RUN_AUDIO.labels(head.run_id, "planned").set(head.estimated_hours * 3600)
    run_goes_on(head.run_id, jobs_done=0, audio_s=0.0)
    try:
        yield
    finally:
        active.set(0)


def run_goes_on(
    run_id: str,
    jobs_done: int,
    audio_s: float,
    eta_s: float | None = None,
    jobs_failed: int = 0,
    refusals: int = 0,
) -> None:
    """Show how far a run is.

    Args:
        run_id: the run.
        jobs_done: its jobs that are done.
        audio_s: seconds of audio that they held.
        eta_s: how long it will still take, where that is known.
        jobs_failed: its jobs that were given up.
        refusals: jobs that refused to begin on the device that they got.
    """
    if _ended.get(run_id) != (jobs_done, jobs_failed):
        _ended[run_id] = (jobs_done, jobs_failed)
        RUN_PROGRESS.labels(run_id).set_to_current_time()
    RUN_JOBS.labels(run_id, "done").set(jobs_done)
    RUN_JOBS.labels(run_id, "failed").set(jobs_failed)
    RUN_AUDIO.labels(run_id, "done").set(audio_s)
    RUN_REFUSALS.labels(run_id).set(refusals)
    if eta_s is not None:
        RUN_ETA.labels(run_id).set(eta_s)


def forget_job() -> None:
    """Show nothing any more of the job that this process worked on."""
    for metric in JOB_METRICS:
        metric.clear()
    WORKER_SECONDS.forget()


def forget_all() -> None:
    """Begin anew: what was done for other runs in this process is not shown any more."""
    forget_job()
    for metric in RUN_METRICS:
        metric.clear()
    _ended.clear()
