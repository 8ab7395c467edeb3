"""The monthly run: inventory, plan, jobs, reconciliation, certificate."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger, tags
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows.job import Overrides, open_transcripts, transcribe_job
from flows.progress import watcher
from tasks.bundles import open_bundle
from tasks.dataset import DataSet
from tasks.devices import compute_type_for
from tasks.errors import AmbiguousCallId, SettingsError
from tasks.fingerprint import fingerprint
from tasks.inventory import Inventory, check_month, duplicate_message, previous_month, take_inventory
from tasks.planning import KNOWN_COLUMNS, plan_calls
from tasks.records import Failure, Outcome, PlannedCall, Provenance
from tasks.runs import (
    RunHead,
    RunSummary,
    inventory_digest,
    new_run_id,
    reconcile,
    write_certificate,
    write_plan,
)
from tasks.settings import Settings, load_settings
from tasks.shards import estimated_hours, pack_jobs, shard_count, shard_of
from tasks.storage import open_storage
from tasks.tables import Row, rows_of

VERSIONED_PACKAGES = ("callscribe", "prefect", "faster-whisper", "ctranslate2", "pyannote.audio", "torch", "pyarrow")


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
    watcher().planned(head.calls, sum(planned.call.size_bytes for job in jobs for planned in job))
    with tags(f"run:{head.run_id}", f"month:{month}"):
        for number in range(1, len(jobs) + 1):
            transcribe_job(transcripts, head.run_id, number, overrides)

    summary = reconcile(data, head, jobs, time.monotonic() - started)
    certificate = write_certificate(data.storage, head, summary, {name: version(name) for name in VERSIONED_PACKAGES})
    create_table_artifact(
        table=[{"what": name, "number": value} for name, value in summary_rows(summary)],
        key="archive-run",
        description=f"Run {head.run_id} over {month}; certificate: {certificate}",
    )
    return summary


def summary_rows(summary: RunSummary) -> list[tuple[str, str]]:
    """What a run did, as lines for people: numbers only, never a word that was spoken."""
    rows = [("objects listed", f"{summary.listed_objects:,}")]
    rows += [(name.replace("_", " "), f"{count:,}") for name, count in summary.outcomes.items()]
    rows += [(f"  {code}", f"{count:,}") for code, count in summary.errors.items()]
    rows += [
        ("nothing to do", f"{summary.standing:,}"),
        ("copied, same audio", f"{summary.copied:,}"),
        ("ambiguous call_id", f"{summary.ambiguous:,}"),
        ("key not understood", f"{summary.unmatched:,}"),
        ("missing", f"{summary.missing:,}"),
        ("under other settings", f"{summary.other_fingerprints:,}"),
        ("audio", f"{summary.audio_s / 3600:.2f} h"),
        ("time", f"{summary.wall_s:.0f} s"),
    ]
    if summary.audio_s:
        rows.append(("RTFx, start-up included", f"{summary.audio_s / summary.wall_s:.1f}"))
    rows.append(("every object accounted for", "yes" if summary.accounted else "NO"))
    never_shown_when_zero = {"copied, same audio", "ambiguous call_id", "key not understood", "under other settings"}
    return [row for row in rows if not (row[0] in never_shown_when_zero and row[1] == "0")]


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
    shards = data.fix_shards(
        inventory.month, shard_count(settings.transcripts.monthly_hours, settings.transcripts.hours_per_shard)
    )
    known = data.read_calls(inventory.month, KNOWN_COLUMNS)
    plan = plan_calls(inventory.calls, known, shards, settings.run.max_attempts)
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
        fingerprint=fingerprint(settings, bundle.digest, compute_type, settings.archive.hints()),
        listed_objects=inventory.objects,
        inventory_digest=inventory_digest(inventory),
        standing=plan.standing,
        ambiguous=sum(len(group) for group in inventory.ambiguous),
        unmatched=len(inventory.unmatched),
        reasons=dict(plan.reasons),
    )
    write_plan(data.storage, head, jobs)
    _commit_ambiguous(data, head, inventory, known)
    return head, jobs


def _commit_ambiguous(data: DataSet, head: RunHead, inventory: Inventory, known: list[Row]) -> None:
    """Give every call_id that several objects claim one failed row, unless it has it already."""
    etags = {row["call_id"]: row["last_attempt_etag"] or row["audio_etag"] for row in known}
    for group in inventory.ambiguous:
        # The ETags of all, so that the row is work again as soon as one of the objects is gone.
        etag = "+".join(sorted(call.etag for call in group))
        call = group[0]
        if etags.get(call.call_id) == etag:
            continue
        failure = Failure(AmbiguousCallId.code, duplicate_message(group), AmbiguousCallId.transient)
        outcome = Outcome.not_processed(replace(call, etag=etag), failure)
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
        data.commit(head.month, shard_of(call.call_id, head.shards), head.shards, [rows_of(outcome, provenance)])
