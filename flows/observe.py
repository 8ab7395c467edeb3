"""A run and a job as they are seen from outside: logs, metrics and artifacts, from begin to end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from flows.artifacts import RunProgress
from tasks.certificate_metrics import certificate_registry
from tasks.errors import CallscribeError, places_of
from tasks.gpu_metrics import watching_gpu
from tasks.logs import configure_logs, working_on
from tasks.metrics import call_done, working_job, working_run
from tasks.metrics_out import delete_jobs, giving_out, push_certificates
from tasks.models import Models
from tasks.pace import expected_rtfx
from tasks.records import CopiedAudio, Outcome
from tasks.runs import RunHead
from tasks.settings import Settings, whereabouts
from tasks.storage import Storage

_LOG = logging.getLogger(__name__)


class UnexpectedError(Exception):
    """Something that nobody foresaw; says what and where, and not what the library that raised it says of it.

    Libraries quote the value that they choke on, and Prefect keeps what flows raise.
    """


class SeenJob:
    """A job that is seen from outside.

    Args:
        stack: what is entered when it begins is left when it ends.
        job: its number.
    """

    def __init__(self, stack: ExitStack, job: int) -> None:
        self._stack = stack
        self._job = job

    def begins(self, head: RunHead, models: Models, began: float) -> None:
        """The models are loaded.

        Args:
            head: of its run.
            models: and the device that they are on.
            began: when this process began to work on it, on the monotonic clock.
        """
        device, node = models.device, whereabouts().node
        expected = expected_rtfx(models.bundle.name, device.name, head.device_rtfx) or head.quoted_rtfx or None
        self._stack.enter_context(working_job(head, self._job, device, node, began, expected))
        self._stack.enter_context(watching_gpu(device))
        about = {"bundle": models.bundle.name, "device": device.name, "compute_type": device.compute_type}
        _LOG.info("the job begins", extra=about)

    def done(self, outcome: Outcome | CopiedAudio) -> None:
        """A call is done."""
        call_done(outcome)
        with working_on(call_id=outcome.call.call_id):
            if isinstance(outcome, CopiedAudio):
                _LOG.info("call done", extra={"outcome": "copied"})
            else:
                code = outcome.failure.code if outcome.failure else None
                about = {"outcome": outcome.kind, "error_code": code, "audio_s": outcome.duration_s}
                _LOG.info("call done", extra=about)


@contextmanager
def observed_job(settings: Settings, run_id: str, job: int) -> Iterator[SeenJob]:
    """A job as it is seen from outside; what is raised inside tells nothing that was spoken.

    Args:
        settings: where logs and metrics go.
        run_id: of its run.
        job: its number.

    Raises:
        UnexpectedError: something was raised that nobody foresaw.
    """
    configure_logs(settings.logs)
    group = {"run": run_id, "run_job": f"{job:04d}"}
    with discreet(), working_on(run_id, job), giving_out(settings.metrics, group), ExitStack() as stack:
        yield SeenJob(stack, job)
        _LOG.info("the job ends")


@contextmanager
def observed_run(storage: Storage, settings: Settings, head: RunHead) -> Iterator[RunProgress]:
    """A run as it is seen from outside, from its plan to its certificate.

    Args:
        storage: of the data set.
        settings: where metrics go.
        head: the plan.

    Returns:
        what is to be told when jobs end.
    """
    try:
        with working_on(head.run_id), giving_out(settings.metrics, {"part": head.kind}), working_run(head):
            _LOG.info("the run begins", extra={"calls": head.calls, "jobs": head.jobs})
            yield RunProgress(head)
            _LOG.info("the run ends")
    finally:
        delete_jobs(settings.metrics, head.run_id)
        push_certificates(settings.metrics, certificate_registry(storage, settings.archive.timezone))


@contextmanager
def discreet() -> Iterator[None]:
    """In a flow run, let through what is raised on purpose, by Prefect, or by the system; of all else, type and place.

    Outside of one nobody keeps what is raised.

    Raises:
        UnexpectedError: there was something else.
    """
    try:
        yield
    except (CallscribeError, PrefectException, OSError, MemoryError, UnexpectedError):
        raise
    except Exception as error:  # whatever a library raises
        if FlowRunContext.get() is None:
            raise
        message = f"{type(error).__name__} {places_of(error)}"
        raise UnexpectedError(message) from None
