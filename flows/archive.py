"""The monthly run: inventory, plan, jobs, reconciliation, certificate."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger, tags
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows.job import Overrides, open_transcripts, transcribe_job
from flows.progress import watcher
from tasks.active import ActiveMonth, Lease
from tasks.certificates import certify
from tasks.dataset import DataSet
from tasks.errors import CallscribeError, LeaseLost, RunIncomplete, SettingsError
from tasks.inventory import check_month, month_prefix, previous_month
from tasks.plan_run import fingerprints_of, plan_run
from tasks.reconcile import RunSummary, summary_rows
from tasks.runs import RunHead, find_head, new_run_id
from tasks.settings import Settings, load_settings
from tasks.shards import hours_of
from tasks.storage import Storage, open_storage

# A month may hold so many times the hours that its shards were cut for, before that is said.
MOST_OVERFULL = 2.0


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
    source = open_storage(archive, settings.storage.options())
    source.check()
    data.prove_safe()
    active = ActiveMonth.take(data.storage, month, new_run_id(), settings.run.lease_s, _say_waiting)
    with active.kept():
        head = _planned(active, data, source, settings, started)
        get_run_logger().info("run %s: %s calls in %s jobs", head.run_id, head.calls, head.jobs)
        if not head.listed_objects:
            watcher().note(f"nothing lies under {source.uri}/{month_prefix(settings.archive.key_template, month)}")
        _warn_of_large_shards(head, settings)
        watcher().planned(head.calls, head.size_bytes)
        try:
            with tags(f"run:{head.run_id}", f"month:{month}"):
                for number in range(1, head.jobs + 1):
                    active.check()
                    try:
                        transcribe_job(transcripts, head.run_id, number, overrides)
                    except RunIncomplete as error:
                        watcher().note(error.message)  # the other jobs are done nevertheless
        except LeaseLost:
            raise  # the run is another process's, and so is its certificate
        except CallscribeError:
            # What was done is certified, and what was not is counted as missing; then the run ends as it must.
            _certify(data, head, started, final=False, adopted=active.adopted)
            raise
        summary = _certify(data, head, started, adopted=active.adopted)
        active.end()
    if not summary.accounted:
        what = (
            f"{summary.missing:,} planned calls have no row; run {month} again to do them"
            if summary.missing
            else f"its counts do not add up to {summary.listed_objects:,} listed objects; its certificate has them"
        )
        message = f"run {head.run_id} cannot account for every object: {what}"
        raise RunIncomplete(message)
    return summary


def _planned(active: ActiveMonth, data: DataSet, source: Storage, settings: Settings, started: float) -> RunHead:
    """The plan of the run that the month belongs to: the one that was left unfinished, or a new one."""
    models = fingerprints_of(settings)
    left = find_head(data.storage, active.run_id) if active.adopted else None
    if left is not None and (left.settings_fingerprint, left.archive) == (models.without_hints, source.uri):
        watcher().note(
            f"going on with run {left.run_id}, which was left unfinished; what has come to the archive since "
            f"{left.created_at} is for the next run"
        )
        return left
    if left is not None:
        watcher().note(
            f"run {left.run_id} was left unfinished, and was planned with other settings or another archive: what it "
            "did is certified, and the month is planned anew"
        )
        _certify(data, left, started, adopted=True)
    if active.adopted:
        active.start_anew(new_run_id())
    watcher().stage(f"taking the inventory of {active.month}")
    return plan_run(data, source, active.month, settings, models, active.run_id)


def _warn_of_large_shards(head: RunHead, settings: Settings) -> None:
    """Say so where a month is much larger than its shards were cut for: every commit rewrites a whole one."""
    hours = hours_of(head.listed_bytes, settings.run.bytes_per_second)
    held = head.shards * settings.transcripts.hours_per_shard
    if hours > MOST_OVERFULL * held:
        watcher().note(
            f"{head.month} holds about {hours:,.0f} h of audio by the size of its objects (run.bytes_per_second), and "
            f"was cut into shards for {held:,.0f} h, so that commits will be slow; set transcripts.monthly_hours for "
            "the months to come"
        )


def _say_waiting(lease: Lease) -> None:
    watcher().note(
        f"run {lease.run_id} is under way or has died: watching it for {lease.lease_s:.0f} s (held by {lease.holder})"
    )


def _certify(data: DataSet, head: RunHead, started: float, *, final: bool = True, adopted: bool = False) -> RunSummary:
    """Hold the plan against the data set, write the certificate, and show it in Prefect."""
    summary, certificate = certify(data, head, time.monotonic() - started, final=final, adopted=adopted)
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
