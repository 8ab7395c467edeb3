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

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CALLS = Counter(
    "callscribe_calls",
    "Calls that are done, by outcome (transcribed, no_speech, failed, copied) and, of failed ones, by code.",
    ["run", "outcome", "error_code"],
    registry=REGISTRY,
)
AUDIO = Counter(
    "callscribe_audio_seconds", "Audio that was transcribed or found silent, seconds.", ["run"], registry=REGISTRY
)
STAGES = Counter(
    "callscribe_stage_seconds",
    "Time that calls spent in each stage (load, vad, recognize, diarize), seconds; stages run side by side.",
    ["run", "stage"],
    registry=REGISTRY,
)
BATCHES = Counter("callscribe_batches", "Batches that the recogniser's models did.", ["run"], registry=REGISTRY)
HALVINGS = Counter(
    "callscribe_batch_halvings",
    "How often a batch was halved because the device ran out of memory.",
    ["run"],
    registry=REGISTRY,
)
JOB_INFO = Gauge(
    "callscribe_job_info",
    "What a process works on, and with what; always 1.",
    ["run", "run_job", "month", "kind", "bundle", "device", "compute_type", "node"],
    registry=REGISTRY,
)
JOB_ACTIVE = Gauge(
    "callscribe_job_active", "Whether a process works on a job: 1, and 0 when that has ended.", ["run"],
    registry=REGISTRY,
)  # fmt: skip
PROGRESS = Gauge(
    "callscribe_job_progress_timestamp_seconds",
    "When a job last began, or did a batch or a call, Unix time.",
    ["run"],
    registry=REGISTRY,
)
CHECKPOINT = Gauge(
    "callscribe_job_checkpoint_timestamp_seconds",
    "When what a job had finished was last safe in storage: in a checkpoint, committed, or nothing yet; Unix time.",
    ["run"],
    registry=REGISTRY,
)
EXPECTED_RTFX = Gauge(
    "callscribe_expected_rtfx",
    "Audio seconds that a worker is expected to do in a second, from earlier runs with the same models; else absent.",
    ["run"],
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
    """How long this process has worked on jobs of each run, models and start-up included: counts while it is asked."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._since: dict[str, float] = {}

    def begin(self, run: str, began: float) -> None:
        """A job began, at a moment of the monotonic clock."""
        self._since[run] = began

    def end(self, run: str) -> None:
        """It ended."""
        self._spent[run] = self._spent.get(run, 0.0) + time.monotonic() - self._since.pop(run)

    def clear(self) -> None:
        """Forget all runs."""
        self._spent.clear()
        self._since.clear()

    def collect(self) -> Iterable[Metric]:
        """The seconds so far."""
        family = CounterMetricFamily(
            "callscribe_worker_seconds",
            "Time that processes worked on jobs, models and start-up included, seconds.",
            labels=["run"],
        )
        spent = dict(self._spent)
        for run, since in list(self._since.items()):
            spent[run] = spent.get(run, 0.0) + time.monotonic() - since
        for run, seconds in spent.items():
            family.add_metric([run], seconds)
        yield family


WORKER_SECONDS = _WorkerSeconds()
REGISTRY.register(WORKER_SECONDS)
LABELLED: tuple[Counter | Gauge, ...] = (
    CALLS, AUDIO, STAGES, BATCHES, HALVINGS, JOB_INFO, JOB_ACTIVE, PROGRESS, CHECKPOINT, EXPECTED_RTFX,
    RUN_ACTIVE, RUN_JOBS, RUN_AUDIO, RUN_ETA, RUN_PROGRESS, RUN_REFUSALS,
)  # fmt: skip
# Jobs of a run that are done, and that were given up, as last shown.
_ended: dict[str, tuple[int, int]] = {}


@contextmanager
def working_job(
    head: RunHead, job: int, device: Device, node: str, began: float, expected_rtfx: float | None = None
) -> Iterator[None]:
    """Count what is done inside as work on a job.

    Args:
        head: of its run.
        job: its number, from 1.
        device: on which.
        node: the machine.
        began: when the process began to work on it, on the monotonic clock, models included.
        expected_rtfx: what the device is known to do, where that is known.
    """
    run = head.run_id
    JOB_INFO.clear()
    JOB_INFO.labels(run, f"{job:04d}", head.month, head.kind, head.bundle, device.name, device.compute_type, node).set(
        1
    )
    if expected_rtfx:
        EXPECTED_RTFX.labels(run).set(expected_rtfx)
    JOB_ACTIVE.labels(run).set(1)
    WORKER_SECONDS.begin(run, began)
    PROGRESS.labels(run).set_to_current_time()
    CHECKPOINT.labels(run).set_to_current_time()
    # They are there from the first moment, so that rates know when they began to rise.
    AUDIO.labels(run)
    BATCHES.labels(run)
    HALVINGS.labels(run)
    try:
        yield
    finally:
        WORKER_SECONDS.end(run)
        JOB_ACTIVE.labels(run).set(0)


def call_done(outcome: Outcome | CopiedAudio) -> None:
    """Count a call that is done."""
    run = work().run
    PROGRESS.labels(run).set_to_current_time()
    if isinstance(outcome, CopiedAudio):
        CALLS.labels(run, "copied", "").inc()
        return
    CALLS.labels(run, outcome.kind, outcome.failure.code if outcome.failure else "").inc()
    if outcome.failure is None:
        AUDIO.labels(run).inc(outcome.duration_s or 0.0)
    timings = outcome.timings
    spent = {
        "load": timings.load_s,
        "vad": timings.vad_s,
        "recognize": timings.recognize_s,
        "diarize": timings.diarize_s,
    }
    for stage, seconds in spent.items():
        STAGES.labels(run, stage).inc(seconds)


def batch_done() -> None:
    """Count a batch of the recogniser."""
    run = work().run
    BATCHES.labels(run).inc()
    PROGRESS.labels(run).set_to_current_time()


def batch_halved() -> None:
    """Count that a batch was halved."""
    HALVINGS.labels(work().run).inc()


def work_is_safe() -> None:
    """Note that what is finished is in storage."""
    CHECKPOINT.labels(work().run).set_to_current_time()


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


def forget_runs() -> None:
    """Begin anew: what was done for other runs in this process is not shown any more."""
    for metric in LABELLED:
        metric.clear()
    WORKER_SECONDS.clear()
    _ended.clear()
