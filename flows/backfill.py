"""Transcribe calls anew that were done before: the `backfill` flow, and what the command line asks before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from evaluation.changes import ChangeCounts
from flows.job import Overrides, stopped
from flows.month import Workplace, run_over
from flows.progress import watcher
from tasks.active import left_unfinished
from tasks.errors import GateRequired, ObjectVanished, SettingsError
from tasks.inventory import months_between
from tasks.quote import Quote, quote_run
from tasks.reconcile import RunSummary
from tasks.run_models import fingerprints_of
from tasks.selection import Selection
from tasks.storage import Storage


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill did: a run for each month, and what it changed in all of them."""

    runs: Sequence[RunSummary] = field(default_factory=tuple)
    changes: ChangeCounts = field(default_factory=ChangeCounts)


def _run_name() -> str:
    """The name of a flow run: what it covers."""
    return f"backfill-{flow_run.parameters.get('months')}"


@flow(
    name="backfill",
    flow_run_name=_run_name,
    description="Transcribe calls anew that were done before, under today's settings and models: those that fulfil a "
    "condition, that a list names, or whose transcripts were made under others. What it changes is written down.",
    validate_parameters=True,
    log_prints=False,
)
def backfill(
    months: str,
    where: str | None = None,
    calls: str | None = None,
    again: bool = False,  # noqa: FBT001, FBT002  # Prefect calls flows by name
    dry_run: bool = False,  # noqa: FBT001, FBT002
    archive: str | None = None,
    transcripts: str | None = None,
    overrides: Overrides | None = None,
) -> Backfill:
    """Transcribe calls anew that were done before.

    Args:
        months: `2026-09`, or `2025-01..2026-09`.
        where: SQL condition on the columns of `calls`, such as `confidence < 0.7 and language = 'es'`. Prefect keeps
            it: name no person in it, and use `calls` instead.
        calls: key of an object of the data set that holds a call_id on each line, such as
            `_control/backfills/2026-11-26.txt`; only these calls.
        again: also calls whose transcript would come out as it is.
        dry_run: say what would be done, and do nothing.
        archive: URI of the archive; the setting `archive.uri` when left out.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        what it did. Where a gate is required and none was passed, the flow run ends as of `archive-run`.

    Raises:
        QueryError: the condition is none.
        GateRequired: a gate is required, and none was passed with these models and settings.
        BudgetReached: the budget of a month's run did not last; start it again with more, and it goes on.
        RunIncomplete: a listed object is in no row; the certificate says how many.
    """
    place = Workplace.opened(archive, transcripts, overrides)
    selection = Selection(where, _listed(place.data.storage, calls) if calls else None, again)
    selection.check()
    wanted = months_between(months)
    if dry_run:
        for quote in quotes(place, wanted, selection):
            text = f"{quote.month}: {quote.calls:,} calls, {quote.hours:,.1f} h, {quote.worker_hours:,.2f} worker hours"
            get_run_logger().info(text)
        return Backfill()
    runs: list[RunSummary] = []
    changes = ChangeCounts()
    for month in wanted:
        if not place.data.shards(month):
            watcher().note(f"nothing of {month} was ever transcribed: `callscribe run --month {month}` does that")
            continue
        try:
            done = run_over(place, month, selection)
        except GateRequired as error:
            return cast("Backfill", stopped(error))  # whoever calls the flow gets the error raised
        runs.append(done.summary)
        changes += done.changes
    return Backfill(tuple(runs), changes)


def unfinished(place: Workplace, months: Sequence[str]) -> list[str]:
    """The months of which a backfill was begun and has not ended."""
    return [month for month in months if left_unfinished(place.data.storage, month, "backfill")]


def quotes(place: Workplace, months: Sequence[str], selection: Selection) -> list[Quote]:
    """What a backfill would have to do in each month; nothing is written."""
    models = fingerprints_of(place.settings)
    found: list[Quote] = []
    for month in months:
        if place.data.shards(month):
            watcher().stage(f"taking the inventory of {month}")
            found.append(quote_run(place.data, place.source, month, place.settings, models, selection))
    return found


def _listed(storage: Storage, key: str) -> frozenset[str]:
    """The call_ids that an object of the data set lists."""
    try:
        lines = storage.get(key).data.decode().splitlines()
    except ObjectVanished as error:
        message = f"there is no {storage.object_uri(key)}: write the call_ids there, one to a line"
        raise SettingsError(message) from error
    return frozenset(stripped for line in lines if (stripped := line.strip()))
