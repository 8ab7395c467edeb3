"""The monthly run: inventory, plan, jobs, reconciliation, certificate."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger, tags
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows.job import Overrides, open_transcripts, transcribe_job
from flows.progress import watcher
from tasks.bundles import open_bundle
from tasks.calibration import load_calibration, recognizer_digest
from tasks.dataset import Change, DataSet
from tasks.devices import compute_type_for
from tasks.errors import AmbiguousCallId, CallscribeError, RunIncomplete, SettingsError
from tasks.fingerprint import fingerprint
from tasks.inventory import Inventory, check_month, duplicate_message, month_prefix, previous_month, take_inventory
from tasks.planning import KNOWN_COLUMNS, plan_calls
from tasks.records import CallHints, Failure, Outcome, PlannedCall, Provenance
from tasks.rows import rows_of
from tasks.runs import (
    RunHead,
    RunSummary,
    inventory_digest,
    new_run_id,
    package_versions,
    reconcile,
    summary_rows,
    write_certificate,
    write_plan,
    write_unplanned,
)
from tasks.schemas import Row
from tasks.settings import Settings, load_settings
from tasks.shards import estimated_hours, pack_jobs, shard_count, shard_of
from tasks.storage import open_storage


def _run_name() -> str:
    """The name of a flow run: what it covers."""
    return f"archive-run-{flow_run.parameters.get('month') or 'previous-month'}"


@flow(
    name="archive-run",
    flow_run_name=_run_name,
    description="Transcribe what is new or changed in one month of the archive, and account for every object of it.",
    validate_parameters=True,
    log_prints=False,
)
def archive_run(
    month: str | None = None,
    archive: str | None = None,
    transcripts: str | None = None,
    overrides: Overrides | None = None,
) -> RunSummary:
    """Transcribe what is new or changed in a month, and account for every object of it.

    Args:
        month: `YYYY-MM`; the month before this one (in the archive's time zone) when left out.
        archive: URI of the archive; the setting `archive.uri` when left out.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        what the run did.

    Raises:
        RunIncomplete: a listed object is in no row; the certificate says how many.
    """
    started = time.monotonic()
    settings = load_settings(overrides=overrides)
    archive = _require("archive.uri", "--archive", archive or settings.archive.uri)
    transcripts = _require("transcripts.uri", "--transcripts", transcripts or settings.transcripts.uri)
    month = check_month(month or previous_month(datetime.now(ZoneInfo(settings.archive.timezone))))

    data = DataSet(open_transcripts(transcripts, settings))
    watcher().stage(f"taking the inventory of {month}")
    source = open_storage(archive, settings.storage.options())
    source.check()
    inventory = take_inventory(source, month, settings.archive)
    data.prove_safe()
    head, jobs = _plan(data, inventory, archive, transcripts, settings)
    get_run_logger().info("run %s: %s calls in %s jobs", head.run_id, head.calls, head.jobs)
    if not inventory.objects:
        watcher().note(f"nothing lies under {source.uri}/{month_prefix(settings.archive.key_template, month)}")
    watcher().planned(head.calls, sum(planned.call.size_bytes for job in jobs for planned in job))
    try:
        with tags(f"run:{head.run_id}", f"month:{month}"):
            for number in range(1, len(jobs) + 1):
                transcribe_job(transcripts, head.run_id, number, overrides)
    except CallscribeError:
        # What was done is certified, and what was not is counted as missing; then the run ends as it must.
        _certify(data, head, jobs, started)
        raise
    summary = _certify(data, head, jobs, started)
    if not summary.accounted:
        message = f"run {head.run_id} cannot account for {summary.missing} planned calls; run {month} again to do them"
        raise RunIncomplete(message)
    return summary


def _certify(data: DataSet, head: RunHead, jobs: list[list[PlannedCall]], started: float) -> RunSummary:
    """Hold the plan against the data set, write the certificate, and show it in Prefect."""
    summary = reconcile(data, head, jobs, time.monotonic() - started)
    certificate = write_certificate(data.storage, head, summary, package_versions())
    create_table_artifact(
        table=[{"what": name, "number": value} for name, value in summary_rows(summary)],
        key="archive-run",
        description=f"Run {head.run_id} over {head.month}; certificate: {certificate}",
    )
    watcher().certified(summary)
    return summary


def _require(name: str, option: str, value: str | None) -> str:
    if not value:
        message = f"{name} is not set; give {option}, or set it in callscribe.toml or the environment"
        raise SettingsError(message)
    return value


def _plan(
    data: DataSet, inventory: Inventory, archive: str, transcripts: str, settings: Settings
) -> tuple[RunHead, list[list[PlannedCall]]]:
    """Decide what is work, and write it down before any of it is done."""
    bundle = open_bundle(settings.models.folder, settings.models.bundle)
    compute_type = compute_type_for(settings.models.device, settings.models.compute_type)
    calibration = load_calibration(bundle.name, recognizer_digest(bundle.manifest)).digest
    with_hints = partial(fingerprint, settings, bundle.digest, compute_type, calibration=calibration)
    shards = data.fix_shards(
        inventory.month, shard_count(settings.transcripts.monthly_hours, settings.transcripts.hours_per_shard)
    )
    known = data.read_calls(inventory.month, KNOWN_COLUMNS)
    erased = data.erased_calls(inventory.month)
    calls = [call for call in inventory.calls if call.call_id not in erased]
    plan = plan_calls(calls, known, shards, settings.run.max_attempts)
    jobs = pack_jobs(plan.work, settings.run.job_hours, settings.run.bytes_per_second)
    head = RunHead(
        run_id=new_run_id(),
        month=inventory.month,
        archive=archive,
        transcripts=transcripts,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        shards=shards,
        jobs=len(jobs),
        calls=len(plan.work),
        estimated_hours=round(estimated_hours(plan.work, settings.run.bytes_per_second), 4),
        bundle=bundle.name,
        bundle_digest=bundle.digest,
        compute_type=compute_type,
        fingerprint=with_hints(settings.archive.hints()),
        settings_fingerprint=with_hints(CallHints()),
        listed_objects=inventory.objects,
        inventory_digest=inventory_digest(inventory),
        standing=plan.standing,
        standing_failed=plan.standing_failed,
        erased=len(inventory.calls) - len(calls),
        ambiguous=sum(len(group) for group in inventory.ambiguous),
        unmatched=len(inventory.unmatched),
        reasons=dict(plan.reasons),
    )
    write_plan(data.storage, head, jobs)
    write_unplanned(data.storage, head, inventory)
    _commit_ambiguous(data, head, inventory, known)
    return head, jobs


def _commit_ambiguous(data: DataSet, head: RunHead, inventory: Inventory, known: list[Row]) -> None:
    """Give every call_id that several objects claim one failed row, unless it has it already."""
    etags = {row["call_id"]: row["last_attempt_etag"] or row["audio_etag"] for row in known}
    provenance = Provenance(
        run_id=head.run_id,
        job=0,
        bundle=head.bundle,
        bundle_digest=head.bundle_digest,
        device="",
        compute_type=head.compute_type,
        fingerprint=head.fingerprint,
        attempt=1,
        transcribed_at=datetime.now(UTC),
    )
    by_shard: defaultdict[int, list[Change]] = defaultdict(list)
    for group in inventory.ambiguous:
        # The ETags of all, so that the row is work again as soon as one of the objects is gone.
        etag = "+".join(sorted(call.etag for call in group))
        call = group[0]
        if etags.get(call.call_id) != etag:
            failure = Failure(AmbiguousCallId.code, duplicate_message(group), AmbiguousCallId.transient)
            outcome = Outcome.not_processed(replace(call, etag=etag), failure)
            by_shard[shard_of(call.call_id, head.shards)].append(rows_of(outcome, provenance))
    for shard, changes in sorted(by_shard.items()):
        data.commit(head.month, shard, head.shards, changes)
