"""One job of a run, in one process: locally, or in a GPU pod."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from prefect import State, flow, get_run_logger
from prefect.context import FlowRunContext
from prefect.states import Failed

from flows.observe import observed_job
from flows.progress import CallDone, watcher
from tasks.dataset import DataSet
from tasks.device_report import device_report
from tasks.errors import DeviceError, DeviceFailed, UsageError
from tasks.heartbeat import HEART
from tasks.instead import Instead, settings_instead
from tasks.models import Models, load_models
from tasks.pace import note_slow
from tasks.records import CopiedAudio, Outcome
from tasks.refusals import note_refusal
from tasks.run_job import run_job
from tasks.runs import read_head
from tasks.same_settings import require_leave
from tasks.settings import Settings, Whereabouts, load_settings, whereabouts
from tasks.storage import Storage, open_storage

# The name of the state in which a flow run ends whose device cannot do the job.
WRONG_DEVICE = "WrongDevice"
Overrides = dict[str, dict[str, Any]]
_CHECK: ContextVar[Callable[[], None]] = ContextVar("callscribe_check", default=lambda: None)


@contextmanager
def kept_by(check: Callable[[], None]) -> Iterator[None]:
    """While the block runs, jobs in this process ask after every call whether the month is still theirs.

    Args:
        check: raises where it is not; the job then commits what it has finished, and stops.
    """
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


@flow(
    name="transcribe-job",
    flow_run_name="{run_id}-job-{job:04d}",
    description="Transcribe the calls of one job of a run and commit them, shard by shard.",
    validate_parameters=True,
    log_prints=False,
)
def transcribe_job(
    transcripts: str,
    run_id: str,
    job: int,
    overrides: Overrides | None = None,
    budget_s: float | None = None,
    instead: Instead | None = None,
) -> dict[str, int] | State[Any]:
    """Transcribe the calls of one job and commit them to the data set; a job that was begun before goes on.

    Args:
        transcripts: URI of the data set that holds the run's plan.
        run_id: the run.
        job: number of the job, from 1.
        overrides: settings by group and name that win over the environment and the settings file.
        budget_s: worker seconds that are left for it; no call is taken that would exceed them.
        instead: run it on the `cpu`, or there with the `fallback` recogniser, instead of as it was planned; only where
            the plan of the run allows it (`run.without_gpu`).

    Returns:
        how many calls had which outcome. Where something around the calls is wrong, the flow run ends as `Failed`, in
        a state that has the name of the error, as `BudgetReached`; of a wrong device, `WrongDevice`: then
        nobody has tried the job, and no call is failed.

    Raises:
        UsageError: that, to whoever calls the flow in the same process.
    """
    try:
        return do_job(JobToDo(transcripts, run_id, job, overrides, budget_s, instead), get_run_logger())
    except UsageError as error:
        return stopped(error)


def stopped(error: UsageError) -> State[Any]:
    """The state in which a flow run ends that an error has stopped: its name and its sentence.

    Of a state that a flow returns, Prefect keeps name and message, and raises its data where the flow was called.

    Raises:
        UsageError: the error itself, where the flow was called as a plain function.
    """
    if FlowRunContext.get() is None:
        raise error
    return Failed(name=state_name(error), message=error.message, data=error)


def state_name(error: UsageError) -> str:
    """The name of the state in which a flow run ends that an error has stopped."""
    return WRONG_DEVICE if type(error) is DeviceError else type(error).__name__


@dataclass(frozen=True, slots=True)
class JobToDo:
    """A job, and how it is to be done; as the parameters of `transcribe_job`."""

    transcripts: str
    run_id: str
    job: int
    overrides: Overrides | None = None
    budget_s: float | None = None
    instead: Instead | None = None


def do_job(
    todo: JobToDo, log: logging.Logger | logging.LoggerAdapter[Any], begun: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """What the flow `transcribe-job` does, also in a process that is no flow run (`flows.device_worker`).

    Args:
        todo: the job.
        log: told what came of it.
        begun: called when the models are loaded and the job itself begins.

    Returns:
        how many calls had which outcome.

    Raises:
        UsageError: something around the calls is wrong. Of a device, that is written down for the run.
    """
    began = time.monotonic()
    settings = settings_instead(load_settings(overrides=todo.overrides), todo.instead)
    with observed_job(settings, todo.run_id, todo.job) as seen:
        HEART.shown_in(settings.run.heartbeat_file)
        storage = open_transcripts(todo.transcripts, settings)
        head = read_head(storage, todo.run_id)
        require_leave(head, todo.instead)
        where, check = whereabouts(), _CHECK.get()

        def done(outcome: Outcome | CopiedAudio) -> None:
            seen.done(outcome)
            watcher().done(CallDone.of(outcome))
            check()

        at_work = False
        try:
            models = loaded_models(settings)
            HEART.beat()
            seen.begins(head, models, began)

            def slow(rtfx: float, expected_rtfx: float) -> None:
                noted = note_slow(storage, head.run_id, todo.job, where.node, models.device.name, rtfx, expected_rtfx)
                log.warning(noted.sentence)
                watcher().note(noted.sentence)

            at_work = True
            begun()
            counts = run_job(
                DataSet(storage), head, todo.job, models, settings, done,
                began=began, budget_s=todo.budget_s, slow=slow, instead=todo.instead,
            )  # fmt: skip
        except DeviceError as error:
            report = _seen(error, where, settings.models.device)
            device = settings.models.device
            note_refusal(
                storage, head.run_id, todo.job, where.node, device, report, at_work=at_work, instead=todo.instead
            )
            raise (DeviceFailed if at_work else DeviceError)(report) from error
        log.info("job %s of %s: %s", todo.job, head.run_id, counts)
        return counts


def _seen(error: DeviceError, where: Whereabouts, device: str) -> str:
    """What is wrong with the device, and what there is to see on the machine."""
    place = f"{where.node}, pod {where.pod}" if where.pod else where.node
    report = f"; {device_report(where)}" if device.startswith("cuda") else ""
    return f"{error.message} (on {place}){report}"


def open_transcripts(uri: str, settings: Settings) -> Storage:
    """The store of a data set."""
    return open_storage(uri, settings.storage.options())


_load_once = lru_cache(maxsize=1)(load_models)


def loaded_models(settings: Settings) -> Models:
    """The models that settings ask for, loaded once per process."""
    watcher().stage(f"loading bundle {settings.models.bundle} on {settings.models.device}")
    return _load_once(settings.models, settings.recognizer, settings.diarization, settings.fallback)
