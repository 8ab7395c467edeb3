"""A month from plan to certificate: what the flows `archive-run` and `backfill` have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from prefect import get_run_logger, tags
from prefect.runtime import deployment

from evaluation.backfills import write_changes
from evaluation.changes import ChangeCounts, change_rows
from flows.artifacts import ended
from flows.crew import Crew, ThisProcess
from flows.deployed_jobs import DeployedJobs
from flows.device_processes import DeviceProcesses
from flows.flow_runs import withdraw_all
from flows.foreman import Foreman
from flows.job import Overrides, open_transcripts
from flows.observe import discreet, observed_run
from flows.progress import watcher
from tasks.active import ActiveMonth, Kind, Lease
from tasks.certificates import certify, was_ended
from tasks.dataset import DataSet
from tasks.errors import CallscribeError, LeaseLost, RunIncomplete, SettingsError
from tasks.gates import require_gate
from tasks.inventory import archive_of
from tasks.job_record import forget_calls
from tasks.logs import configure_logs
from tasks.plan_run import plan_run
from tasks.previous import forget_previous
from tasks.reconcile import RunSummary, summary_rows
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead, find_head, forget_plan, new_run_id
from tasks.selection import Selection
from tasks.settings import Settings, load_settings
from tasks.shards import hours_of
from tasks.storage import Storage, open_storage

# A month may hold so many times the hours that its shards were cut for, before that is said.
MOST_OVERFULL = 2.0


@dataclass(frozen=True, slots=True)
class Workplace:
    """Archive and data set of a flow run, with its settings.

    `overrides` are what was given to the flow, for the flow runs of its jobs.
    """

    settings: Settings
    overrides: Overrides | None
    data: DataSet
    source: Storage

    @classmethod
    def opened(cls, archive: str | None, transcripts: str | None, overrides: Overrides | None) -> Self:
        """Open archive and data set; settings name what is not given.

        Raises:
            SettingsError: neither does.
            StorageRefused: one of them is not to be had.
        """
        settings = load_settings(overrides=overrides)
        configure_logs(settings.logs)
        archive = _require("archive.uri", "--archive", archive or settings.archive.uri)
        transcripts = _require("transcripts.uri", "--transcripts", transcripts or settings.transcripts.uri)
        data = DataSet(open_transcripts(transcripts, settings))
        source = open_storage(archive, settings.storage.options())
        source.check()
        return cls(settings, overrides, data, source)


@dataclass(frozen=True, slots=True)
class MonthDone:
    """What was done over a month, and, by a backfill, what that changed."""

    summary: RunSummary
    changes: ChangeCounts = field(default_factory=ChangeCounts)


def run_over(place: Workplace, month: str, selection: Selection | None = None) -> MonthDone:
    """Plan a month, do its jobs, hold the plan against the data set, and certify it.

    Args:
        place: where.
        month: `YYYY-MM`.
        selection: what a backfill does anew; None: a run over what is new or changed.

    Raises:
        BudgetReached: the budget did not last; what was done is certified, and the run may be gone on with.
        GateRequired: a gate is required, and none was passed with these models and settings.
        RunIncomplete: a listed object is in no row; the certificate says how many.
        RunUnderWay: another process works on the month.
    """
    started = time.monotonic()
    data, settings = place.data, place.settings
    gates = require_gate(data.storage, settings)
    data.prove_safe()
    kind: Kind = "run" if selection is None else "backfill"
    active = ActiveMonth.take(data.storage, month, new_run_id(), settings.run.lease_s, _say_waiting, kind)
    served = deployment.get_id() is not None
    with discreet(), active.kept(served=served), ExitStack() as observing:
        head = _planned(place, active, selection, started, gates)
        progress = observing.enter_context(observed_run(data.storage, settings, head))
        get_run_logger().info("%s %s: %s calls in %s jobs", head.kind, head.run_id, head.calls, head.jobs)
        if not head.listed_objects:
            nothing = archive_of(place.source, month, settings.archive)
            watcher().note(f"nothing lies under {nothing}")
        _warn_of_large_shards(head, settings)
        watcher().planned(head.calls, head.size_bytes)
        try:
            with tags(f"{head.kind}:{head.run_id}", f"month:{month}"), _crew_of(place, active, head) as crew:
                Foreman(data.storage, head, settings.run, crew, progress).work(active.check)
        except CallscribeError as error:
            if active.lost or isinstance(error, LeaseLost):
                raise  # the run is another process's, and so is its certificate
            # What was done is certified, and what was not is counted as missing; then the run ends as it must.
            _certify(data, head, started, final=False, adopted=active.adopted)
            raise
        done = _certify(data, head, started, adopted=active.adopted)
        summary = done.summary
        forget_previous(data.storage, head.run_id)
        active.end()
    if not summary.accounted:
        what = (
            f"{summary.missing:,} planned calls have no row; run {month} again to do them"
            if summary.missing
            else f"its counts do not add up to {summary.listed_objects:,} listed objects; its certificate has them"
        )
        message = f"{head.kind} {head.run_id} cannot account for every object: {what}"
        raise RunIncomplete(message)
    return done


@contextmanager
def _crew_of(place: Workplace, active: ActiveMonth, head: RunHead) -> Iterator[Crew]:
    """Whoever does the jobs, by the settings."""
    uri, settings = place.data.storage.uri, place.settings
    if settings.run.deployment:
        yield DeployedJobs(place.data.storage, head, settings.run, place.overrides)
    elif settings.run.devices:
        with DeviceProcesses(uri, head.run_id, place.overrides, settings) as crew:
            yield crew
    else:
        yield ThisProcess(uri, head.run_id, place.overrides, active.check)


def _planned(
    place: Workplace,
    active: ActiveMonth,
    selection: Selection | None,
    started: float,
    gates: Mapping[str, Mapping[str, Any]],
) -> RunHead:
    """The plan of the run that the month belongs to: the one that was left unfinished, or a new one."""
    data = place.data
    models = fingerprints_of(place.settings)
    request = selection.digest if selection else ""
    left = find_head(data.storage, active.run_id) if active.adopted else None
    asked = (models.without_hints, place.source.uri, request, models.alternatives)
    ended = left is not None and was_ended(data.storage, left.run_id)
    if (
        left is not None
        and not ended
        and (left.settings_fingerprint, left.archive, left.request, left.alternatives) == asked
    ):
        watcher().note(
            f"going on with {left.kind} {left.run_id}, which was left unfinished; what has come to the archive since "
            f"{left.created_at} is for the next run"
        )
        return left
    if left is not None and not ended:
        watcher().note(
            f"{left.kind} {left.run_id} was left unfinished, and was planned with other settings, another archive or "
            "another selection: what it did is certified, and the month is planned anew"
        )
        if place.settings.run.deployment and (count := withdraw_all(left)):
            watcher().note(f"{count:,} of its jobs that were submitted or under way are cancelled")
        _certify(data, left, started, adopted=True)
    if left is not None:
        forget_previous(data.storage, left.run_id)
        forget_calls(data.storage, left.run_id)
    if active.adopted:
        if left is None:
            forget_plan(data.storage, active.run_id)  # its planner died: nobody will ever ask for it
        active.start_anew(new_run_id())
    watcher().stage(f"taking the inventory of {active.month}")
    return plan_run(data, place.source, active.month, place.settings, models, active.run_id, selection, gates)


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
        f"{lease.run_id} is under way or has died: watching it for {lease.lease_s:.0f} s (held by {lease.holder})"
    )


def _certify(data: DataSet, head: RunHead, started: float, *, final: bool = True, adopted: bool = False) -> MonthDone:
    """Hold the plan against the data set, write the certificate, and show it in Prefect.

    Of a backfill, what it changed is written down before: what was kept for that is removed only after.
    """
    changes = ChangeCounts()
    if head.kind == "backfill":
        watcher().stage("comparing the new transcripts with the old ones")
        changes = write_changes(data, head)
    summary, certificate = certify(
        data,
        head,
        time.monotonic() - started,
        final=final,
        adopted=adopted,
        changes=asdict(changes) if head.kind == "backfill" else None,
    )
    rows = [*summary_rows(summary), *(change_rows(changes) if changes.calls or changes.not_compared else ())]
    report = data.storage.object_uri(f"changes/month={head.month}") if changes.calls else None
    ended(head, summary.errors, rows, certificate, report)
    watcher().certified(head.kind, summary.run_id, summary.month, rows)
    return MonthDone(summary, changes)


def _require(name: str, option: str, value: str | None) -> str:
    if not value:
        message = f"{name} is not set; give {option}, or set it in callscribe.toml or the environment"
        raise SettingsError(message)
    return value
