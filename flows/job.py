"""One job of a run, in one process: locally, or in a GPU pod."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from prefect import flow, get_run_logger

from flows.progress import CallDone, watcher
from tasks.dataset import DataSet
from tasks.models import Models, load_models
from tasks.records import CopiedAudio, Outcome
from tasks.run_job import run_job
from tasks.runs import read_head
from tasks.settings import Settings, load_settings
from tasks.storage import Storage, open_storage

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
    transcripts: str, run_id: str, job: int, overrides: Overrides | None = None, budget_s: float | None = None
) -> dict[str, int]:
    """Transcribe the calls of one job and commit them to the data set; a job that was begun before goes on.

    Args:
        transcripts: URI of the data set that holds the run's plan.
        run_id: the run.
        job: number of the job, from 1.
        overrides: settings by group and name that win over the environment and the settings file.
        budget_s: worker seconds that are left for it; no call is taken that would exceed them.

    Returns:
        how many calls had which outcome.
    """
    return do_job(transcripts, run_id, job, overrides, budget_s, log=get_run_logger())


def do_job(
    transcripts: str,
    run_id: str,
    job: int,
    overrides: Overrides | None,
    budget_s: float | None,
    *,
    log: logging.Logger | logging.LoggerAdapter[Any],
    begun: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """What the flow `transcribe-job` does, also in a process that is no flow run; arguments and result are the same.

    Args:
        transcripts: URI of the data set.
        run_id: the run.
        job: its number.
        overrides: settings.
        budget_s: worker seconds.
        log: told what came of it.
        begun: called when the models are loaded and the job itself begins.
    """
    began = time.monotonic()
    settings = load_settings(overrides=overrides)
    storage = open_transcripts(transcripts, settings)
    head = read_head(storage, run_id)
    models = loaded_models(settings)
    check = _CHECK.get()

    def done(outcome: Outcome | CopiedAudio) -> None:
        watcher().done(CallDone.of(outcome))
        check()

    begun()
    counts = run_job(DataSet(storage), head, job, models, settings, done, began=began, budget_s=budget_s)
    log.info("job %s of %s: %s", job, run_id, counts)
    return counts


def open_transcripts(uri: str, settings: Settings) -> Storage:
    """The store of a data set."""
    return open_storage(uri, settings.storage.options())


_load_once = lru_cache(maxsize=1)(load_models)


def loaded_models(settings: Settings) -> Models:
    """The models that settings ask for, loaded once per process."""
    watcher().stage(f"loading bundle {settings.models.bundle} on {settings.models.device}")
    return _load_once(settings.models, settings.recognizer, settings.diarization)
