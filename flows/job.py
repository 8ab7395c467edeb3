"""One job of a run, in one process: locally, or in a GPU pod."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.progress import watcher
from tasks.dataset import Change, DataSet
from tasks.errors import ObjectRefused, SettingsError, StorageRefused, UsageError
from tasks.fingerprint import fingerprint
from tasks.models import Models, load_models
from tasks.pipeline import process
from tasks.records import CallHints, CallRef, CopiedAudio, Outcome, PlannedCall, Provenance
from tasks.rows import rows_of
from tasks.runs import RunHead, read_head, read_job
from tasks.settings import Settings, load_settings
from tasks.storage import Storage, open_storage

Overrides = dict[str, dict[str, Any]]


@flow(
    name="transcribe-job",
    flow_run_name="{run_id}-job-{job:04d}",
    description="Transcribe the calls of one job of a run and commit them, shard by shard.",
    validate_parameters=True,
    log_prints=False,
)
def transcribe_job(transcripts: str, run_id: str, job: int, overrides: Overrides | None = None) -> dict[str, int]:
    """Transcribe the calls of one job and commit them to the data set.

    Args:
        transcripts: URI of the data set that holds the run's plan.
        run_id: the run.
        job: number of the job, from 1.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        how many calls had which outcome.
    """
    settings = load_settings(overrides=overrides)
    storage = open_transcripts(transcripts, settings)
    head = read_head(storage, run_id)
    work = read_job(storage, run_id, job)
    models = loaded_models(settings)
    _require_same_settings(head, models, settings)
    counts: Counter[str] = Counter()
    data = DataSet(storage)
    for shard, changes in _batches(_outcomes(head, work, job, models, settings), settings.run.commit_every_s):
        data.commit(head.month, shard, head.shards, changes)
        counts.update(_kind(change) for change in changes)
    get_run_logger().info("job %s of %s: %s", job, run_id, dict(counts))
    return dict(counts)


def open_transcripts(uri: str, settings: Settings) -> Storage:
    """The store of a data set."""
    return open_storage(uri, settings.storage.options())


_load_once = lru_cache(maxsize=1)(load_models)


def loaded_models(settings: Settings) -> Models:
    """The models that settings ask for, loaded once per process."""
    watcher().stage(f"loading bundle {settings.models.bundle} on {settings.models.device}")
    return _load_once(settings.models, settings.recognizer, settings.diarization)


def _outcomes(
    head: RunHead, work: Iterable[PlannedCall], job: int, models: Models, settings: Settings
) -> Iterator[tuple[int, Change]]:
    """What becomes of each call, with its shard, in the order of the plan: shard by shard."""
    archive = open_storage(head.archive, settings.storage.options())
    by_id = {planned.call.call_id: planned for planned in work}
    for outcome in process(by_id.values(), partial(_fetch, archive, settings), models, settings):
        watcher().done(outcome)
        planned = by_id[outcome.call.call_id]
        yield planned.shard, _change(head, job, planned, outcome, models, settings)


def _batches(changes: Iterable[tuple[int, Change]], every_s: float) -> Iterator[tuple[int, list[Change]]]:
    """Changes to commit together: those of a shard, or of a shard so far when that has taken `every_s`."""
    batch: list[Change] = []
    of_shard, since = 0, time.monotonic()
    try:
        for shard, change in changes:
            if batch and shard != of_shard:
                yield of_shard, batch
                batch, since = [], time.monotonic()
            of_shard = shard
            batch.append(change)
            # Not when the next change comes: that may be hours of audio away.
            if time.monotonic() - since > every_s:
                yield of_shard, batch
                batch, since = [], time.monotonic()
    except UsageError:
        # The run stops here; what is done is done.
        if batch:
            yield of_shard, batch
        raise
    if batch:
        yield of_shard, batch


def _fetch(archive: Storage, settings: Settings, call: CallRef, path: Path) -> None:
    try:
        archive.download(call.key, path, if_match=call.etag, max_bytes=settings.archive.max_bytes)
    except StorageRefused as error:
        archive.check()  # the whole archive is refused: stop the run
        raise ObjectRefused(error.message) from error


def _change(
    head: RunHead, job: int, planned: PlannedCall, outcome: Outcome | CopiedAudio, models: Models, settings: Settings
) -> Change:
    if isinstance(outcome, CopiedAudio):
        return outcome
    provenance = Provenance(
        run_id=head.run_id,
        job=job,
        bundle=models.bundle.name,
        bundle_digest=models.bundle.digest,
        device=models.device.name,
        compute_type=models.device.compute_type,
        fingerprint=_fingerprint(settings, models, planned.call.hints),
        attempt=planned.attempt,
        transcribed_at=datetime.now(UTC),
    )
    return rows_of(outcome, provenance)


def _fingerprint(settings: Settings, models: Models, hints: CallHints) -> str:
    calibration = models.recognizer.calibration.digest
    return fingerprint(settings, models.bundle.digest, models.device.compute_type, hints, calibration=calibration)


def _kind(change: Change) -> str:
    return "copied" if isinstance(change, CopiedAudio) else str(change.call["outcome"])


def _require_same_settings(head: RunHead, models: Models, settings: Settings) -> None:
    """A run is made with one bundle and one set of settings throughout.

    Raises:
        SettingsError: this machine has others than the run was planned with.
    """
    here = _fingerprint(settings, models, CallHints())
    if here != head.settings_fingerprint:
        message = (
            f"run {head.run_id} was planned with bundle {head.bundle!r} {head.bundle_digest[:12]}, {head.compute_type} "
            f"and settings {head.settings_fingerprint}; this machine has {models.bundle.name!r} "
            f"{models.bundle.digest[:12]}, {models.device.compute_type} and settings {here}: give it the same"
        )
        raise SettingsError(message)
